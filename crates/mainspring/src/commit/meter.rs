//! What a commit counts for whoever listens: once for each queue, partition and flow of a batch, after it.

use std::collections::BTreeMap;

use mainspring_core::{Changes, ExecutionStatus, Expect, event::EXECUTIONS, metric};
use mainspring_events::{append_counts, count_appended};
use mainspring_queue::count_pushed;
use metrics::counter;

pub(super) fn count<'c>(committed: impl IntoIterator<Item = &'c Changes> + Clone) {
    let messages = committed.clone().into_iter().flat_map(|changes| &changes.messages);
    count_pushed(messages.map(|message| message.queue.as_str()));
    let mut counts = append_counts(committed.clone().into_iter().flat_map(|changes| &changes.appends));
    let mut histories = 0;
    let mut runs: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for write in committed.into_iter().flat_map(|changes| &changes.executions) {
        histories += write.events.len() as u64;
        let flow = write.execution.flow_id.as_str();
        if write.expect == Expect::New {
            *runs.entry((flow, "created")).or_default() += 1;
        }
        if let Some(state) = end(write.execution.status) {
            *runs.entry((flow, state)).or_default() += 1;
        }
    }
    counts.extend((histories > 0).then(|| (EXECUTIONS.to_owned(), histories)));
    count_appended(&counts);
    for ((flow, state), count) in runs {
        counter!(metric::WORKFLOW_RUNS, "flow" => flow.to_owned(), "state" => state.to_owned())
            .increment(count);
    }
}

/// The state, when nothing changes it again.
fn end(status: ExecutionStatus) -> Option<&'static str> {
    status.is_terminal().then(|| status.as_str())
}
