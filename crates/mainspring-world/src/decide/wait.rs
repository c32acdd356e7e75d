//! Waits: begun once, over once.

use mainspring_core::{Error, NewEvent, Result};

use super::Asking;
use crate::{Fact, WaitStatus};

pub(super) fn decide(asking: &Asking<'_>) -> Result<Vec<NewEvent>> {
    let wait = asking.state.waits.get(asking.id()).map(|wait| wait.entity.status);
    match (&asking.asked.fact, wait) {
        (Fact::WaitCreated { .. }, _) if asking.is_over() => Err(asking.over()),
        (Fact::WaitCreated { .. }, None) => Ok(asking.as_asked()),
        (Fact::WaitCreated { .. }, Some(_)) => Err(asking.exists("wait")),
        (_, None) => Err(asking.missing("wait")),
        (_, Some(WaitStatus::Waiting)) => Ok(asking.as_asked()),
        (_, Some(WaitStatus::Completed)) => {
            Err(Error::conflict(format!("wait `{}` is over already", asking.id())))
        }
    }
}
