//! What became of the orders, by their rows and by the log.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    process::ExitCode,
};

use mainspring::{
    Backend, EventQuery, Execution, ExecutionId, ExecutionStatus, ExecutionStore, PgStores, event::kind,
};
use mainspring_testing::{History, Report, Violation};

use super::{
    Result,
    orders::{Expect, Order},
    watch::Watched,
};

/// Orders that did not end as expected, and violations, that are named.
const NAMED: usize = 5;
/// Rows read at once.
const PAGE: usize = 1_000;

pub(super) struct Verdict {
    /// How many orders there are.
    pub(super) orders: usize,
    /// How many have which status.
    pub(super) statuses: BTreeMap<ExecutionStatus, usize>,
    /// How many failed with which code.
    pub(super) reasons: BTreeMap<String, usize>,
    /// Answers of the approver.
    pub(super) approvals: usize,
    /// Orders that the killed worker held and that ended all the same.
    pub(super) taken_over: usize,
    /// Those of them whose log, or whose sub-flow's, says that they were taken over.
    pub(super) recovered: BTreeSet<String>,
    /// Parcels that were packed before the worker died and not once more after it. `None` when nothing was shipped.
    pub(super) kept: Option<i64>,
    /// The whole log, checked.
    pub(super) log: Report,
    /// The kinds of notable events in the history of each order itself.
    pub(super) notable: HashMap<String, HashSet<&'static str>>,
    unexpected: Vec<String>,
    all_ended: bool,
}

/// Events that make an order worth a look.
const NOTABLE: [&str; 4] =
    [kind::EXECUTION_RECOVERED, kind::JOB_SUPERSEDED, kind::STEP_RETRY, kind::TOKEN_USED];

impl Verdict {
    pub(super) async fn read(
        stores: &PgStores<'static>,
        orders: &[Order],
        ids: &[String],
        watched: &Watched,
    ) -> Result<Self> {
        let ids: Vec<ExecutionId> = ids.iter().cloned().map(ExecutionId::from_stored).collect();
        let log = History::new().accepted(ids.iter().cloned()).check(stores).await?;
        let mut verdict = Self {
            orders: orders.len(),
            statuses: BTreeMap::new(),
            reasons: BTreeMap::new(),
            approvals: 0,
            taken_over: 0,
            recovered: BTreeSet::new(),
            kept: stores.db().one(KEPT, &[]).await?.try_get(0)?,
            log,
            notable: HashMap::new(),
            unexpected: Vec::new(),
            all_ended: watched.all_ended,
        };
        verdict.read_events(stores, &ids).await?;
        verdict.recovered.retain(|id| watched.in_hands.iter().flatten().any(|held| held == id));
        for (orders, ids) in orders.chunks(PAGE).zip(ids.chunks(PAGE)) {
            let rows = stores.executions.get_many(ids).await?;
            let rows: HashMap<&ExecutionId, &Execution> = rows.iter().map(|row| (&row.id, row)).collect();
            for (order, id) in orders.iter().zip(ids) {
                verdict.judge(order, rows.get(id).copied(), watched);
            }
        }
        Ok(verdict)
    }

    fn judge(&mut self, order: &Order, execution: Option<&Execution>, watched: &Watched) {
        let Some(execution) = execution else {
            self.unexpected.push(format!("{}: is gone", order.id));
            return;
        };
        *self.statuses.entry(execution.status).or_default() += 1;
        let held = watched.in_hands.iter().flatten().any(|id| id == execution.id.as_str());
        self.taken_over += usize::from(held && execution.status.is_terminal());
        if let Some(failure) = &execution.error {
            // A sub-flow that failed has its own reason.
            let inner = failure.details.get("code").and_then(serde_json::Value::as_str);
            let reason = inner.map_or(failure.code.clone(), |inner| format!("{}: {inner}", failure.code));
            *self.reasons.entry(reason).or_default() += 1;
        }
        if !order.expect.is_met_by(execution) {
            self.unexpected.push(unexpected(order, execution));
        }
    }

    /// Everything notable of all orders in a few reads, those of their sub-flows included.
    async fn read_events(&mut self, stores: &PgStores<'static>, ids: &[ExecutionId]) -> Result<()> {
        let ids: HashSet<&str> = ids.iter().map(ExecutionId::as_str).collect();
        let mut query = EventQuery {
            event_types: NOTABLE.map(str::to_owned).to_vec(),
            limit: Some(PAGE as u32),
            ..EventQuery::default()
        };
        loop {
            let page = stores.events().query(query.clone()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            query.after_position = Some(last.global_position);
            let subjects: BTreeSet<ExecutionId> = page
                .iter()
                .filter_map(|event| event.stream.strip_prefix("execution-"))
                .map(|id| ExecutionId::from_stored(id.to_owned()))
                .collect();
            let subjects: Vec<ExecutionId> = subjects.into_iter().collect();
            let rows = stores.executions.get_many(&subjects).await?;
            let roots: HashMap<String, &str> =
                rows.iter().map(|row| (row.stream(), row.root.as_str())).collect();
            for event in &page {
                let Some(root) = roots.get(&event.stream).filter(|root| ids.contains(*root)) else {
                    continue;
                };
                let Some(kind) = NOTABLE.into_iter().find(|kind| *kind == event.event.event_type) else {
                    continue;
                };
                match kind {
                    kind::EXECUTION_RECOVERED | kind::JOB_SUPERSEDED => {
                        self.recovered.insert((*root).to_owned());
                    }
                    kind::TOKEN_USED => self.approvals += 1,
                    _ => {}
                }
                if event.stream.strip_prefix("execution-") == Some(*root) {
                    self.notable.entry((*root).to_owned()).or_default().insert(kind);
                }
            }
        }
    }

    /// Orders that ended as they were expected to.
    pub(super) fn as_expected(&self) -> usize {
        self.orders - self.unexpected.len()
    }

    /// Steps that the log has more often than they were due.
    pub(super) fn double_steps(&self) -> usize {
        self.log.violations.iter().filter(|violation| matches!(violation, Violation::Step { .. })).count()
    }

    /// Names what is not as it should be; the exit status.
    pub(super) fn report(&self) -> ExitCode {
        for line in self.unexpected.iter().take(NAMED) {
            eprintln!("error: {line}");
        }
        if self.unexpected.len() > NAMED {
            eprintln!("error: and {} more", self.unexpected.len() - NAMED);
        }
        // What has not ended is named above already.
        let broken =
            |violation: &&Violation| self.all_ended || !matches!(violation, Violation::Unfinished(..));
        let broken: Vec<&Violation> = self.log.violations.iter().filter(broken).collect();
        for violation in broken.iter().take(NAMED) {
            eprintln!("error: the log: {violation}");
        }
        if self.unexpected.is_empty() && broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn unexpected(order: &Order, execution: &Execution) -> String {
    let Order { id, expect, .. } = order;
    match (&execution.error, &execution.wait_reason) {
        (Some(failure), _) if *expect == Expect::Failed(String::new()) => format!("{id}: {failure}"),
        (Some(failure), _) => {
            let step = failure.step_id.as_deref().unwrap_or("?");
            format!("{id}: expected {expect}, failed at `{step}` with {failure}")
        }
        (None, Some(reason)) => {
            format!("{id}: expected {expect}, still waits at `{}` for {reason}", execution.current_step)
        }
        (None, None) => format!("{id}: expected {expect}, is {}", execution.status),
    }
}

/// Only `order.ship` says so.
const KEPT: &str = "SELECT sum((result ->> 'kept')::bigint)::bigint FROM {jobs}
  WHERE handler = 'order.ship' AND status = 'completed'";
