//! The log in memory.

use std::collections::BTreeMap;

use mainspring_core::{
    Append, BoxFuture, Error, EventQuery, EventStore, ExecutionId, NewEvent, RecordedEvent, Result,
    Timestamp,
    event::{EXECUTIONS, STREAMS},
    execution::stream_of,
};

use super::{MemoryBackend, commit};

/// Stream, partition and tenant, so that all of one name stand together.
type StreamKey = (String, String, String);

/// Most events one `delete_old` deletes.
const BATCH: usize = 1_000;

#[derive(Default)]
pub(super) struct Log {
    /// By global position.
    events: BTreeMap<i64, RecordedEvent>,
    /// Position in the stream to global position.
    streams: BTreeMap<StreamKey, BTreeMap<i64, i64>>,
    last: i64,
}

fn key(partition: &str, tenant: &str, stream: &str) -> StreamKey {
    (stream.to_owned(), partition.to_owned(), tenant.to_owned())
}

impl Log {
    /// The position of the last event of a stream; 0 when it has none.
    pub(super) fn head(&self, partition: &str, tenant: &str, stream: &str) -> i64 {
        let positions = self.streams.get(&key(partition, tenant, stream));
        positions.and_then(|positions| positions.keys().next_back()).copied().unwrap_or(0)
    }

    pub(super) fn head_of(&self, append: &Append) -> i64 {
        self.head(STREAMS, &append.tenant, &append.stream)
    }

    /// Appends a checked append; the position of its last event.
    pub(super) fn append(&mut self, append: Append, at: Timestamp) -> i64 {
        let head = self.head_of(&append);
        self.push((STREAMS, &append.tenant, &append.stream), head, append.events, at)
    }

    /// Puts `events` behind position `before` of one stream: its partition, tenant and name.
    pub(super) fn push(
        &mut self,
        (partition, tenant, stream): (&str, &str, &str),
        before: i64,
        events: Vec<NewEvent>,
        at: Timestamp,
    ) -> i64 {
        let mut position = before;
        for event in events {
            position += 1;
            self.last += 1;
            self.streams.entry(key(partition, tenant, stream)).or_default().insert(position, self.last);
            let recorded = RecordedEvent {
                partition: partition.to_owned(),
                tenant: tenant.to_owned(),
                stream: stream.to_owned(),
                position,
                global_position: self.last,
                event,
                created_at: at,
            };
            self.events.insert(self.last, recorded);
        }
        position
    }

    /// Every stream of this name, whatever its partition and tenant.
    fn named(&self, stream: &str) -> Vec<RecordedEvent> {
        let from = (stream.to_owned(), String::new(), String::new());
        let same = self.streams.range(from..).take_while(|((name, ..), _)| name == stream);
        let mut global: Vec<i64> = same.flat_map(|(_, positions)| positions.values().copied()).collect();
        global.sort_unstable();
        global.iter().filter_map(|position| self.events.get(position)).cloned().collect()
    }

    fn query(&self, query: &EventQuery) -> Result<Vec<RecordedEvent>> {
        let limit = page_size(query.limit.unwrap_or(1_000))?;
        let matches = |e: &RecordedEvent| {
            (query.event_types.is_empty() || query.event_types.contains(&e.event.event_type))
                && query.after.is_none_or(|after| e.created_at > after)
                && query.before.is_none_or(|before| e.created_at < before)
                && query.after_position.is_none_or(|position| e.global_position > position)
        };
        Ok(match &query.execution_id {
            Some(id) => self.named(&stream_of(id)).into_iter().filter(matches).take(limit).collect(),
            None => self.events.values().filter(|e| matches(e)).take(limit).cloned().collect(),
        })
    }

    fn delete_old(&mut self, before: Timestamp) -> u64 {
        let old = self.events.values().filter(|e| e.partition == EXECUTIONS && e.created_at < before);
        let old: Vec<i64> = old.map(|e| e.global_position).take(BATCH).collect();
        for position in &old {
            if let Some(event) = self.events.remove(position)
                && let Some(positions) =
                    self.streams.get_mut(&key(&event.partition, &event.tenant, &event.stream))
            {
                positions.remove(&event.position);
            }
        }
        old.len() as u64
    }
}

fn page_size(limit: u32) -> Result<usize> {
    match limit {
        1..=10_000 => Ok(limit as usize),
        _ => Err(Error::invalid("limit", format!("{limit} is not within 1 to 10000"))),
    }
}

impl EventStore for MemoryBackend {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<i64>> {
        self.run(move |state, at| {
            append.check()?;
            commit::check_append(state, &append)?;
            Ok(state.log.append(append, at))
        })
    }

    fn read_stream<'a>(
        &'a self,
        partition: &'a str,
        tenant: &'a str,
        stream: &'a str,
        from: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>> {
        self.run(move |state, _| {
            let limit = page_size(limit)?;
            let Some(positions) = state.log.streams.get(&key(partition, tenant, stream)) else {
                return Ok(Vec::new());
            };
            let wanted = positions.range(from..).take(limit);
            Ok(wanted.filter_map(|(_, global)| state.log.events.get(global)).cloned().collect())
        })
    }

    fn position<'a>(
        &'a self,
        partition: &'a str,
        tenant: &'a str,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<i64>> {
        self.run(move |state, _| Ok(state.log.head(partition, tenant, stream)))
    }

    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<RecordedEvent>>> {
        self.run(move |state, _| state.log.query(&query))
    }

    fn get_by_execution<'a>(
        &'a self,
        execution: &'a ExecutionId,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>> {
        self.run(move |state, _| Ok(state.log.named(&stream_of(execution))))
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        self.run(move |state, _| Ok(state.log.delete_old(before)))
    }
}
