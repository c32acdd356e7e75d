//! Workflows driven by events as reactors: inbox, outbox, outputs and checkpoint are one commit.

use mainspring_core::{BoxFuture, DomainEvent, EventStore, EventWorkflow, RecordedEvent};
use mainspring_events::{CommandError, EventStoreExt, PgEventStore};

use crate::{
    consumer::Consumer,
    handler::{BoxError, Next, Reactor},
};

impl Consumer {
    /// One more processor that lets a workflow hear what is new, under the name `workflow:<name>`. The input in the
    /// workflow's own stream, its outputs, the events and messages they become and the checkpoint are one commit, so nothing
    /// is lost and nothing happens twice. Messages need a consumer of the facade's.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mainspring_consumer::Consumer;
    /// # use mainspring_core::{Append, DomainEvent, EventStore, NewEvent, event_workflow::{Emit, Entry, EventWorkflow}};
    /// # use mainspring_events::{EventStoreExt, PgEventStore};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    /// # enum Heard { CheckedOut { guest: String, group: String }, }
    /// # impl DomainEvent for Heard {}
    /// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    /// enum Said { GroupIsOut { guests: u32 } }
    /// # impl DomainEvent for Said {}
    ///
    /// struct GroupCheckout;
    /// impl EventWorkflow for GroupCheckout {
    ///     type Input = Heard;
    ///     type Output = Said;
    ///     type State = u32;
    ///     type Error = String;
    ///
    ///     fn name(&self) -> &str { "group" }
    ///     fn input_types(&self) -> Vec<String> { vec!["CheckedOut".into()] }
    ///     fn id_of(&self, Heard::CheckedOut { group, .. }: &Heard) -> Option<String> { Some(group.clone()) }
    ///     fn initial(&self) -> u32 { 0 }
    ///
    ///     fn decide(&self, _: &Heard, guests: &u32) -> Result<Vec<Emit<Said>>, String> {
    ///         let is_last = *guests == 1;
    ///         Ok(is_last.then(|| Emit::append("groups", Said::GroupIsOut { guests: 2 })).into_iter().collect())
    ///     }
    ///
    ///     fn evolve(&self, guests: u32, entry: Entry<&Heard, &Said>) -> u32 {
    ///         guests + u32::from(matches!(entry, Entry::Input(_)))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
    /// # let test = mainspring_testing::TestDb::new().await; let db = test.db(); let log = PgEventStore::new(&db);
    /// # let out = |guest: &str| NewEvent::new("CheckedOut", json!({"guest": guest, "group": "g1"}));
    /// log.append(Append::to("guest-ada", vec![out("ada")])).await?;
    /// log.append(Append::to("guest-bob", vec![out("bob")])).await?;
    /// Consumer::new(&db, "hotel").workflow(GroupCheckout).run_to_end().await?;
    ///
    /// assert_eq!(log.read("groups").all().await?.events[0].event.data["guests"], 2);
    /// let own = log.read("workflow:group-g1").all().await?.events;
    /// let types: Vec<&str> = own.iter().map(|event| event.event.event_type.as_str()).collect();
    /// assert_eq!(types, ["group:CheckedOut", "group:CheckedOut", "group:GroupIsOut"]);
    /// # Ok(()) }
    /// ```
    pub fn workflow<W>(self, workflow: W) -> Self
    where
        W: EventWorkflow + 'static,
        W::Error: Into<BoxError>,
    {
        let name = format!("workflow:{}", workflow.name());
        let log = PgEventStore::new(&self.db);
        self.reactor(name, WorkflowReactor::new(log, workflow))
    }
}

/// Lets an [`EventWorkflow`] hear the log; see [`Consumer::workflow`](crate::Consumer::workflow).
pub struct WorkflowReactor<S, W> {
    store: S,
    workflow: W,
}

impl<S, W> WorkflowReactor<S, W> {
    /// `store` is where the workflow's own streams are.
    pub fn new(store: S, workflow: W) -> Self {
        Self { store, workflow }
    }
}

impl<S, W> Reactor for WorkflowReactor<S, W>
where
    S: EventStore + 'static,
    W: EventWorkflow + 'static,
    W::Error: Into<BoxError>,
{
    fn event_types(&self) -> Vec<String> {
        self.workflow.input_types()
    }

    /// The instance: what it heard before must be in its stream when it hears the next.
    fn order_key(&self, event: &RecordedEvent) -> Option<String> {
        let input = W::Input::decode(&event.event).ok().flatten()?;
        self.workflow.id_of(&input).map(|id| format!("{}/{id}", event.tenant))
    }

    fn react<'a>(&'a self, event: &'a RecordedEvent) -> BoxFuture<'a, Result<Next, BoxError>> {
        Box::pin(async move {
            match self.store.hear(&self.workflow, event).await {
                Ok(Some(changes)) => Ok(changes.into()),
                Ok(None) => Ok(Next::Skip("it is for no instance, or was heard before".into())),
                Err(CommandError::Refused(error)) => Err(error.into()),
                Err(CommandError::Store(error)) => Err(error.into()),
            }
        })
    }
}
