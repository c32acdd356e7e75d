//! What is said of an execution.

use mainspring::Execution;
use serde_json::{Value, json};

use crate::output::{Column, col, data, detail, maybe, text};

pub(super) const COLUMNS: &[Column<Execution>] = &[
    col("id", |it| text(&it.id)),
    col("flow", |it| text(&it.flow_id)),
    col("version", |it| text(&it.flow_version)),
    col("status", |it| text(it.status)),
    col("step", |it| text(&it.current_step)),
    col("steps", |it| it.step_count.into()),
    col("created_at", |it| text(it.created_at)),
    detail("tenant", |it| maybe(Some(&it.tenant).filter(|tenant| !tenant.is_empty()))),
    detail("queue", |it| text(&it.queue)),
    detail("parent", |it| maybe(it.parent.as_ref())),
    detail("root", |it| text(&it.root)),
    detail("wait_reason", |it| maybe(it.wait_reason.as_ref())),
    detail("wake_at", |it| maybe(it.wake_at)),
    detail("error_code", |it| maybe(it.error.as_ref().map(|error| &error.code))),
    detail("retries", |it| if it.retries.is_empty() { Value::Null } else { json!(it.retries) }),
    detail("attributes", |it| if it.attributes.is_empty() { Value::Null } else { json!(it.attributes) }),
    detail("idempotency_key", |it| maybe(it.idempotency_key.as_ref())),
    detail("cancelled_by", |it| it.cancellation.as_ref().map_or(Value::Null, |cancel| json!(cancel.source))),
    detail("driver", |it| maybe(it.driver.as_ref())),
    detail("holder", |it| maybe(it.holder.as_ref())),
    detail("revision", |it| it.revision.into()),
    detail("updated_at", |it| text(it.updated_at)),
    detail("finished_at", |it| maybe(it.finished_at)),
    data("error", |it| json!(it.error)),
    data("cancellation", |it| json!(it.cancellation)),
    data("metadata", |it| json!(it.metadata)),
    data("context", |it| json!(it.context)),
];
