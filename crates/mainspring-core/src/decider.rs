//! Deciders: the rules of one kind of stream as three pure functions.
//!
//! ```text
//! events of the stream ──evolve──► state ──decide(command)──► new events, or a refusal
//! ```
//!
//! ```
//! use mainspring_core::{Decider, DomainEvent};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! enum CartEvent { Added { sku: String }, Confirmed }
//! impl DomainEvent for CartEvent {}
//!
//! enum CartCommand { Add(String), Confirm }
//!
//! #[derive(Default)]
//! struct CartState { lines: usize, confirmed: bool }
//!
//! struct Cart;
//! impl Decider for Cart {
//!     type Command = CartCommand;
//!     type Event = CartEvent;
//!     type State = CartState;
//!     type Error = &'static str;
//!
//!     fn initial(&self) -> CartState { CartState::default() }
//!
//!     fn decide(&self, command: &CartCommand, cart: &CartState) -> Result<Vec<CartEvent>, &'static str> {
//!         match command {
//!             _ if cart.confirmed => Err("the cart is confirmed"),
//!             CartCommand::Add(sku) => Ok(vec![CartEvent::Added { sku: sku.clone() }]),
//!             CartCommand::Confirm if cart.lines == 0 => Err("the cart is empty"),
//!             CartCommand::Confirm => Ok(vec![CartEvent::Confirmed]),
//!         }
//!     }
//!
//!     fn evolve(&self, mut cart: CartState, event: &CartEvent) -> CartState {
//!         match event {
//!             CartEvent::Added { .. } => cart.lines += 1,
//!             CartEvent::Confirmed => cart.confirmed = true,
//!         }
//!         cart
//!     }
//! }
//!
//! assert_eq!(Cart.decide(&CartCommand::Confirm, &Cart.initial()), Err("the cart is empty"));
//! let event = CartEvent::Added { sku: "a-1".into() }.encode()?;
//! assert_eq!((event.event_type.as_str(), &event.data["sku"]), ("Added", &"a-1".into()));
//! # Ok::<(), mainspring_core::Error>(())
//! ```

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Error, NewEvent, Result};

/// The rules of one kind of stream. Pure: no clock, no IO; what a decision needs is in the command or in the state.
pub trait Decider: Send + Sync {
    /// What is asked for.
    type Command: ?Sized + Sync;
    /// What happened.
    type Event: DomainEvent + Send + Sync;
    /// What the events so far add up to.
    type State: Send + Sync;
    /// Why a command is refused.
    type Error: Send;

    /// The state of a stream without events.
    fn initial(&self) -> Self::State;

    /// What happens when `command` meets `state`; nothing, when there is nothing to do.
    ///
    /// # Errors
    /// The command is refused.
    fn decide(&self, command: &Self::Command, state: &Self::State) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after `event`.
    fn evolve(&self, state: Self::State, event: &Self::Event) -> Self::State;
}

/// An event of the application's as a type; usually an enum. What it means to be a [`NewEvent`] is given: the name of the
/// variant is the event's type, and what is in the variant is its data.
pub trait DomainEvent: Serialize + DeserializeOwned {
    /// Of the shape of its data. Defaults to 1.
    fn schema_version(&self) -> u32 {
        1
    }

    /// Whether events of this type are passed over when a stream is read. Defaults to no: an event that is not known is an
    /// error.
    fn passes_over(_event_type: &str) -> bool {
        false
    }

    /// The event to append.
    ///
    /// # Errors
    /// Invalid, when it is no enum, or not JSON.
    fn encode(&self) -> Result<NewEvent> {
        let value = serde_json::to_value(self).map_err(|e| Error::invalid("event", e))?;
        let (event_type, data) = match value {
            Value::String(variant) => (variant, Value::Null),
            Value::Object(map) if map.len() == 1 => {
                let one = map.into_iter().next();
                one.ok_or_else(|| Error::invalid("event", "has no variant"))?
            }
            _ => return Err(Error::invalid("event", "does not become JSON as a variant of an enum does")),
        };
        Ok(NewEvent::new(event_type, data).of_version(self.schema_version()))
    }

    /// The event that was appended; `None` for one that is passed over.
    ///
    /// # Errors
    /// Internal, naming the type of an event that cannot be read as this.
    fn decode(event: &NewEvent) -> Result<Option<Self>> {
        if Self::passes_over(&event.event_type) {
            return Ok(None);
        }
        let value = match &event.data {
            Value::Null => Value::String(event.event_type.clone()),
            data => Value::Object(Map::from_iter([(event.event_type.clone(), data.clone())])),
        };
        let read = serde_json::from_value(value).map_err(|e| {
            let (kind, version) = (&event.event_type, event.schema_version);
            let name = std::any::type_name::<Self>();
            Error::internal(format!("event `{kind}` of schema version {version} is no {name}")).with_source(e)
        });
        read.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Account {
        Opened,
        Paid { cents: i64 },
        Note(String),
        Moved(i64, i64),
    }

    impl DomainEvent for Account {
        fn passes_over(event_type: &str) -> bool {
            event_type == "Audited"
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (event, kind, data) in [
            (Account::Opened, "Opened", json!(null)),
            (Account::Paid { cents: -5 }, "Paid", json!({"cents": -5})),
            (Account::Note("x".into()), "Note", json!("x")),
            (Account::Moved(1, 2), "Moved", json!([1, 2])),
        ] {
            let encoded = event.encode().unwrap();
            assert_eq!((encoded.event_type.as_str(), &encoded.data), (kind, &data));
            assert_eq!(Account::decode(&encoded).unwrap(), Some(event));
        }
    }

    #[test]
    fn an_unknown_event_is_an_error_unless_it_is_passed_over() {
        let error = Account::decode(&NewEvent::new("Closed", json!({}))).unwrap_err();
        assert!(error.to_string().contains("`Closed`"), "{error}");
        assert_eq!(Account::decode(&NewEvent::new("Audited", json!({}))).unwrap(), None);
    }

    #[derive(Serialize, Deserialize)]
    struct Flat {
        a: i64,
        b: i64,
    }

    impl DomainEvent for Flat {}

    #[test]
    fn what_is_no_enum_is_refused() {
        assert!(Flat { a: 1, b: 2 }.encode().unwrap_err().is_invalid());
    }
}
