//! The catalogue of metrics: every name, its kind, its labels and what it counts. Nothing here is emitted; the crates that know the
//! facts do that, through the facade `metrics`, so that an application chooses who listens.
//!
//! Labels have few values: queues, flows, steps, consumers, outcomes; never an id. Times are in seconds. A test holds the crates to
//! this list, both ways, and docs/operations/metrics.md is written from it.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times, in seconds.
    Histogram,
}

impl MetricKind {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($kind:ident $const:ident = $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $const: &str = $name;
        )*
        /// All of them.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help },)*
        ];
        /// The name of each constant, and what it stands for.
        pub const CONSTANTS: &[(&str, &str)] = &[$((stringify!($const), $name),)*];
    };
}

metrics! {
    Counter JOBS_ENQUEUED = "mainspring_jobs_enqueued_total" ["queue"] "Messages pushed and committed by this process.";
    Counter JOBS_FINISHED = "mainspring_jobs_finished_total" ["queue", "outcome"]
        "Deliveries that ended: `completed`, `committed` with the handler's own commit, `retried`, `snoozed`, `dead_lettered`, `put_back`.";
    Counter JOB_ATTEMPTS = "mainspring_job_attempts_total" ["queue"] "Deliveries claimed.";
    Histogram JOB_DURATION = "mainspring_job_duration_seconds" ["queue"] "How long handlers took, one delivery or one batch at a time.";
    Histogram JOB_QUEUE_LATENCY = "mainspring_job_queue_latency_seconds" ["queue"]
        "From the push of a message to its first claim; what was put off on purpose is in it.";
    Histogram NOTIFY_TO_START = "mainspring_notify_to_start_seconds" ["queue"] "From a hint that woke an idle worker to its next delivery.";
    Gauge QUEUE_DEPTH = "mainspring_queue_depth" ["queue", "state"]
        "Messages that are `ready`, `claimed`, `deferred`, `held` or `blocked`, as upkeep counted them last.";
    Gauge QUEUE_OLDEST_AGE = "mainspring_queue_oldest_age_seconds" ["queue"] "How long ago the oldest ready message was pushed.";
    Gauge DLQ_DEPTH = "mainspring_dlq_depth" ["queue"] "Dead letters.";
    Gauge WORKERS = "mainspring_workers" ["state"] "Workers that are `live`, or `expired` and not yet cleared away.";
    Gauge SLOTS_BUSY = "mainspring_slots_busy" ["queue"] "Handlers of this process that are at work.";
    Counter LEASE_EXPIRED = "mainspring_lease_expired_total" [] "Messages taken back from workers that died.";
    Counter LEASE_LOST = "mainspring_lease_lost_total" ["queue"] "Deliveries whose lease was lost to another worker: what was done for them here did not count.";
    Histogram HEARTBEAT_LAG = "mainspring_heartbeat_lag_seconds" ["queue"] "How old the last sign of life was when the next one was written.";
    Gauge STUCK_JOBS = "mainspring_stuck_jobs" ["queue"] "Handlers of this process that run for longer than they should.";
    Counter POISON = "mainspring_poison_total" ["queue"] "Messages given up because they have cost too many workers.";
    Counter WORKFLOW_RUNS = "mainspring_workflow_runs_total" ["flow", "state"]
        "Executions that came to a state: `created`, `completed`, `failed`, `cancelled`.";
    Histogram STEP_DURATION = "mainspring_step_duration_seconds" ["flow", "step"] "How long a step's handler or closure took.";
    Histogram REPLAY = "mainspring_replay_seconds" ["flow"] "How long reading a workflow's history took before it went on.";
    Counter NONDETERMINISM = "mainspring_nondeterminism_total" ["flow"] "Replays that found other steps than were recorded.";
    Counter RECONCILER_REQUEUED = "mainspring_reconciler_requeued_total" [] "Executions whose driver had died, and that got a message instead.";
    Counter EXECUTIONS_UNREADABLE = "mainspring_executions_unreadable_total" []
        "Executions whose row cannot be read, each time one is left out so that others are looked after.";
    Counter EVENTS_APPENDED = "mainspring_events_appended_total" ["partition"] "Events committed by this process.";
    Counter APPEND_CONFLICTS = "mainspring_append_conflicts_total" [] "Appends refused because the stream was elsewhere than expected.";
    Gauge CONSUMER_LAG_EVENTS = "mainspring_consumer_lag_events" ["consumer"] "Positions of the log a processor has not come to.";
    Gauge CONSUMER_LAG_SECONDS = "mainspring_consumer_lag_seconds" ["consumer"] "Age of the first event a processor has not come to.";
    Gauge FENCE_LAG_EVENTS = "mainspring_fence_lag_events" [] "Positions of the log that wait for a transaction that appends.";
    Histogram LOCK_WAIT = "mainspring_lock_wait_seconds" [] "How long the lock of a machine's memory took to get, or to be refused.";
    Counter DB_ERRORS = "mainspring_db_errors_total" ["sqlstate_class"] "Statements that failed, by the first two characters of the SQLSTATE; `none` when the connection did.";
    Counter DB_RETRIES = "mainspring_db_retries_total" [] "Transactions and statements run again after a passing failure.";
    Counter COMMIT_UNKNOWN = "mainspring_commit_unknown_total" [] "Commits of which nobody can say whether they happened.";
    Gauge DB_POOL_SIZE = "mainspring_db_pool_size" [] "Connections of the pool.";
    Gauge DB_POOL_IDLE = "mainspring_db_pool_idle" [] "Connections nobody uses.";
    Gauge DB_POOL_WAITING = "mainspring_db_pool_waiting" [] "Tasks that wait for a connection.";
    Histogram DB_ACQUIRE = "mainspring_db_acquire_seconds" [] "How long a connection of the pool took to get.";
    Counter LISTENER_RECONNECTS = "mainspring_listener_reconnects_total" [] "Times the LISTEN connection was lost.";
    Histogram HTTP_DISPATCH = "mainspring_http_dispatch_seconds" ["code"] "Calls of an application over HTTP, by status; `none` when there was no answer.";
    Gauge SCHEMA_VERSION = "mainspring_schema_version" [] "Migrations applied to the database.";
    Gauge BUILD_INFO = "mainspring_build_info" ["version"] "Always 1.";
}

/// The metric of this name.
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_what_they_count() {
        for metric in ALL {
            assert_eq!(ALL.iter().filter(|other| other.name == metric.name).count(), 1, "{}", metric.name);
            assert!(metric.name.starts_with("mainspring_") && metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
            assert!(
                metric.kind != MetricKind::Histogram || metric.name.ends_with("_seconds"),
                "{}",
                metric.name
            );
            assert!(metric.labels.iter().all(|label| !label.ends_with("id")), "{}", metric.name);
        }
    }
}
