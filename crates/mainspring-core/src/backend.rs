//! The seam between deciding and storing: one trait for each store, and one for what joins them.
//!
//! `mainspring` implements all of them on Postgres, `mainspring-testing` in memory; both pass the same conformance suites.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    Append, Appended, BoxFuture, Changes, ClaimRequest, Claimed, Committed, ContextRef, DeadLetter,
    EventQuery, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, Expect, Failure, Flow, FlowFilter,
    Job, JobFilter, JobId, JobLease, JobStatus, MessageLease, NewMessage, OutputStore, Progress, QueueStats,
    RecordedEvent, Result, ResumeToken, Saved, Settle, Snapshot, StreamHead, StreamId, StreamPage,
    StreamQuery, Timestamp, TokenOptions, TokenSecret, Upkeep, WorkerId, lease::LeaseStore,
    queue::QueueStore,
};

/// All stores, and the one write that spans them.
pub trait Backend: Send + Sync {
    /// Makes all of `changes` durable in one transaction, or none of it.
    ///
    /// # Errors
    /// [Fenced](crate::Error::is_fenced) or [conflict](crate::Error::is_conflict) as [`Changes`] says; invalid before any
    /// SQL; [commit unknown](crate::Error::is_commit_unknown) when the outcome could not be found out.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<Committed>>;

    /// What a crate that knows this very backend can do with it besides, such as the application's SQL in the transaction of a
    /// commit. Defaults to nothing.
    fn as_any(&self) -> Option<&(dyn std::any::Any + Send + Sync)> {
        None
    }

    /// The database's time as far as this process knows it: the last time it saw plus what has passed since.
    fn now(&self) -> Timestamp;

    /// Begins the upkeep that the backend needs now and then: due messages, leases of dead workers, what is old. One process
    /// of all that began does it at a time. `None` when it needs none, which is the default. Called within a tokio runtime.
    ///
    /// # Errors
    /// Those of the backend.
    fn start_upkeep(&self) -> Result<Option<Box<dyn UpkeepTask>>> {
        Ok(None)
    }

    /// The executions.
    fn executions(&self) -> &dyn ExecutionStore;
    /// The flows.
    fn flows(&self) -> &dyn FlowStore;
    /// The jobs.
    fn jobs(&self) -> &dyn JobStore;
    /// The log.
    fn events(&self) -> &dyn EventStore;
    /// The resume tokens.
    fn tokens(&self) -> &dyn TokenStore;
    /// The large values.
    fn context(&self) -> &dyn ContextStore;
    /// The queue.
    fn queue(&self) -> &dyn QueueDriver;
    /// The queues that were created, and the messages in them.
    fn queues(&self) -> &dyn QueueStore;
    /// The output streams.
    fn outputs(&self) -> &dyn OutputStore;
    /// The leases on names.
    fn leases(&self) -> &dyn LeaseStore;
}

/// Upkeep that is being done. Dropping it ends it at once, and another process does it a little later.
pub trait UpkeepTask: Send + Sync {
    /// Ends it after what is under way, so that another process can do it at once.
    ///
    /// # Errors
    /// Internal when it ended early.
    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

/// Executions by id, status, family and time.
pub trait ExecutionStore: Send + Sync {
    /// Creates one at revision 1 and returns it as stored.
    ///
    /// # Errors
    /// Conflict when the id exists or the idempotency key is taken.
    fn create(&self, execution: Execution) -> BoxFuture<'_, Result<Execution>>;

    /// One by id.
    fn get<'a>(&'a self, id: &'a ExecutionId) -> BoxFuture<'a, Result<Option<Execution>>>;

    /// Those of `ids` that exist, in no particular order.
    fn get_many<'a>(&'a self, ids: &'a [ExecutionId]) -> BoxFuture<'a, Result<Vec<Execution>>>;

