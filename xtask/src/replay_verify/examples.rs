//! The workflows of the examples, all in one engine.

#![allow(dead_code, reason = "the examples' own `main` is not run here")]

#[path = "../../../crates/mainspring/examples/approval.rs"]
pub mod approval;
#[path = "../../../crates/mainspring/examples/checkout.rs"]
pub mod checkout;
#[path = "../../../crates/mainspring/examples/children.rs"]
pub mod children;
#[path = "../../../crates/mainspring/examples/crash_me.rs"]
pub mod crash_me;
#[path = "../../../crates/mainspring/examples/fan_out.rs"]
pub mod fan_out;
#[path = "../../../crates/mainspring/examples/polling.rs"]
pub mod polling;
#[path = "../../../crates/mainspring/examples/reminder.rs"]
pub mod reminder;
#[path = "../../../crates/mainspring/examples/transfer.rs"]
pub mod transfer;

use std::sync::Arc;

use mainspring::{Backend, Engine, Result};

/// An engine that has the code of every example; tokens go into `mail`.
pub fn engine(backend: impl Into<Arc<dyn Backend>>, mail: approval::Mail) -> Result<Engine> {
    let (api, load) = (Arc::<polling::Renderer>::default(), Arc::<fan_out::Load>::default());
    let shop = checkout::Shop::default();
    Engine::builder(backend)
        .register(approval::EXPENSE, move |cx, input| approval::expense(cx, input, Arc::clone(&mail)))
        .register(checkout::CHECKOUT, move |cx, order| checkout::checkout(cx, order, shop.clone()))
        .register(children::ORDER, children::order)
        .register(children::PARCEL, children::parcel)
        .register(crash_me::COUNT, crash_me::count)
        .register(fan_out::RESIZE, move |cx, items| fan_out::resize(cx, items, Arc::clone(&load)))
        .register(polling::RENDER, move |cx, film| polling::render(cx, film, Arc::clone(&api)))
        .register(reminder::TRIAL, reminder::trial)
        .register(transfer::TRANSFER, transfer::transfer)
        .build()
}
