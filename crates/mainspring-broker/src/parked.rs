//! Events for a handler that nobody had registered: tried again and again, and at once when it appears.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Available, BoxFuture, Changes, Delivery, Failure, MessageUpdate, Result, Settle, Settlement, Target,
};
use mainspring_worker::{Deliver, Verdict};
use tokio_util::sync::CancellationToken;

use crate::{
    CloudEvent,
    core::Core,
    sending::{Sending, hops, message},
};

/// Between two looks: doubled each time, and never longer than the second.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

pub(crate) struct ParkedDeliver(pub(crate) Arc<Core>);

impl Deliver for ParkedDeliver {
    fn deliver(&self, delivery: Delivery, _cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            self.look(&delivery).await.unwrap_or_else(|error| {
                tracing::warn!(error = %error.chain(), "a parked event cannot be routed now");
                self.later(&delivery)
            })
        })
    }

    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.0.directory.refresh().await?;
            self.0.backend.leases().delete_expired().await.map(drop)
        })
    }
}

impl ParkedDeliver {
    async fn look(&self, delivery: &Delivery) -> Result<Verdict> {
        let event = match CloudEvent::from_json(delivery.message.data.clone()) {
            Ok(event) => event,
            Err(error) => {
                return Ok(Settlement::DeadLetter(Failure::new("INVALID_EVENT", error.chain())).into());
            }
        };
        let to = event.to().unwrap_or_default();
        let Some(entry) = self.0.directory.find(to).await? else { return Ok(self.later(delivery)) };
        let messages =
            vec![message(&event, to, &Sending::default(), &entry.address, hops(&delivery.message))];
        let settle = Some(Settle::new(delivery.lease.clone(), Settlement::Done));
        match self.0.backend.commit(Changes { messages, settle, ..Changes::default() }).await {
            Ok(_) => Ok(Verdict::Committed),
            Err(error) if error.is_fenced() => Ok(Verdict::Abandoned),
            Err(error) => Err(error),
        }
    }

    fn later(&self, delivery: &Delivery) -> Verdict {
        let wait = FIRST_LOOK.saturating_mul(2_u32.saturating_pow(delivery.delays.min(10))).min(LONGEST);
        Settlement::SnoozeUntil(self.0.backend.now() + wait).into()
    }
}

impl Core {
    /// Lets everything that waits for a handler be looked at now. Whatever is parked after this is found by its next look.
    pub(crate) async fn wake_parked(&self, source: &str) -> Result<u64> {
        let now = MessageUpdate { available: Some(Available::Now), ..MessageUpdate::default() };
        self.backend.queues().update_messages(&self.names.parked, Target::Key(source.to_owned()), now).await
    }
}
