//! What a push counts for whoever listens.

use std::collections::BTreeMap;

use mainspring_core::metric;
use metrics::counter;

/// Counts pushed messages, once for each queue.
pub fn count_pushed<'q>(queues: impl Iterator<Item = &'q str>) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    queues.for_each(|queue| *counts.entry(queue).or_default() += 1);
    for (queue, count) in counts {
        counter!(metric::JOBS_ENQUEUED, "queue" => queue.to_owned()).increment(count);
    }
}
