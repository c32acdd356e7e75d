//! The handlers of the demo's flow, besides the built-in ones: each works a few milliseconds, then succeeds, fails or waits.

use std::{sync::Arc, time::Duration};

use mainspring::{
    Backend, Engine, EngineBuilder, Handler, HandlerError, HandlerRegistry, Invocation, NewMessage, Outcome,
    TokenOptions,
};
use mainspring_testing::MemoryBackend;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{APPROVALS, ship::Ship};

/// Adds all of them.
pub(super) fn register(builder: EngineBuilder) -> EngineBuilder {
    builder
        .handler(Validate)
        .handler(Reserve)
        .handler(Charge)
        .handler(RequestApproval)
        .job_handler(Ship)
        .handler(Fail)
}

/// Everything a flow may name, built-in handlers included.
pub(super) fn known() -> mainspring::Result<HandlerRegistry> {
    let nowhere: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    Ok(register(Engine::builder(nowhere)).build()?.handlers().clone())
}

/// What a real handler would do: wait for someone else's answer.
pub(super) async fn work(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) sku: String,
    #[serde(default = "one")]
    pub(super) quantity: u32,
}

fn one() -> u32 {
    1
}

/// `order.validate`: an order without items is a terminal `INVALID_ORDER`.
struct Validate;

#[derive(Deserialize)]
struct Draft {
    #[serde(default)]
    items: Vec<Item>,
}

impl Handler for Validate {
    const NAME: &'static str = "order.validate";
    const DESCRIPTION: &'static str = "Refuses an order without items";
    type Input = Draft;
    type Output = Value;

    async fn handle(&self, _call: Invocation, order: Draft) -> Result<Outcome, HandlerError> {
        work(10).await;
        if order.items.is_empty() {
            return Err(HandlerError::terminal("INVALID_ORDER", "the order has no items"));
        }
        let pieces: u32 = order.items.iter().map(|item| item.quantity).sum();
        Ok(json!({"items": order.items.len(), "pieces": pieces}).into())
    }
}

/// `order.reserve`: there is everything but unicorns.
struct Reserve;

impl Handler for Reserve {
    const NAME: &'static str = "order.reserve";
    const DESCRIPTION: &'static str = "Takes the items from the shelves";
    type Input = Vec<Item>;
    type Output = Value;

    async fn handle(&self, _call: Invocation, items: Vec<Item>) -> Result<Outcome, HandlerError> {
        work(15).await;
        if let Some(rare) = items.iter().find(|item| item.sku == "unicorn") {
            return Err(HandlerError::terminal("OUT_OF_STOCK", format!("there is no `{}` left", rare.sku)));
        }
        let shelf = |item: &Item| json!({"sku": item.sku, "shelf": item.sku.len() % 7 + 1});
        Ok(items.iter().map(shelf).collect::<Value>().into())
    }
}

/// `order.charge`: the gateway is busy `busy` times, and declines declined cards.
struct Charge;

#[derive(Deserialize)]
struct Payment {
    amount: Option<f64>,
    card: Option<String>,
    busy: Option<u32>,
}

impl Handler for Charge {
    const NAME: &'static str = "order.charge";
    const DESCRIPTION: &'static str = "Charges the card";
    type Input = Payment;
    type Output = Value;

    async fn handle(&self, call: Invocation, payment: Payment) -> Result<Outcome, HandlerError> {
        work(25).await;
        if payment.busy.unwrap_or(0) >= call.attempt() {
            return Err(HandlerError::new("GATEWAY_BUSY", "the gateway is busy"));
        }
        if payment.card.as_deref() == Some("declined") {
            return Err(HandlerError::terminal("CARD_DECLINED", "the card was declined"));
        }
        // The same for every run of this visit of the step: a gateway that is told it twice charges once.
        Ok(json!({"receipt": call.idempotency_key(), "amount": payment.amount}).into())
    }
}

/// `order.request-approval`: sends a resume token to the approver, in the commit in which it begins to wait for it.
struct RequestApproval;

impl Handler for RequestApproval {
    const NAME: &'static str = "order.request-approval";
    const DESCRIPTION: &'static str = "Waits until the approver has spoken";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, call: Invocation, input: Value) -> Result<Outcome, HandlerError> {
        work(5).await;
        let token = call.resume_token(TokenOptions::default())?;
        let order = call.get("id").unwrap_or_default();
        let question = json!({"order": order, "about": input, "token": token.reveal()});
        let mut message = NewMessage::new(APPROVALS, "approval.requested", question);
        message.subject = Some(call.execution_id().to_string());
        call.push(message);
        Ok(Outcome::wait_for_signal("the approver"))
    }
}

/// `order.fail`: ends the order with the `code` and the `message` of its config.
struct Fail;

#[derive(Deserialize)]
struct Reason {
    code: String,
    #[serde(default)]
    message: String,
}

impl Handler for Fail {
    const NAME: &'static str = "order.fail";
    const DESCRIPTION: &'static str = "Fails with a code";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, call: Invocation, _input: Value) -> Result<Outcome, HandlerError> {
        work(5).await;
        let reason: Reason = call.config_as()?;
        Err(HandlerError::terminal(reason.code, reason.message))
    }
}
