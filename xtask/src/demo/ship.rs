//! `order.ship`: a job with a checkpoint for every item, so that a run after a crash packs only what is left.

use mainspring::{HandlerError, JobHandler, JobRun};
use serde::Deserialize;
use serde_json::{Value, json};

use super::handlers::{Item, work};

pub(super) struct Ship;

#[derive(Deserialize)]
pub(super) struct Shipment {
    items: Vec<Item>,
}

impl JobHandler for Ship {
    const NAME: &'static str = "order.ship";
    const DESCRIPTION: &'static str = "Packs and ships, item by item";
    type Input = Shipment;
    type Output = Value;

    async fn run(&self, job: JobRun, shipment: Shipment) -> Result<Value, HandlerError> {
        let total = shipment.items.len();
        let mut parcels = Vec::with_capacity(total);
        let mut kept = 0;
        for (i, item) in shipment.items.iter().enumerate() {
            let checkpoint = format!("item-{}", i + 1);
            if let Some(parcel) = job.checkpoint::<String>(&checkpoint)? {
                kept += 1;
                parcels.push(parcel);
                continue;
            }
            work(20).await;
            let parcel = format!("{} {} in box {}", item.quantity, item.sku, i + 1);
            job.save(&checkpoint, &parcel).await?;
            let percent = u8::try_from((i + 1) * 100 / total).unwrap_or(100);
            job.progress(percent, format!("{} of {total} items", i + 1)).await?;
            parcels.push(parcel);
        }
        // How many parcels an earlier run had packed: more than none only after a crash.
        Ok(json!({"parcels": parcels, "run": job.attempt(), "kept": kept}))
    }
}
