//! Workflows driven by events on all stores: commands and reminders become messages, and come in as messages: E45.

use std::time::Duration;

use mainspring::{
    Backend, ClaimRequest, Delivery, DomainEvent, Emit, EventStoreExt, EventWorkflow, NewEvent, PgStores,
    QueueDriver, Settle, Settlement, WorkerId, event_workflow::Entry,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Heard {
    OrderPlaced { order: String },
    PaymentLate { order: String },
}

impl DomainEvent for Heard {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Said {
    AskForPayment { order: String },
    PaymentLate { order: String },
    OrderDropped,
}

impl DomainEvent for Said {}

struct Payments;

impl EventWorkflow for Payments {
    type Input = Heard;
    type Output = Said;
    type State = bool;
    type Error = String;

    fn name(&self) -> &'static str {
        "payment"
    }

    fn input_types(&self) -> Vec<String> {
        vec!["OrderPlaced".into()]
    }

    fn id_of(&self, input: &Heard) -> Option<String> {
        let (Heard::OrderPlaced { order } | Heard::PaymentLate { order }) = input;
        Some(order.clone())
    }

    fn initial(&self) -> bool {
        false
    }

    fn decide(&self, input: &Heard, late: &bool) -> Result<Vec<Emit<Said>>, String> {
        let day = Duration::from_secs(24 * 3600);
        Ok(match input {
            Heard::OrderPlaced { order } => vec![
                Emit::push("payments", Said::AskForPayment { order: order.clone() }),
                Emit::schedule("reminders", day, Said::PaymentLate { order: order.clone() }),
            ],
            Heard::PaymentLate { .. } if !late => vec![Emit::append("dropped", Said::OrderDropped)],
            Heard::PaymentLate { .. } => vec![],
        })
    }

    fn evolve(&self, late: bool, entry: Entry<&Heard, &Said>) -> bool {
        late || entry == Entry::Output(&Said::OrderDropped)
    }
}

async fn claim(stores: &PgStores<'static>, queue: &str) -> Vec<Delivery> {
    let request = ClaimRequest::new(queue, WorkerId::generate(), Duration::from_secs(30), 10);
    stores.queue.claim(request).await.unwrap().deliveries
}

#[tokio::test]
async fn commands_and_reminders_leave_with_the_checkpoint_and_come_back_as_inputs() {
    // E45: what is sent, what is scheduled, an output that comes in as an input
    let (stores, db) = crate::fresh().await;
    let placed = Heard::OrderPlaced { order: "42".into() }.encode().unwrap();
    let placed = NewEvent { correlation_id: Some("request-1".into()), ..placed.traced("00-1-1-01") };
    stores.events.tenant("acme").append("orders", vec![placed]).await.unwrap();
    stores.consumer("shop").workflow(Payments).run_to_end().await.unwrap();

    let asked = claim(&stores, "payments").await.remove(0).message;
    let wanted = Said::AskForPayment { order: "42".into() }.encode().unwrap();
    assert_eq!((asked.message_type, asked.data), (wanted.event_type, wanted.data));
    assert_eq!((asked.tenant.as_str(), asked.source.as_deref()), ("acme", Some("payment")));
    assert_eq!(asked.headers["correlation_id"], "request-1");
    assert_eq!(asked.headers["traceparent"], "00-1-1-01");

    assert!(claim(&stores, "reminders").await.is_empty());
    db.advance(Duration::from_secs(24 * 3600 + 1)).await;
    let reminder = claim(&stores, "reminders").await.remove(0);
    for dropped in [true, false] {
        // The second time its lease is gone, and it was heard before.
        let changes = stores.events.hear(&Payments, &reminder).await.unwrap();
        assert_eq!(changes.is_some(), dropped);
        let settle = Settle::new(reminder.lease.clone(), Settlement::Done);
        let mut changes = changes.unwrap_or_default();
        changes.settle = Some(settle);
        assert_eq!(stores.commit(changes).await.is_ok(), dropped);
    }
    let dropped = stores.events.read("dropped").all().await.unwrap().events;
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].event.correlation_id.as_deref(), Some("request-1"));
    assert_eq!(dropped[0].event.traceparent(), Some("00-1-1-01"));
}
