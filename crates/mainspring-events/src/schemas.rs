//! Events whose shape has changed: brought up when they are read, and down when they are appended.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use mainspring_core::{
    Append, Appended, BoxFuture, Error, EventQuery, EventStore, ExecutionId, NewEvent, RecordedEvent, Result,
    Snapshot, StreamHead, StreamId, StreamPage, StreamQuery, Timestamp,
};
use serde_json::Value;

type Change = Arc<dyn Fn(Value) -> Result<Value, String> + Send + Sync>;

/// How the data of one version of an event's schema becomes the data of the next one, or of the one before.
///
/// Upcasters run when events are read, one after the other, as far as they go. Downcasters run when events are appended,
/// down to the version that [`stored_as`](Self::stored_as) names: so that a program of the new version can write what those
/// of the old one still read.
///
/// ```
/// use mainspring_core::NewEvent;
/// use mainspring_events::Schemas;
/// use serde_json::json;
///
/// let schemas = Schemas::new()
///     .up("Paid", 1, |data| Ok(json!({"cents": data["euros"].as_i64().unwrap_or(0) * 100})))
///     .up("Paid", 2, |data| Ok(json!({"amount": data["cents"], "currency": "EUR"})));
///
/// let mut event = NewEvent::new("Paid", json!({"euros": 3}));
/// schemas.upcast(&mut event)?;
/// assert_eq!((event.schema_version, event.data), (3, json!({"amount": 300, "currency": "EUR"})));
/// # Ok::<(), mainspring_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Schemas {
    up: HashMap<String, HashMap<u32, Change>>,
    down: HashMap<String, HashMap<u32, Change>>,
    stored: HashMap<String, u32>,
}

impl Schemas {
    /// None: events are as they are.
    pub fn new() -> Self {
        Self::default()
    }

    /// How data of version `from` of `event_type` becomes data of version `from + 1`. It fails with a reason.
    #[must_use]
    pub fn up(
        mut self,
        event_type: impl Into<String>,
        from: u32,
        change: impl Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.up.entry(event_type.into()).or_default().insert(from, Arc::new(change));
        self
    }

    /// How data of version `from` of `event_type` becomes data of version `from - 1`. It fails with a reason.
    #[must_use]
    pub fn down(
        mut self,
        event_type: impl Into<String>,
        from: u32,
        change: impl Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.down.entry(event_type.into()).or_default().insert(from, Arc::new(change));
        self
    }

    /// The version in which events of this type are appended when they are of a later one.
    #[must_use]
    pub fn stored_as(mut self, event_type: impl Into<String>, version: u32) -> Self {
        self.stored.insert(event_type.into(), version);
        self
    }

    /// Brings an event up as far as it goes.
    ///
    /// # Errors
    /// Internal, naming the type, the version and the reason.
    pub fn upcast(&self, event: &mut NewEvent) -> Result<()> {
        let Some(changes) = self.up.get(&event.event_type) else { return Ok(()) };
        while let Some(change) = changes.get(&event.schema_version) {
            apply(change, event)?;
            event.schema_version += 1;
        }
        Ok(())
    }

    /// Brings an event down to the version in which it is stored.
    ///
    /// # Errors
    /// Internal, naming the type, the version and the reason, also when there is no downcaster.
    pub fn downcast(&self, event: &mut NewEvent) -> Result<()> {
        let Some(stored) = self.stored.get(&event.event_type) else { return Ok(()) };
        while event.schema_version > *stored {
            let change = self.down.get(&event.event_type).and_then(|down| down.get(&event.schema_version));
            match change {
                Some(change) => apply(change, event)?,
                None => return Err(failed(event, "there is no way down")),
            }
            event.schema_version -= 1;
        }
        Ok(())
    }
}

fn apply(change: &Change, event: &mut NewEvent) -> Result<()> {
    event.data = change(event.data.take()).map_err(|reason| failed(event, &reason))?;
    Ok(())
}