    /// Writes what may change of one that is as `expect` says, and returns it as written. Its tenant, flow, version, queue,
    /// timeouts, parent, root, idempotency key, reply and creation time never change.
    ///
    /// # Errors
    /// Conflict when it is not, or when it is terminal.
    fn update(&self, execution: Execution, expect: Expect) -> BoxFuture<'_, Result<Execution>>;

    /// Deletes one with its jobs, tokens and large values; whether it was there. Its history stays.
    fn delete<'a>(&'a self, id: &'a ExecutionId) -> BoxFuture<'a, Result<bool>>;

    /// A page of all that match, newest first.
    fn list(&self, filter: ExecutionFilter) -> BoxFuture<'_, Result<Vec<Execution>>>;

    /// How many match, whatever `after` and `limit` say.
    fn count(&self, filter: ExecutionFilter) -> BoxFuture<'_, Result<u64>>;

    /// With this status, newest first.
    fn find_by_status(&self, status: ExecutionStatus, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        self.list(ExecutionFilter { status: Some(status), limit, ..ExecutionFilter::default() })
    }

    /// Those of a flow or workflow that ended before `before`, the longest over first.
    fn find_finished<'a>(
        &'a self,
        flow_id: &'a str,
        before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Execution>>>;

    /// Deletes those of `ids` that are over, with their jobs, tokens, large values and histories; how many.
    fn delete_finished<'a>(&'a self, ids: &'a [ExecutionId]) -> BoxFuture<'a, Result<u64>>;

    /// Deletes one, over or not, with its jobs, tokens, large values and history, and the [lease](LeaseStore) of this name,
    /// whoever holds it, in one transaction; whether there was such an execution.
    fn forget<'a>(&'a self, id: &'a ExecutionId, lease: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Waiting with a time that has come, the most overdue first. Those that wait for no time are never here.
    fn find_waiting(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>>;

    /// The one created with this key whose window is still open.
    fn find_by_idempotency_key<'a>(
        &'a self,
        tenant: &'a str,
        flow_id: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Execution>>>;

    /// The direct children, oldest first.
    fn find_children<'a>(&'a self, parent: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<Execution>>>;

    /// Not terminal and older than their execution timeout, by deadline.
    fn find_timed_out_executions(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>>;

    /// Waiting longer than their wait timeout, by deadline.
    fn find_timed_out_waits(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>>;

    /// Held by a worker that is no longer alive.
    fn find_orphans(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>>;

    /// How many there are of each status.
    fn count_by_status(&self) -> BoxFuture<'_, Result<Vec<(ExecutionStatus, u64)>>>;
}

/// Flow definitions: `(id, version)` is immutable, the latest is by semantic version.
pub trait FlowStore: Send + Sync {
    /// Stores a definition. Storing the same again is fine and says so.
    ///
    /// # Errors
    /// Invalid when it does not validate; conflict when this version exists with another content.
    fn save<'a>(&'a self, flow: &'a Flow) -> BoxFuture<'a, Result<Saved>>;

    /// One version.
    fn get<'a>(&'a self, id: &'a str, version: &'a str) -> BoxFuture<'a, Result<Option<Flow>>>;

    /// The latest published version.
    fn latest<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Flow>>>;

    /// All versions of one flow, latest first.
    fn versions<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<String>>>;

    /// A page of those that match, by id: of each the latest version with the status.
    ///
    /// # Errors
    /// Invalid for a bad limit.
    fn list(&self, filter: FlowFilter) -> BoxFuture<'_, Result<Vec<Flow>>>;
}

/// Jobs and their claims.
pub trait JobStore: Send + Sync {
    /// Creates one.
    ///
    /// # Errors
    /// Conflict when the id exists.
    fn create(&self, job: Job) -> BoxFuture<'_, Result<Job>>;

    /// One by id.
    fn get<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<Job>>>;

    /// Claims a pending job: running, one more attempt, a new token. `None` when it is not pending.
    fn claim<'a>(&'a self, id: &'a JobId, worker: &'a WorkerId) -> BoxFuture<'a, Result<Option<Job>>>;

    /// Claims a job that is pending, or that `worker` itself or a holder without a live liveness row has; a running one counts
    /// as lost once more.
    fn take_over<'a>(&'a self, id: &'a JobId, worker: &'a WorkerId) -> BoxFuture<'a, Result<Option<Job>>>;

    /// Until when the holder of a running job counts as alive, as things stand; `None` when nobody alive holds it.
    fn held_until<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<Timestamp>>>;

    /// A sign of life; false when the claim was superseded.
    fn heartbeat<'a>(&'a self, lease: &'a JobLease) -> BoxFuture<'a, Result<bool>>;

    /// Ends it well; false when the claim was superseded.
    fn complete<'a>(&'a self, lease: &'a JobLease, result: Value) -> BoxFuture<'a, Result<bool>>;

    /// Ends the run with an error: pending again while attempts are left, else failed. `None` when the claim was superseded.
    fn fail<'a>(&'a self, lease: &'a JobLease, error: Failure) -> BoxFuture<'a, Result<Option<JobStatus>>>;

    /// Saves one checkpoint beside the others; false when the claim was superseded.
    fn save_checkpoint<'a>(
        &'a self,
        lease: &'a JobLease,
        key: &'a str,
        value: Value,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Removes one checkpoint, or all with `None`; false when the claim was superseded.
    fn clear_checkpoint<'a>(
        &'a self,
        lease: &'a JobLease,
        key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Says how far it is; false when the claim was superseded.
    fn update_progress<'a>(&'a self, lease: &'a JobLease, progress: Progress) -> BoxFuture<'a, Result<bool>>;

    /// A page of those that match, oldest first.
    fn list(&self, filter: JobFilter) -> BoxFuture<'_, Result<Vec<Job>>>;

    /// With this status, oldest first.
    fn list_by_status(&self, status: JobStatus, limit: u32) -> BoxFuture<'_, Result<Vec<Job>>> {
        self.list(JobFilter { status: Some(status), limit, ..JobFilter::default() })
    }

