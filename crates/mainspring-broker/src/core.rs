//! What all parts of a broker share: where events go.

use std::sync::Arc;

use mainspring_core::{Backend, NewMessage, Result};

use crate::{
    CloudEvent, Emission, Sending,
    directory::Directory,
    sending::{Addressing, message},
};

/// The queues of the broker itself.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Events for a handler that nobody has registered yet, under its address.
    pub(crate) parked: String,
    /// The same events once more, for whoever wants to know.
    pub(crate) unrouted: String,
    /// Events for the outside.
    pub(crate) domained: String,
}

pub(crate) struct Core {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) directory: Directory,
    pub(crate) names: Names,
    pub(crate) max_hops: u32,
}

/// Why events cannot be routed.
pub(crate) enum Unroutable {
    /// It came through so many handlers that it must be going round.
    Loops(String),
    /// The database.
    Error(mainspring_core::Error),
}

impl Core {
    /// The messages that bring an event to where it goes: outside when it has a domain, to the handler it is for, or, when
    /// there is none yet, to where it waits.
    pub(crate) async fn route(&self, emission: &Emission, hops: u32) -> Result<Vec<NewMessage>> {
        let Emission { event, sending } = emission;
        let plain = Addressing::default();
        if event.domain().is_some() {
            let sending = Sending { available: sending.available, ..Sending::default() };
            return Ok(vec![message(event, &self.names.domained, &sending, &plain, hops)]);
        }
        if let Some(to) = event.to()
            && let Some(entry) = self.directory.find(to).await?
        {
            return Ok(vec![message(event, to, sending, &entry.address, hops)]);
        }
        Ok(self.park(event, hops))
    }

    fn park(&self, event: &CloudEvent, hops: u32) -> Vec<NewMessage> {
        let told = message(event, &self.names.unrouted, &Sending::default(), &Addressing::default(), hops);
        let waits = Sending { key: event.to().map(str::to_owned), ..Sending::default() };
        let mut parked = message(event, &self.names.parked, &waits, &Addressing::default(), hops);
        // Two messages of one push have two ids.
        parked.id = mainspring_core::MessageId::from_stored(format!("{}-parked", parked.id));
        match event.to() {
            Some(_) => vec![told, parked],
            None => vec![told], // nobody can ever be the one it is for
        }
    }

    /// The messages of all that a handler said when it handled an event that came through `hops` handlers.
    pub(crate) async fn route_all(
        &self,
        emissions: &[Emission],
        hops: u32,
    ) -> std::result::Result<Vec<NewMessage>, Unroutable> {
        let hops = hops.saturating_add(1);
        if hops > self.max_hops && !emissions.is_empty() {
            let problem =
                format!("it came through {} handlers, at most {} are allowed", hops - 1, self.max_hops);
            return Err(Unroutable::Loops(problem));
        }
        let mut messages = Vec::with_capacity(emissions.len());
        for emission in emissions {
            messages.extend(self.route(emission, hops).await.map_err(Unroutable::Error)?);
        }
        Ok(messages)
    }
}
