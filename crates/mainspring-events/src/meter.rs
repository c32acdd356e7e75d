//! What an append counts for whoever listens.

use std::collections::BTreeMap;

use mainspring_core::{Append, Appended, Result, metric};
use metrics::counter;

/// How many events there are for each partition.
pub fn counts<'a>(appends: impl IntoIterator<Item = &'a Append>) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for append in appends {
        *counts.entry(&append.partition).or_default() += append.events.len() as u64;
    }
    counts.into_iter().map(|(partition, count)| (partition.to_owned(), count)).collect()
}

/// Counts events that were committed.
pub fn count_appended(counts: &[(String, u64)]) {
    for (partition, count) in counts {
        counter!(metric::EVENTS_APPENDED, "partition" => partition.clone()).increment(*count);
    }
}

pub(crate) fn appended(counts: &[(String, u64)], appended: &Result<Vec<Appended>>) {
    match appended {
        Ok(_) => count_appended(counts),
        Err(error) if error.is_conflict() => counter!(metric::APPEND_CONFLICTS).increment(1),
        Err(_) => {}
    }
}
