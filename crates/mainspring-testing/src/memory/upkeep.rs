//! Who is alive, and what is taken back from whom is not.

use mainspring_core::{Error, Result, Timestamp, Upkeep, WorkerId};

use super::queue::{Message, Queue};

impl Queue {
    pub(super) fn is_alive(&self, holder: &WorkerId, at: Timestamp) -> bool {
        self.workers.get(holder).is_some_and(|end| *end > at)
    }

    /// A holder that is late but was not yet found dead has lost nothing.
    pub(super) fn extend(&mut self, holder: &WorkerId, until: Timestamp) -> Result<()> {
        match self.workers.get_mut(holder) {
            Some(end) => {
                *end = until;
                Ok(())
            }
            None => {
                Err(Error::fenced(format!("worker `{holder}` was found dead and its leases were taken back")))
            }
        }
    }

    pub(super) fn release(&mut self, holder: &WorkerId) -> u64 {
        self.workers.remove(holder);
        let given_back = self.take_from(|who| who == holder);
        let count = given_back.len() as u64;
        given_back.into_iter().for_each(|message| self.give_back(message));
        count
    }

    pub(super) fn maintain(&mut self, at: Timestamp) -> Upkeep {
        let dead: Vec<WorkerId> =
            self.workers.iter().filter(|(_, end)| **end <= at).map(|(id, _)| id.clone()).collect();
        let mut upkeep = Upkeep { dead_holders: dead.len() as u64, ..Upkeep::default() };
        for holder in &dead {
            self.workers.remove(holder);
            for mut message in self.take_from(|who| who == holder) {
                message.lost += 1;
                upkeep.reclaimed += 1;
                self.give_back(message);
            }
        }
        upkeep.timed_out = self.expire(at);
        upkeep.reclaimed += self.expire_beats(at);
        upkeep.promoted = self.promote(at);
        upkeep
    }

    /// Makes ready what is due, in every queue.
    pub(super) fn promote(&mut self, at: Timestamp) -> u64 {
        let mut promoted = 0;
        while let Some(entry) = self.deferred.first_entry().filter(|entry| entry.key().0 <= at) {
            let message = entry.remove();
            promoted += 1;
            self.arrive(message);
        }
        promoted
    }

    /// What was admitted stays so.
    pub(super) fn give_back(&mut self, mut message: Message) {
        message.placed = message.gate.is_some();
        self.arrive(message);
    }

    fn take_from(&mut self, matches: impl Fn(&WorkerId) -> bool) -> Vec<Message> {
        let taken = self.claimed.extract_if(.., |_, claim| matches(&claim.holder));
        taken.map(|(_, claim)| claim.message).collect()
    }
}
