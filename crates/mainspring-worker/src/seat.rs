//! How many messages of one group this worker may hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainspring_core::Delivery;
use tokio::sync::Notify;

/// The seats of all groups; a clone is the same.
#[derive(Clone, Default)]
pub(crate) struct Seats {
    most: Option<usize>,
    taken: Arc<Mutex<HashMap<String, usize>>>,
    /// A group that was full is so no more.
    pub(crate) freed: Arc<Notify>,
}

/// One message of a group, from claim to settlement.
pub(crate) struct Seat {
    seats: Seats,
    group: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        let Some(count) = taken.get_mut(&self.group) else { return };
        let was_full = Some(*count) == self.seats.most;
        *count -= 1;
        if *count == 0 {
            taken.remove(&self.group);
        }
        if was_full {
            self.seats.freed.notify_one();
        }
    }
}

impl Seats {
    /// As many for each group; `None` for any number.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self { most, ..Self::default() }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Groups of which no more should be claimed.
    pub(crate) fn full(&self) -> Vec<String> {
        let Some(most) = self.most else { return Vec::new() };
        self.taken().iter().filter(|(_, count)| **count >= most).map(|(group, _)| group.clone()).collect()
    }

    /// A seat for a delivery, if it needs one.
    pub(crate) fn take(&self, delivery: &Delivery) -> Result<Option<Seat>, NoSeat> {
        let (Some(most), Some(group)) = (self.most, &delivery.message.group) else { return Ok(None) };
        let mut taken = self.taken();
        let count = taken.entry(group.id.clone()).or_default();
        if *count >= most {
            return Err(NoSeat);
        }
        *count += 1;
        Ok(Some(Seat { seats: self.clone(), group: group.id.clone() }))
    }
}

/// All seats of its group are taken.
pub(crate) struct NoSeat;
