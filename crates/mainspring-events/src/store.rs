//! The store: where it stands, and the trait it implements.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use mainspring_core::{
    Append, Appended, BoxFuture, Error, EventQuery, EventStore, ExecutionFact, ExecutionId, RecordedEvent,
    Result, Snapshot, StreamHead, StreamId, StreamPage, StreamQuery, Timestamp,
    event::{EXECUTIONS, STREAMS},
    limits,
};
use mainspring_pg::{Db, TxRef};
use tracing::Instrument;

use crate::{InlineProjection, meter, spans};

/// Commits appends together with those of other callers; see [`PgEventStore::with_group`].
pub trait AppendTogether: Send + Sync {
    /// All of it or nothing, as [`EventStore::append_all`].
    fn append_together(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Appended>>>;
}

/// The log on Postgres; see the crate.
#[derive(Clone)]
pub struct PgEventStore<'t> {
    db: Db<'t>,
    inline: Vec<Arc<dyn InlineProjection>>,
    group: Option<Arc<dyn AppendTogether>>,
}

impl<'t> PgEventStore<'t> {
    /// The log on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone(), inline: Vec::new(), group: None }
    }

    /// The same log, standing on your transaction: what is appended becomes durable with your commit, or not at all.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgEventStore<'u> {
        PgEventStore { db: self.db.on(tx), inline: self.inline.clone(), group: None }
    }

    /// The same log with a projection that is kept in the transaction of every append through this store, after those that
    /// were added before. Such appends are transactions of their own. It is applied again when the transaction is run again,
    /// after a deadlock or a serialization failure. The histories of executions do not pass here: consumers read them.
    #[must_use]
    pub fn with_inline(mut self, projection: Arc<dyn InlineProjection>) -> Self {
        self.inline.push(projection);
        self
    }

    /// The same log with appends on the pool handed to `group`, as long as there is no inline projection.
    #[must_use]
    pub fn with_group(mut self, group: Arc<dyn AppendTogether>) -> Self {
        self.group = Some(group);
        self
    }

    /// Where it stands.
    pub fn db(&self) -> &Db<'t> {
        &self.db
    }

    /// The projections that are kept in the transaction of every append.
    pub fn inline(&self) -> &[Arc<dyn InlineProjection>] {
        &self.inline
    }

    pub(crate) fn group(&self) -> Option<&Arc<dyn AppendTogether>> {
        self.group.as_ref().filter(|_| self.inline.is_empty())
    }

    /// Records a fact about an execution, which needs no row; its position among those facts.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub async fn record(&self, fact: ExecutionFact) -> Result<i64> {
        Ok(self.append(fact.into()).await?.last)
    }
}

const DELETE_OLD: &str = "WITH old AS MATERIALIZED (
    SELECT stream, tenant, stream_position FROM {events_executions} WHERE created_at < $1 LIMIT 1000)
  DELETE FROM {events_executions} e USING old
  WHERE e.tenant = old.tenant AND e.stream = old.stream AND e.stream_position = old.stream_position";

impl EventStore for PgEventStore<'_> {
    fn append_all(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Appended>>> {
        Box::pin(async move {
            let span = spans::append(&appends);
            // What goes through a group is counted where that commits.
            let counts = if self.group().is_some() { Vec::new() } else { meter::counts(&appends) };
            let appended = self.append_now(appends).instrument(span.clone()).await;
            spans::appended(&span, &appended);
            meter::appended(&counts, &appended);
            appended
        })
    }

    fn read_page(&self, query: StreamQuery) -> BoxFuture<'_, Result<StreamPage>> {
        Box::pin(async move {
            let span = spans::read(&query.stream);
            let page = self.page(query).instrument(span.clone()).await;
            spans::was_read(&span, &page);
            page
        })
    }

    fn head<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<StreamHead>> {
        Box::pin(self.head_of(stream))
    }

    fn archive<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.archive_stream(stream))
    }

    fn restore<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.restore_stream(stream))
    }

    fn delete_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.delete_events(stream))
    }

    fn forget_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.forget(stream))
    }

    fn truncate_before<'a>(&'a self, stream: &'a StreamId, position: i64) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.truncate(stream, position))
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a StreamId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Snapshot>>> {
        Box::pin(self.load_snapshot(stream, name))
    }

    fn save_snapshot<'a>(
        &'a self,
        stream: &'a StreamId,
        name: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.keep_snapshot(stream, name, snapshot))
    }

    fn in_transaction(&self) -> bool {
        self.db.in_transaction()
    }

    fn create_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            limits::check_name("partition", partition)?;
            if [STREAMS, EXECUTIONS].contains(&partition) {
                return Ok(false);
            }
            Ok(self.make_partition(partition, "").await?.unwrap_or(false))
        })
    }

    fn create_tenant<'a>(&'a self, partition: &'a str, tenant: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            limits::check_name("partition", partition)?;
            limits::check_id("tenant", tenant)?;
            if [STREAMS, EXECUTIONS].contains(&partition) {
                return Err(Error::invalid("partition", format!("`{partition}` is shared by all tenants")));
            }
            let new = self.make_partition(partition, tenant).await?;
            new.ok_or_else(|| Error::not_found("partition", partition))
        })
    }

    fn drop_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            limits::check_name("partition", partition)?;
            if [STREAMS, EXECUTIONS].contains(&partition) {
                return Err(Error::invalid("partition", format!("`{partition}` is always there")));
            }
            let gone = self.unmake_partition(partition).await?;
            gone.ok_or_else(|| Error::not_found("partition", partition))
        })
    }

    fn partitions(&self) -> BoxFuture<'_, Result<BTreeMap<String, Vec<String>>>> {
        Box::pin(async move {
            let mut partitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (partition, tenant) in self.made_partitions().await? {
                let tenants = partitions.entry(partition).or_default();
                tenants.extend(Some(tenant).filter(|tenant| !tenant.is_empty()));
            }
            Ok(partitions)
        })
    }

    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<RecordedEvent>>> {
        Box::pin(self.find(query))
    }

    fn get_by_execution<'a>(
        &'a self,
        execution: &'a ExecutionId,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>> {
        Box::pin(self.about(execution))
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { self.db.exec(DELETE_OLD, &[&SystemTime::from(before)]).await })
    }
}