    /// Running without a sign of life for `stalled_after_ms`, longest silent first.
    fn find_stalled(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Job>>>;

    /// Takes a stalled job from its holder: pending again while attempts are left, else failed. `None` when it is not stalled.
    fn reset_stalled<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<JobStatus>>>;

    /// All of one execution, oldest first.
    fn get_by_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<Job>>>;

    /// Deletes terminal jobs that ended before `before`, at most 1,000; how many.
    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>>;
}

/// The log.
pub trait EventStore: Send + Sync {
    /// Appends to several streams in one transaction: all of it or nothing. Answers for each append, in order.
    ///
    /// # Errors
    /// Conflict when `expected` does not hold, with the [real position](crate::Error::current_position), when the stream is
    /// archived, or when only some of the events are in it already; not found when the partition does not exist; invalid
    /// when two appends are to one stream.
    fn append_all(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Appended>>>;

    /// Appends to one stream, together and in order.
    ///
    /// # Errors
    /// As [`append_all`](Self::append_all).
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended>> {
        Box::pin(async move {
            let appended = self.append_all(vec![append]).await?.pop();
            appended.ok_or_else(|| crate::Error::internal("an append was not answered"))
        })
    }

    /// A page of one stream, and where the stream stands.
    fn read_page(&self, query: StreamQuery) -> BoxFuture<'_, Result<StreamPage>>;

    /// Where a stream stands.
    fn head<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<StreamHead>>;

    /// Takes a stream out of every read and of everything that follows the log; appends to it are refused. Whether this
    /// call did. Its events are kept and can be [restored](Self::restore).
    fn archive<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>>;

    /// Brings an archived stream back, its events at their old positions; whether this call did. Whoever follows the log
    /// and has passed their global positions does not see them again.
    fn restore<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>>;

    /// Deletes all events of a stream, archived or not; how many. Its name stays taken by its last position: a stream
    /// begun again under this name goes on behind it, so that no position ever names two events.
    fn delete_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>>;

    /// Deletes a stream with its name, of which nothing is left; how many events those were. For a stream whose name does not come
    /// back, since positions of one that is begun again under it may name what consumers have seen before.
    fn forget_stream<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<u64>>;

    /// Deletes the events of a stream before `position`, but never its last one, so that the stream still exists; how many.
    fn truncate_before<'a>(&'a self, stream: &'a StreamId, position: i64) -> BoxFuture<'a, Result<u64>>;

    /// The last snapshot of this name.
    fn snapshot<'a>(&'a self, stream: &'a StreamId, name: &'a str)
    -> BoxFuture<'a, Result<Option<Snapshot>>>;

