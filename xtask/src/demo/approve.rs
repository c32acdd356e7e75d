//! The approver: a worker of its own queue, in the process that watches. It knows nothing of an order but what the message
//! says, and wakes it with the token that came along.

use std::{collections::HashSet, sync::Arc, time::Duration};

use mainspring::{
    BoxFuture, Deliver, Delivery, Engine, Failure, PgStores, Result, Settlement, TokenSecret, Verdict,
    Worker, WorkerHandle,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{APPROVALS, orders::Order};

/// Upkeep is left to the workers, so that it is one of them who takes over from the other.
const UPKEEP: Duration = Duration::from_secs(600);

struct Approver {
    engine: Engine,
    /// The orders to say no to.
    refused: HashSet<String>,
}

/// Starts it. It stops when the handle is dropped.
pub(super) fn start(engine: &Engine, stores: &PgStores<'static>, orders: &[Order]) -> Result<WorkerHandle> {
    let refused = orders.iter().filter(|order| !order.approve).map(|order| order.id.clone()).collect();
    let approver = Approver { engine: engine.clone(), refused };
    Worker::new(Arc::new(stores.queue.clone()), Arc::new(approver))
        .queue(APPROVALS)
        .maintenance_interval(UPKEEP)
        .start()
}

impl Deliver for Approver {
    fn deliver(&self, delivery: Delivery, _cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(30)).await; // reads the question
            match self.answer(&delivery.message.data).await {
                Ok(()) => Settlement::Done.into(),
                // Delivered once more after the answer was committed: the token is spent.
                Err(error) if error.is_conflict() => Settlement::Done.into(),
                Err(error) => Verdict::failed(&delivery, Failure::new(error.code(), error.chain())),
            }
        })
    }
}

impl Approver {
    async fn answer(&self, question: &Value) -> Result<()> {
        let order = match &question["order"] {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        };
        let token: TokenSecret = question["token"].as_str().unwrap_or_default().parse()?;
        let approved = !self.refused.contains(&order);
        self.engine.resume(&token, json!({"approved": approved, "by": "the approver"})).await?;
        Ok(())
    }
}
