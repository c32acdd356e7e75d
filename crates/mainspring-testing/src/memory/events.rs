//! The log in memory.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_core::{
    Append, Appended, BoxFuture, Direction, Error, EventQuery, EventStore, ExecutionId, NewEvent,
    RecordedEvent, Result, Snapshot, StreamHead, StreamId, StreamPage, StreamQuery, Timestamp,
    event::{EXECUTIONS, STREAMS, check_streams_once},
    execution::stream_of,
    limits, trace,
};

use super::MemoryBackend;

/// Most events one `delete_old` deletes.
const BATCH: usize = 1_000;

#[derive(Default)]
pub(super) struct Log {
    /// By global position.
    events: BTreeMap<i64, RecordedEvent>,
    streams: BTreeMap<StreamId, Stream>,
    /// The partitions that were made, and the tenants with storage of their own.
    partitions: BTreeMap<String, BTreeSet<String>>,
    last: i64,
}

#[derive(Default)]
struct Stream {
    /// Position in the stream to global position.
    positions: BTreeMap<i64, i64>,
    /// The last position that was given out.
    last: i64,
    /// Its events while it is archived; else it has none here.
    archived: Option<Vec<RecordedEvent>>,
    kind: Option<String>,
    snapshots: BTreeMap<String, Snapshot>,
}

impl Stream {
    fn position(&self) -> i64 {
        if self.positions.is_empty() { 0 } else { self.last }
    }
}

/// What one append is going to do.
pub(super) enum Planned {
    Write,
    Answer(Appended),
}

impl Log {
    /// The position of the last event of a stream; 0 when it has none.
    pub(super) fn head(&self, partition: &str, tenant: &str, stream: &str) -> i64 {
        self.position_of(&StreamId::new(stream).in_partition(partition).of_tenant(tenant))
    }

    fn position_of(&self, stream: &StreamId) -> i64 {
        self.streams.get(stream).map_or(0, Stream::position)
    }

    /// Checks what checked appends expect; what each is going to do.
    pub(super) fn plan(&self, appends: &[Append]) -> Result<Vec<Planned>> {
        check_streams_once(appends)?;
        appends.iter().map(|append| self.plan_one(append)).collect()
    }

    fn plan_one(&self, append: &Append) -> Result<Planned> {
        if append.partition != STREAMS && !self.partitions.contains_key(&append.partition) {
            return Err(Error::not_found("partition", &append.partition));
        }
        let id = append.stream_id();
        let stream = self.streams.get(&id);
        if stream.is_some_and(|stream| stream.archived.is_some()) {
            return Err(append.archived());
        }
        if let Some(answer) = self.recorded(append, stream)? {
            return Ok(Planned::Answer(answer));
        }
        let position = stream.map_or(0, Stream::position);
        if !append.expected.holds(position) {
            return Err(append.conflict(position));
        }
        if append.events.is_empty() {
            return Ok(Planned::Answer(Appended::nothing(&StreamHead { position, stream_type: None })));
        }
        Ok(Planned::Write)
    }

    /// Where an append is that was made before.
    fn recorded(&self, append: &Append, stream: Option<&Stream>) -> Result<Option<Appended>> {
        let Some(stream) = stream else { return Ok(None) };
        let with_id = |event: &NewEvent| {
            let id = event.id.as_ref()?;
            stream
                .positions
                .values()
                .filter_map(|global| self.events.get(global))
                .find(|e| e.event.id.as_ref() == Some(id))
        };
        let found: Vec<&RecordedEvent> = append.events.iter().filter_map(with_id).collect();
        if found.is_empty() {
            return Ok(None);
        }
        if found.len() < append.events.len() {
            return Err(append.overlaps(found.len()));
        }
        let positions = || found.iter().map(|event| event.position);
        Ok(Some(Appended {
            first: positions().min().unwrap_or(0),
            last: positions().max().unwrap_or(0),
            global_positions: found.iter().map(|event| event.global_position).collect(),
            created_stream: false,
            repeated: true,
        }))
    }

    /// Does what was planned.
    pub(super) fn append_all(
        &mut self,
        appends: &[Append],
        planned: Vec<Planned>,
        at: Timestamp,
    ) -> Vec<Appended> {
        let all = appends.iter().zip(planned);
        all.map(|(append, planned)| match planned {
            Planned::Answer(answer) => answer,
            Planned::Write => self.write(append, at),
        })
        .collect()
    }