    /// Keeps a snapshot in place of an older one, or of one of another schema version. Of no effect when the stream does
    /// not go so far, as when it was deleted meanwhile.
    fn save_snapshot<'a>(
        &'a self,
        stream: &'a StreamId,
        name: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<()>>;

    /// Whether it stands in a transaction of the caller's, in which nobody may wait. Defaults to no.
    fn in_transaction(&self) -> bool {
        false
    }

    /// Makes a partition of the log; whether it is new.
    fn create_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Gives a tenant storage of its own in a partition; whether it is new. A tenant needs none to have streams.
    ///
    /// # Errors
    /// Not found when the partition does not exist; invalid for [`STREAMS`](crate::event::STREAMS), which all share.
    fn create_tenant<'a>(&'a self, partition: &'a str, tenant: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Deletes a partition that was made, with every stream in it, archived or not; how many events it had. Made again it is
    /// empty, and its streams begin with position 1.
    ///
    /// # Errors
    /// Not found when the partition does not exist; invalid for those that are always there.
    fn drop_partition<'a>(&'a self, partition: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// The partitions that were made, and the tenants that have storage of their own in each.
    fn partitions(&self) -> BoxFuture<'_, Result<BTreeMap<String, Vec<String>>>>;

    /// Events of one stream from `from` (1 is the first) on, in order, at most `limit`.
    fn read_stream<'a>(
        &'a self,
        partition: &'a str,
        tenant: &'a str,
        stream: &'a str,
        from: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>> {
        let stream = StreamId::new(stream).in_partition(partition).of_tenant(tenant);
        let query = StreamQuery { from: Some(from), limit, ..StreamQuery::of(stream) };
        Box::pin(async move { Ok(self.read_page(query).await?.events) })
    }

    /// The position of the last event of one stream; 0 when it has none.
    fn position<'a>(
        &'a self,
        partition: &'a str,
        tenant: &'a str,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<i64>> {
        let stream = StreamId::new(stream).in_partition(partition).of_tenant(tenant);
        Box::pin(async move { Ok(self.head(&stream).await?.position) })
    }

    /// Events that match, by global position.
    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<RecordedEvent>>>;

    /// Everything known of one execution, oldest first: its history and what was recorded about it.
    fn get_by_execution<'a>(
        &'a self,
        execution: &'a ExecutionId,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>>;

    /// Deletes events of the executions' histories created before `before`, at most 1,000; how many.
    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>>;
}

/// Resume tokens.
pub trait TokenStore: Send + Sync {
    /// Makes a token. The secret is returned here and never again.
    fn generate<'a>(
        &'a self,
        execution: &'a ExecutionId,
        step_id: &'a str,
        options: TokenOptions,
    ) -> BoxFuture<'a, Result<(TokenSecret, ResumeToken)>>;

    /// What is known of a token.
    fn get<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<Option<ResumeToken>>>;

