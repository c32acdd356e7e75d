//! What was handled once.

use mainspring_core::{Receipt, Result, Timestamp};

use super::Queue;

impl Queue {
    pub(in super::super) fn check_receipts(&self, receipts: &[Receipt], at: Timestamp) -> Result<()> {
        let there = receipts.iter().find(|receipt| self.has_receipt(&receipt.queue, &receipt.key, at));
        there.map_or(Ok(()), |receipt| Err(receipt.conflict()))
    }

    pub(in super::super) fn write_receipts(&mut self, receipts: Vec<Receipt>, at: Timestamp) {
        let kept = receipts.into_iter().map(|receipt| ((receipt.queue, receipt.key), at + receipt.keep));
        self.receipts.extend(kept);
    }

    pub(super) fn has_receipt(&self, queue: &str, key: &str, at: Timestamp) -> bool {
        self.receipts.get(&(queue.to_owned(), key.to_owned())).is_some_and(|until| *until > at)
    }

    pub(super) fn forget_receipts(&mut self, queue: &str) {
        self.receipts.retain(|(of, _), _| of != queue);
    }
}
