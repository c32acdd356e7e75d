//! The test kit of deciders says what was expected, what happened and in which story.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mainspring_core::{Decider, DomainEvent};
use mainspring_testing::given;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Added { sku: String },
    Confirmed,
}

impl DomainEvent for Event {}

#[derive(Debug)]
enum Command {
    Add(&'static str),
    Confirm,
}

struct Cart;

impl Decider for Cart {
    type Command = Command;
    type Event = Event;
    type State = (usize, bool);
    type Error = String;

    fn initial(&self) -> Self::State {
        (0, false)
    }

    fn decide(&self, command: &Command, cart: &Self::State) -> Result<Vec<Event>, String> {
        match command {
            Command::Confirm if cart.0 == 0 => Err("the cart is empty".into()),
            Command::Confirm if cart.1 => Ok(Vec::new()),
            Command::Confirm => Ok(vec![Event::Confirmed]),
            Command::Add(sku) => Ok(vec![added(sku)]),
        }
    }

    fn evolve(&self, cart: Self::State, event: &Event) -> Self::State {
        match event {
            Event::Added { .. } => (cart.0 + 1, cart.1),
            Event::Confirmed => (cart.0, true),
        }
    }
}

fn added(sku: &str) -> Event {
    Event::Added { sku: sku.into() }
}

fn story_of(test: impl FnOnce()) -> String {
    let failure = catch_unwind(AssertUnwindSafe(test)).unwrap_err();
    *failure.downcast::<String>().unwrap()
}

#[test]
fn what_is_expected_passes() {
    given(&Cart, []).when(&Command::Add("a")).then([added("a")]).then_state(|cart| *cart == (1, false));
    given(&Cart, [added("a"), Event::Confirmed]).when(&Command::Confirm).then_nothing();
    given(&Cart, []).when(&Command::Confirm).then_refused("the cart is empty");
    given(&Cart, []).when(&Command::Confirm).then_refused_as(|reason| reason.contains("empty"));
}

#[test]
fn a_failure_tells_the_whole_story() {
    let story = story_of(|| {
        given(&Cart, [added("a")]).when(&Command::Confirm).then([added("b")]);
    });
    let wanted = "given\n    Added { sku: \"a\" }\nwhen\n    Confirm\nthen expected\n    Added { sku: \"b\" }\nbut got\n    Confirmed\n";
    assert_eq!(story, wanted);
    let story = story_of(|| given(&Cart, []).when(&Command::Confirm).then_nothing());
    assert!(
        story.ends_with("then expected\n    nothing\nbut got\n    refused: \"the cart is empty\"\n"),
        "{story}"
    );
    let story = story_of(|| given(&Cart, []).when(&Command::Add("a")).then_refused("never"));
    assert!(
        story.contains("given\n    nothing\n") && story.ends_with("    Added { sku: \"a\" }\n"),
        "{story}"
    );
    story_of(|| {
        given(&Cart, []).when(&Command::Add("a")).then_state(|cart| cart.1);
    });
}