    /// Why it would be refused; `None` when it works.
    fn validate<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<Option<&'static str>>> {
        Box::pin(async move {
            Ok(match self.get(secret).await? {
                None => Some("token not found"),
                Some(token) => token.status.refusal(),
            })
        })
    }

    /// Spends it; whether this call did.
    fn mark_used<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<bool>>;

    /// Takes it back; whether this call did.
    fn revoke<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<bool>>;

    /// Takes back all of one execution that still work; how many.
    fn revoke_all<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<u64>>;

    /// All of one execution, oldest first.
    fn get_by_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<ResumeToken>>>;

    /// Marks those whose time is over as expired, at most 1,000; how many.
    fn cleanup_expired(&self) -> BoxFuture<'_, Result<u64>>;
}

/// Large values beside the executions that own them.
pub trait ContextStore: Send + Sync {
    /// Stores or replaces a value and returns what to keep in the context.
    fn set<'a>(
        &'a self,
        execution: &'a ExecutionId,
        key: &'a str,
        value: Value,
    ) -> BoxFuture<'a, Result<ContextRef>>;

    /// A value.
    ///
    /// # Errors
    /// Not found.
    fn get<'a>(&'a self, execution: &'a ExecutionId, key: &'a str) -> BoxFuture<'a, Result<Value>>;

    /// Removes a value; whether it was there.
    fn delete<'a>(&'a self, execution: &'a ExecutionId, key: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// The keys of one execution, sorted.
    fn keys<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<String>>>;

    /// Removes all values of one execution; how many.
    fn clear_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<u64>>;
}

/// A queue: the same five verbs whatever carries the messages.
pub trait QueueDriver: Send + Sync {
    /// Pushes all of them or none. What its queue or itself says is a duplicate is left out;
    /// [`QueueStore::push_each`] tells which. A queue that was never created is plain. However many they are, they are one
    /// transaction; so it is worth making one push of thousands.
    ///
    /// # Errors
    /// Invalid, also for a message with a key, a group, others to wait for or options of its own in a queue that was never
    /// created, and for one that waits for a message that is not there.
    fn push(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<()>>;

    /// Claims ready messages, as a rule by priority, then age; none of a queue that is paused, and no more than its rate
    /// limit allows. A claim that brings something leaves the holder alive for at least half
    /// the lease; [`extend`](Self::extend) makes it a whole one.
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<Claimed>>;

    /// Settles deliveries, each by its own lease; a lost lease is that item's fenced error and changes nothing.
    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'_, Result<Vec<Result<()>>>>;

    /// Marks a holder alive for `lease` from now, before it holds anything.
    fn register<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>>;

    /// Keeps all leases of `holder` for another `lease` from now.
    ///
    /// # Errors
    /// Fenced when the holder was found dead and its leases taken back.
    fn extend<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>>;

    /// A sign of life for messages that ask for one, each by its own lease; a lost lease is that item's fenced error. One that
    /// asks for none is left as it is.
    fn touch(&self, leases: Vec<MessageLease>) -> BoxFuture<'_, Result<Vec<Result<()>>>>;

    /// Gives back everything `holder` has claimed, at once and without counting it as lost, and forgets the holder; how many.
    fn release<'a>(&'a self, holder: &'a WorkerId) -> BoxFuture<'a, Result<u64>>;

    /// Upkeep, safe to run anywhere at any time: makes deferred messages ready, takes back the leases of dead holders, and
    /// those of tries that take longer than they may.
    fn maintain(&self) -> BoxFuture<'_, Result<Upkeep>>;

    /// How full a queue is.
    fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<QueueStats>>;

    /// The dead letters of a queue, newest first.
    fn dead_letters<'a>(&'a self, queue: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<DeadLetter>>>;

    /// Waits until there may be something new in `queue` since the last claim from it began, at most `timeout`. A hint only:
    /// claims find the truth.
    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()>;

    /// Whether [`wait`](Self::wait) is told of whatever can be claimed, as far as is known, so that whoever has found nothing need
    /// not look again and again at first.
    fn hears_all(&self) -> bool {
        false
    }

    /// Wakes whoever [waits](Self::wait) for this name, in any process: a queue, or something else that nobody claims from. A
    /// hint only. Does nothing unless the driver can.
    fn hint(&self, _name: &str) {}
}