    fn write(&mut self, append: &Append, at: Timestamp) -> Appended {
        let id = append.stream_id();
        let stream = self.streams.entry(id.clone()).or_default();
        let (before, created_stream) = (stream.last, stream.position() == 0);
        if stream.last == 0 {
            let by_name = || id.type_by_name().map(str::to_owned);
            stream.kind = append.stream_type.clone().or_else(by_name);
        }
        let global = self.last;
        let last = self.push((&id.partition, &id.tenant, &id.stream), before, append.events.clone(), at);
        let global_positions = (global + 1..=self.last).collect();
        Appended { first: before + 1, last, global_positions, created_stream, repeated: false }
    }

    /// Puts `events` behind position `before` of one stream: its partition, tenant and name.
    pub(super) fn push(
        &mut self,
        (partition, tenant, stream): (&str, &str, &str),
        before: i64,
        events: Vec<NewEvent>,
        at: Timestamp,
    ) -> i64 {
        let id = StreamId::new(stream).in_partition(partition).of_tenant(tenant);
        let entry = self.streams.entry(id).or_default();
        if partition == EXECUTIONS {
            entry.kind = Some("execution".to_owned());
        }
        let mut position = before;
        for event in events {
            position += 1;
            self.last += 1;
            entry.positions.insert(position, self.last);
            entry.last = position;
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

    fn read(&self, query: &StreamQuery) -> StreamPage {
        let Some(stream) = self.streams.get(&query.stream) else { return StreamPage::default() };
        let (from, to) = (query.from.unwrap_or(0), query.to.unwrap_or(i64::MAX));
        let within = stream.positions.iter().filter(|(position, _)| (from..=to).contains(*position));
        let globals: Vec<i64> = match query.direction {
            Direction::Forward => within.map(|(_, global)| *global).take(query.limit as usize).collect(),
            Direction::Backward => {
                within.rev().map(|(_, global)| *global).take(query.limit as usize).collect()
            }
        };
        let events = globals.iter().filter_map(|global| self.events.get(global)).cloned().collect();
        StreamPage { events, head: self.head_of(&query.stream) }
    }

    fn head_of(&self, id: &StreamId) -> StreamHead {
        match self.streams.get(id).filter(|stream| stream.position() > 0) {
            Some(stream) => StreamHead { position: stream.position(), stream_type: stream.kind.clone() },
            None => StreamHead::default(),
        }
    }

    fn archive(&mut self, id: &StreamId) -> bool {
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.position() > 0) else {
            return false;
        };
        let globals = std::mem::take(&mut stream.positions).into_values();
        stream.archived = Some(globals.filter_map(|global| self.events.remove(&global)).collect());
        true
    }

    fn restore(&mut self, id: &StreamId) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return false };
        let Some(events) = stream.archived.take() else { return false };
        for event in events {
            stream.positions.insert(event.position, event.global_position);
            self.events.insert(event.global_position, event);
        }
        true
    }

    pub(super) fn delete(&mut self, id: &StreamId) -> u64 {
        let Some(stream) = self.streams.get_mut(id) else { return 0 };
        stream.snapshots.clear();
        let archived = stream.archived.take().unwrap_or_default().len();
        let globals = std::mem::take(&mut stream.positions).into_values();
        (archived + globals.filter_map(|global| self.events.remove(&global)).count()) as u64
    }

    /// With its name.
    fn forget(&mut self, id: &StreamId) -> u64 {
        let gone = self.delete(id);
        self.streams.remove(id);
        gone
    }

    fn drop_partition(&mut self, partition: &str) -> Option<u64> {
        self.partitions.remove(partition)?;
        let ids: Vec<StreamId> =
            self.streams.keys().filter(|id| id.partition == partition).cloned().collect();
        let gone = ids.iter().map(|id| self.delete(id)).sum();
        self.streams.retain(|id, _| id.partition != partition);
        Some(gone)
    }

    fn truncate(&mut self, id: &StreamId, position: i64) -> u64 {
        let Some(stream) = self.streams.get_mut(id) else { return 0 };
        let kept = stream.positions.split_off(&position.min(stream.position()));
        let gone = std::mem::replace(&mut stream.positions, kept).into_values();
        gone.filter_map(|global| self.events.remove(&global)).count() as u64
    }

    /// Every stream of this name, whatever its partition and tenant.
    fn named(&self, stream: &str) -> Vec<RecordedEvent> {
        let same = self
            .streams
            .iter()
            .filter(|(id, _)| id.stream == stream && [EXECUTIONS, STREAMS].contains(&id.partition.as_str()));
        let mut global: Vec<i64> = same.flat_map(|(_, stream)| stream.positions.values().copied()).collect();
        global.sort_unstable();
        global.iter().filter_map(|position| self.events.get(position)).cloned().collect()
    }

    fn query(&self, query: &EventQuery) -> Result<Vec<RecordedEvent>> {
        let limit = page_size(query.limit.unwrap_or(1_000))?;
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let matches = |e: &RecordedEvent| {
            (query.event_types.is_empty() || query.event_types.contains(&e.event.event_type))
                && query.after.is_none_or(|after| e.created_at > after)
                && query.before.is_none_or(|before| e.created_at < before)
                && query.after_position.is_none_or(|position| e.global_position > position)
                && query.up_to_position.is_none_or(|position| e.global_position <= position)
                && same(&query.partition, &e.partition)
                && same(&query.tenant, &e.tenant)
                && (query.correlation_id.is_none() || query.correlation_id == e.event.correlation_id)
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
                && let Some(stream) = self.streams.get_mut(&event.stream_id())
            {
                stream.positions.remove(&event.position);
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
    fn append_all(&self, mut appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Appended>>> {
        self.run(move |state, at| {
            appends.iter().try_for_each(Append::check)?;
            let events = appends.iter_mut().flat_map(|append| &mut append.events);
            trace::stamp(events.map(|event| &mut event.metadata));
            let planned = state.log.plan(&appends)?;
            Ok(state.log.append_all(&appends, planned, at))
        })
    }

    fn read_page(&self, query: StreamQuery) -> BoxFuture<'_, Result<StreamPage>> {
        self.run(move |state, _| {
            query.check()?;
            Ok(state.log.read(&query))
        })
    }

    fn head<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<StreamHead>> {
        self.run(move |state, _| Ok(state.log.head_of(stream)))
    }

    fn archive<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| stream.check_writable().map(|()| state.log.archive(stream)))
    }

    fn restore<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| stream.check_writable().map(|()| state.log.restore(stream)))
    }

    fn delete_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, _| stream.check_writable().map(|()| state.log.delete(stream)))
    }

    fn forget_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, _| stream.check_writable().map(|()| state.log.forget(stream)))
    }

    fn truncate_before<'a>(&'a self, stream: &'a StreamId, position: i64) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, _| {
            stream.check_writable()?;
            if position < 1 {
                return Err(Error::invalid("position", format!("{position} is below 1")));
            }
            Ok(state.log.truncate(stream, position))
        })
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a StreamId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Snapshot>>> {
        self.run(move |state, _| {
            Ok(state.log.streams.get(stream).and_then(|stream| stream.snapshots.get(name)).cloned())
        })
    }

    fn save_snapshot<'a>(
        &'a self,
        stream: &'a StreamId,
        name: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<()>> {
        self.run(move |state, _| {
            stream.check_writable()?;
            snapshot.check(name)?;
            if let Some(stream) = state.log.streams.get_mut(stream)
                && stream.positions.contains_key(&snapshot.position)
                && stream.snapshots.get(name).is_none_or(|kept| {
                    kept.schema_version != snapshot.schema_version || kept.position < snapshot.position
                })
            {
                stream.snapshots.insert(name.to_owned(), snapshot);
            }
            Ok(())
        })
    }

    fn create_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| {
            limits::check_name("partition", partition)?;
            if [STREAMS, EXECUTIONS].contains(&partition) || state.log.partitions.contains_key(partition) {
                return Ok(false);
            }
            state.log.partitions.insert(partition.to_owned(), BTreeSet::new());
            Ok(true)
        })
    }

    fn create_tenant<'a>(&'a self, partition: &'a str, tenant: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| {
            limits::check_name("partition", partition)?;
            limits::check_id("tenant", tenant)?;
            if [STREAMS, EXECUTIONS].contains(&partition) {
                return Err(Error::invalid("partition", format!("`{partition}` is shared by all tenants")));
            }
            let tenants = state.log.partitions.get_mut(partition);
            let tenants = tenants.ok_or_else(|| Error::not_found("partition", partition))?;
            Ok(tenants.insert(tenant.to_owned()))
        })
    }

    fn drop_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, _| {
            limits::check_name("partition", partition)?;
            if [STREAMS, EXECUTIONS].contains(&partition) {
                return Err(Error::invalid("partition", format!("`{partition}` is always there")));
            }
            state.log.drop_partition(partition).ok_or_else(|| Error::not_found("partition", partition))
        })
    }

    fn partitions(&self) -> BoxFuture<'_, Result<BTreeMap<String, Vec<String>>>> {
        self.run(|state, _| {
            let made = state.log.partitions.iter();
            Ok(made
                .map(|(partition, tenants)| (partition.clone(), tenants.iter().cloned().collect()))
                .collect())
        })
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
