//! Workflows driven by events, whose inbox, outbox and checkpoint are one commit: E45.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use mainspring_consumer::{AppendsOnly, Commits, Consumer, Processors, StartFrom, WorkflowReactor};
use mainspring_consumer::{OnError, Processor, Then};
use mainspring_core::{
    Append, BoxFuture, Changes, DomainEvent, Emit, EventStore, EventWorkflow, NewEvent, Result,
    event_workflow::Entry,
};
use mainspring_events::EventStoreExt;
use mainspring_pg::Db;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;

use crate::ground::Ground;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Heard {
    GroupCheckoutBegun { group: Option<String>, guests: Vec<String> },
    GuestCheckedOut { group: String, guest: String },
    GuestCheckoutFailed { group: String },
}

impl DomainEvent for Heard {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Said {
    CheckOutGuest { guest: String },
    GroupCheckedOut { guests: usize },
    GuestNoted { guest: String },
}

impl DomainEvent for Said {}

#[derive(Debug, Default)]
struct Group {
    open: Vec<String>,
    guests: usize,
}

/// Asks every guest of a group to check out, and says when all have.
struct GroupCheckout;

impl EventWorkflow for GroupCheckout {
    type Input = Heard;
    type Output = Said;
    type State = Group;
    type Error = String;

    fn name(&self) -> &'static str {
        "group"
    }

    fn input_types(&self) -> Vec<String> {
        ["GroupCheckoutBegun", "GuestCheckedOut", "GuestCheckoutFailed"].map(str::to_owned).to_vec()
    }

    fn id_of(&self, input: &Heard) -> Option<String> {
        match input {
            Heard::GroupCheckoutBegun { group, .. } => group.clone(),
            Heard::GuestCheckedOut { group, .. } | Heard::GuestCheckoutFailed { group } => {
                Some(group.clone())
            }
        }
    }

    fn initial(&self) -> Group {
        Group::default()
    }

    fn decide(&self, input: &Heard, group: &Group) -> std::result::Result<Vec<Emit<Said>>, String> {
        Ok(match input {
            Heard::GroupCheckoutBegun { guests, .. } => {
                let ask = |guest: &String| Said::CheckOutGuest { guest: guest.clone() };
                guests.iter().map(|guest| Emit::append(format!("guest-{guest}"), ask(guest))).collect()
            }
            Heard::GuestCheckedOut { guest, .. } if group.open.contains(guest) => {
                let mut emitted = vec![Emit::record(Said::GuestNoted { guest: guest.clone() })];
                if group.open.len() == 1 {
                    emitted.push(Emit::append("groups", Said::GroupCheckedOut { guests: group.guests }));
                }
                emitted
            }
            Heard::GuestCheckedOut { .. } => vec![],
            Heard::GuestCheckoutFailed { .. } => return Err("nobody knows what to do".into()),
        })
    }

    fn evolve(&self, mut group: Group, entry: Entry<&Heard, &Said>) -> Group {
        match entry {
            Entry::Output(Said::CheckOutGuest { guest }) => {
                group.open.push(guest.clone());
                group.guests += 1;
            }
            Entry::Output(Said::GuestNoted { guest }) => group.open.retain(|open| open != guest),
            _ => {}
        }
        group
    }
}

impl Ground {
    async fn hears(&self, tenant: &str, stream: &str, input: &Heard) {
        let stream = mainspring_core::StreamId::new(stream).of_tenant(tenant);
        self.log().append(Append::to(stream, vec![input.encode().unwrap()])).await.unwrap();
    }

    async fn begins(&self, group: &str, guests: &[&str]) {
        let guests = guests.iter().map(|guest| (*guest).to_owned()).collect();
        self.hears("", "front", &Heard::GroupCheckoutBegun { group: Some(group.into()), guests }).await;
    }

    async fn leaves(&self, group: &str, guest: &str) {
        let (group, guest) = (group.to_owned(), guest.to_owned());
        self.hears("", "front", &Heard::GuestCheckedOut { group, guest }).await;
    }

    async fn types(&self, stream: &str) -> Vec<String> {
        let events = self.log().read(stream).all().await.unwrap().events;
        events.into_iter().map(|event| event.event.event_type).collect()
    }
}

