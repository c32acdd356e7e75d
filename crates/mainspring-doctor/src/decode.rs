//! I14: every row can be read, as the stores read it, page by page.

use mainspring_core::{
    ErrorKind, EventQuery, EventStore, ExecutionFilter, ExecutionId, ExecutionStore, FlowFilter, FlowStore,
    JobFilter, JobStatus, JobStore, QueueFilter, QueueStore, Result, TokenStore, flow::FlowStatus,
};
use mainspring_events::PgEventStore;
use mainspring_executions::PgExecutionStore;
use mainspring_flows::PgFlowStore;
use mainspring_jobs::PgJobStore;
use mainspring_pg::{Db, row::get};
use mainspring_queue::{
    PgQueue,
    schedule::{PgSchedules, ScheduleFilter},
};
use mainspring_tokens::PgTokenStore;

use crate::{Code, Finding};

const PAGE: u32 = 200;

/// At a row that cannot be read the look at its table ends, but for messages, which are read one by one. What a row holds is not
/// repeated.
pub(crate) async fn check(db: &Db<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let broken = |table, problem| Finding::new(Code::InvariantBroken, format!("rows of {table}"), problem);
    for (table, read) in [
        ("executions", executions(db).await),
        ("flows", flows(db).await),
        ("jobs", jobs(db).await),
        ("resume_tokens", tokens(db).await),
        ("events", events(db).await),
        ("queues", queues(db).await),
        ("schedules", schedules(db).await),
    ] {
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Invalid) => {
                found.push(broken(table, error.to_string()));
            }
            read => read?,
        }
    }
    let messages = PgQueue::new(db).check_messages().await?;
    found.extend(messages.into_iter().map(|(table, problem)| broken(table, problem)));
    Ok(found)
}

fn is_last(page: usize) -> bool {
    page < PAGE as usize
}

async fn executions(db: &Db<'_>) -> Result<()> {
    let store = PgExecutionStore::new(db);
    let mut filter = ExecutionFilter { limit: PAGE, ..ExecutionFilter::default() };
    loop {
        let page = store.list(filter.clone()).await?;
        filter.after = page.last().map(|last| (last.created_at, last.id.clone()));
        if is_last(page.len()) {
            return Ok(());
        }
    }
}

async fn flows(db: &Db<'_>) -> Result<()> {
    let store = PgFlowStore::new(db);
    for status in FlowStatus::ALL {
        let mut filter = FlowFilter { status, limit: PAGE, ..FlowFilter::default() };
        loop {
            let page = store.list(filter.clone()).await?;
            for flow in &page {
                for version in store.versions(&flow.id).await? {
                    store.get(&flow.id, &version).await?;
                }
            }
            filter.after = page.last().map(|last| last.id.clone());
            if is_last(page.len()) {
                break;
            }
        }
    }
    Ok(())
}

async fn queues(db: &Db<'_>) -> Result<()> {
    let store = PgQueue::new(db);
    let mut filter = QueueFilter { limit: PAGE, ..QueueFilter::default() };
    loop {
        let page = store.list_queues(filter.clone()).await?;
        filter.after = page.last().map(|last| last.name.clone());
        if is_last(page.len()) {
            return Ok(());
        }
    }
}

async fn jobs(db: &Db<'_>) -> Result<()> {
    let store = PgJobStore::new(db);
    for status in JobStatus::ALL {
        let mut filter = JobFilter { status: Some(status), limit: PAGE, ..JobFilter::default() };
        loop {
            let page = store.list(filter.clone()).await?;
            filter.after = page.last().map(|last| (last.created_at, last.id.clone()));
            if is_last(page.len()) {
                break;
            }
        }
    }
    Ok(())
}

const OWNERS: &str =
    "SELECT DISTINCT t.execution_id FROM {resume_tokens} t WHERE t.execution_id > $1 ORDER BY 1 LIMIT $2";

async fn tokens(db: &Db<'_>) -> Result<()> {
    let store = PgTokenStore::new(db);
    let mut after = String::new();
    loop {
        let rows = db.all(OWNERS, &[&after, &i64::from(PAGE)]).await?;
        for row in &rows {
            after = get(row, 0)?;
            store.get_by_execution(&ExecutionId::new(&*after)?).await?;
        }
        if is_last(rows.len()) {
            return Ok(());
        }
    }
}

async fn events(db: &Db<'_>) -> Result<()> {
    let store = PgEventStore::new(db);
    let mut query = EventQuery { limit: Some(PAGE), ..EventQuery::default() };
    loop {
        let page = store.query(query.clone()).await?;
        query.after_position = page.last().map(|last| last.global_position);
        if is_last(page.len()) {
            return Ok(());
        }
    }
}

async fn schedules(db: &Db<'_>) -> Result<()> {
    let store = PgSchedules::new(db);
    let mut filter = ScheduleFilter::default();
    loop {
        let page = store.list(&filter, PAGE).await?;
        filter.after =
            page.last().map(|last| (last.schedule.message.queue.clone(), last.schedule.key.clone()));
        if is_last(page.len()) {
            return Ok(());
        }
    }
}