fn failed(event: &NewEvent, reason: &str) -> Error {
    let (kind, version) = (&event.event_type, event.schema_version);
    Error::internal(format!("event `{kind}` of schema version {version}: {reason}"))
}

/// The types and versions; the functions have nothing to show.
impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = |changes: &HashMap<String, HashMap<u32, Change>>| -> BTreeMap<String, usize> {
            changes.iter().map(|(kind, versions)| (kind.clone(), versions.len())).collect()
        };
        f.debug_struct("Schemas").field("up", &ways(&self.up)).field("down", &ways(&self.down)).finish()
    }
}

/// A store whose events are brought up when they are read and down when they are appended.
#[derive(Debug, Clone)]
pub struct Versioned<S> {
    store: S,
    schemas: Schemas,
}

impl<S> Versioned<S> {
    /// `store` with these schemas.
    pub fn new(store: S, schemas: Schemas) -> Self {
        Self { store, schemas }
    }

    /// The store within, whose events are as they were written.
    pub fn store(&self) -> &S {
        &self.store
    }

    fn raised(&self, mut events: Vec<RecordedEvent>) -> Result<Vec<RecordedEvent>> {
        events.iter_mut().try_for_each(|event| self.schemas.upcast(&mut event.event))?;
        Ok(events)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: EventStore> EventStore for Versioned<S> {
    fn append_all(&self, mut appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Appended>>> {
        let mut events = appends.iter_mut().flat_map(|append| &mut append.events);
        match events.try_for_each(|event| self.schemas.downcast(event)) {
            Ok(()) => self.store.append_all(appends),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn append(&self, mut append: Append) -> BoxFuture<'_, Result<Appended>> {
        match append.events.iter_mut().try_for_each(|event| self.schemas.downcast(event)) {
            Ok(()) => self.store.append(append),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn read_page(&self, query: StreamQuery) -> BoxFuture<'_, Result<StreamPage>> {
        Box::pin(async move {
            let StreamPage { events, head } = self.store.read_page(query).await?;
            Ok(StreamPage { events: self.raised(events)?, head })
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
        Box::pin(
            async move { self.raised(self.store.read_stream(partition, tenant, stream, from, limit).await?) },
        )
    }

    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<RecordedEvent>>> {
        Box::pin(async move { self.raised(self.store.query(query).await?) })
    }

    fn get_by_execution<'a>(
        &'a self,
        execution: &'a ExecutionId,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>> {
        Box::pin(async move { self.raised(self.store.get_by_execution(execution).await?) })
    }

    fn head<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<StreamHead>> {
        self.store.head(stream)
    }

    fn position<'a>(
        &'a self,
        partition: &'a str,
        tenant: &'a str,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<i64>> {
        self.store.position(partition, tenant, stream)
    }

    fn archive<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        self.store.archive(stream)
    }

    fn restore<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        self.store.restore(stream)
    }

    fn delete_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>> {
        self.store.delete_stream(stream)
    }

    fn forget_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>> {
        self.store.forget_stream(stream)
    }

    fn truncate_before<'a>(&'a self, stream: &'a StreamId, position: i64) -> BoxFuture<'a, Result<u64>> {
        self.store.truncate_before(stream, position)
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a StreamId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Snapshot>>> {
        self.store.snapshot(stream, name)
    }

    fn save_snapshot<'a>(
        &'a self,
        stream: &'a StreamId,
        name: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<()>> {
        self.store.save_snapshot(stream, name, snapshot)
    }

    fn in_transaction(&self) -> bool {
        self.store.in_transaction()
    }

    fn create_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.store.create_partition(partition)
    }

    fn create_tenant<'a>(&'a self, partition: &'a str, tenant: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.store.create_tenant(partition, tenant)
    }

    fn drop_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.store.drop_partition(partition)
    }

    fn partitions(&self) -> BoxFuture<'_, Result<BTreeMap<String, Vec<String>>>> {
        self.store.partitions()
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        self.store.delete_old(before)
    }
}