#[tokio::test]
async fn a_group_is_out_when_all_its_guests_are() {
    // E45: a start creates outputs; completes after all replies; the input stands before its outputs, with a prefix; external
    // streams; several inputs of one instance in one batch
    let ground = Ground::new().await;
    ground.begins("g1", &["ada", "bob"]).await;
    ground.leaves("g1", "ada").await;
    ground.leaves("g1", "eve").await;
    ground.run_to_end(ground.consumer().workflow(GroupCheckout)).await;
    assert!(ground.types("groups").await.is_empty());
    ground.leaves("g1", "bob").await;
    ground.run_to_end(ground.consumer().workflow(GroupCheckout)).await;

    let own = ground.log().read("workflow:group-g1").all().await.unwrap().events;
    let told: Vec<(&str, &str)> = own
        .iter()
        .map(|e| (e.event.event_type.as_str(), e.event.metadata["workflow"].as_str().unwrap()))
        .collect();
    let checked_out = ("group:GuestCheckedOut", "input");
    let wanted = [
        ("group:GroupCheckoutBegun", "input"),
        ("group:CheckOutGuest", "appended"),
        ("group:CheckOutGuest", "appended"),
        checked_out,
        ("GuestNoted", "recorded"),
        checked_out,
        checked_out,
        ("GuestNoted", "recorded"),
        ("group:GroupCheckedOut", "appended"),
    ];
    assert_eq!(told, wanted);
    let groups = ground.log().read("groups").all().await.unwrap().events;
    assert_eq!(groups[0].event.data, json!({"guests": 2}));
    let said = &groups[0].event;
    assert_eq!(said.correlation_id.as_deref(), Some("workflow:group-g1"));
    assert_eq!(said.causation_id, own[8].event.causation_id);
    assert_eq!(ground.types("guest-ada").await, ["CheckOutGuest"]);
}

#[tokio::test]
async fn an_input_is_heard_once_by_one_instance_of_its_tenant() {
    // E45: null id ignored; duplicate input ignored
    let ground = Ground::new().await;
    ground.begins("g1", &["ada"]).await;
    ground
        .hears("acme", "front", &Heard::GroupCheckoutBegun { group: Some("g1".into()), guests: vec![] })
        .await;
    ground.hears("", "front", &Heard::GroupCheckoutBegun { group: None, guests: vec!["eve".into()] }).await;
    ground.leaves("g1", "ada").await;
    for _ in 0..3 {
        let reactor = WorkflowReactor::new(ground.log(), GroupCheckout);
        let again = Processor::reactor("workflow:group", reactor).start_from(StartFrom::Beginning);
        ground.run_to_end(ground.consumer().processor(again)).await;
    }
    assert_eq!(ground.types("groups").await, ["GroupCheckedOut"]);
    assert_eq!(ground.types("guest-ada").await, ["CheckOutGuest"]);
    assert!(ground.types("guest-eve").await.is_empty());
    let acme = ground.log().tenant("acme").read("workflow:group-g1").all().await.unwrap();
    assert_eq!(acme.events.len(), 1);
}

#[tokio::test]
async fn an_input_that_cannot_be_decided_on_is_treated_as_any_event_that_fails() {
    // E45 (a returned error), E27
    let ground = Ground::new().await;
    ground.hears("", "front", &Heard::GuestCheckoutFailed { group: "g1".into() }).await;
    ground.begins("g1", &["ada"]).await;
    let reactor = WorkflowReactor::new(ground.log(), GroupCheckout);
    let processor = Processor::reactor("w", reactor).on_error(OnError::then(Then::Park).attempts(1));
    ground.run_to_end(ground.consumer().processor(processor)).await;
    let parked = Processors::new(&ground.db).parked("w", 10).await.unwrap();
    assert!(parked[0].error.contains("nobody knows"), "{parked:?}");
    assert_eq!(ground.types("workflow:group-g1").await.len(), 2);
}

/// Breaks the connection in the middle of commits: behind the decision and its writes, before the commit.
struct Breaks {
    /// Every so many writes.
    every: u32,
    writes: AtomicU32,
}

impl Commits for Breaks {
    fn write<'a>(&'a self, tx: &'a Db<'a>, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            AppendsOnly.write(tx, changes).await?;
            if self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every) {
                tx.exec("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await?;
            }
            Ok(())
        })
    }
}

/// Each guest of each group was asked once, and each group is out once.
async fn check_groups(ground: &Ground, groups: usize) {
    assert_eq!(ground.types("groups").await, vec!["GroupCheckedOut"; groups]);
    for n in 0..groups {
        assert_eq!(ground.types(&format!("guest-a{n}")).await, ["CheckOutGuest"]);
        assert_eq!(ground.types(&format!("workflow:group-g{n}")).await.len(), 3 + 2 + 3);
    }
}

async fn groups(ground: &Ground, groups: usize) {
    for n in 0..groups {
        let (group, a, b) = (format!("g{n}"), format!("a{n}"), format!("b{n}"));
        ground.begins(&group, &[&a, &b]).await;
        ground.leaves(&group, &a).await;
        ground.leaves(&group, &b).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_commit_loses_and_repeats_nothing() {
    // E45, X8
    let ground = Ground::new().await;
    groups(&ground, 6).await;
    let breaks = Arc::new(Breaks { every: 3, writes: AtomicU32::new(0) });
    let consumer = ground.consumer().batch_size(4).commits(breaks.clone()).workflow(GroupCheckout);
    ground.run_to_end(consumer).await;
    assert!(breaks.writes.load(Ordering::Relaxed) > 18, "nothing was written again");
    check_groups(&ground, 6).await;
}

/// Stands still behind the writes of one commit.
struct Halts {
    at: u32,
    writes: AtomicU32,
    halted: Notify,
}

impl Commits for Halts {
    fn write<'a>(&'a self, tx: &'a Db<'a>, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            AppendsOnly.write(tx, changes).await?;
            if self.writes.fetch_add(1, Ordering::Relaxed) == self.at {
                self.halted.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn an_instance_that_is_killed_between_decision_and_commit_loses_and_repeats_nothing() {
    // E45, X8
    let ground = Ground::new().await;
    groups(&ground, 2).await;
    let consumer = || -> Consumer { ground.consumer().instance("one").workflow(GroupCheckout) };
    for at in 0..6 {
        let halts = Arc::new(Halts { at, writes: AtomicU32::new(0), halted: Notify::new() });
        let running = consumer().batch_size(1).commits(halts.clone()).start().await.unwrap();
        tokio::select! {
            () = halts.halted.notified() => {}
            done = running.when_caught_up(crate::ground::PATIENCE) => done.unwrap(),
        }
        drop(running); // nothing is given back and nothing rolled back by hand
    }
    ground.run_to_end(consumer()).await;
    check_groups(&ground, 2).await;
}

#[tokio::test]
async fn what_goes_to_the_own_stream_by_an_append_is_refused() {
    let ground = Ground::new().await;
    struct Loops;
    impl EventWorkflow for Loops {
        type Input = Heard;
        type Output = Said;
        type State = ();
        type Error = String;
        fn name(&self) -> &'static str {
            "loop"
        }
        fn input_types(&self) -> Vec<String> {
            vec!["GuestCheckedOut".into()]
        }
        fn id_of(&self, _: &Heard) -> Option<String> {
            Some("1".into())
        }
        fn initial(&self) {}
        fn decide(&self, _: &Heard, (): &()) -> std::result::Result<Vec<Emit<Said>>, String> {
            Ok(vec![Emit::append("workflow:loop-1", Said::GroupCheckedOut { guests: 0 })])
        }
        fn evolve(&self, (): (), _: Entry<&Heard, &Said>) {}
    }
    let input = NewEvent::new("GuestCheckedOut", json!({"group": "g", "guest": "a"}));
    ground.log().append(Append::to("front", vec![input])).await.unwrap();
    let event = ground.log().read("front").all().await.unwrap().events.remove(0);
    let refused = ground.log().hear(&Loops, &event).await.unwrap_err();
    assert!(refused.to_string().contains("recorded, not appended"), "{refused}");
}
