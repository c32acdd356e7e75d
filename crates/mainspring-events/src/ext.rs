//! What every store of events can do besides, whatever it is.

use std::collections::BTreeSet;

use mainspring_core::{
    Append, Appended, Changes, Decider, EventStore, EventWorkflow, ExpectedPosition, Incoming, NewEvent,
    Result, StreamHead, StreamId, event::STREAMS,
};

use crate::{
    command::{CommandError, OnStream},
    fold::Read,
    hear::hear,
};

/// More to do with an [`EventStore`]; use it with `use mainspring_events::EventStoreExt`.
pub trait EventStoreExt: EventStore {
    /// Reads a stream: all of it, a part, as pages or folded into a state. See [`Read`].
    fn read(&self, stream: impl Into<StreamId>) -> Read<'_, Self> {
        Read::new(self, stream.into())
    }

    /// Lets a [`Decider`] decide on a stream. See [`OnStream`].
    fn decide<'s, D: Decider>(
        &'s self,
        decider: &'s D,
        stream: impl Into<StreamId>,
    ) -> OnStream<'s, D, Self> {
        OnStream::new(self, decider, stream.into())
    }

    /// Lets a workflow decide on what came in; what is to be committed then, in which the position of its own stream is
    /// expected. `None` when it is for no instance, or was heard before. Whoever commits it hears again after a conflict.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # use mainspring_core::{DomainEvent, Emit, EventWorkflow, event_workflow::Entry};
    /// # use serde::{Deserialize, Serialize};
    /// use std::time::Duration;
    /// use mainspring_core::{Backend, ClaimRequest, NewMessage, Settle, Settlement, WorkerId};
    /// use mainspring_events::EventStoreExt;
    /// use serde_json::json;
    ///
    /// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    /// # enum Ping { Ping { id: String } }
    /// # impl DomainEvent for Ping {}
    /// # struct Pings;
    /// # impl EventWorkflow for Pings {
    /// #     type Input = Ping; type Output = Ping; type State = u32; type Error = String;
    /// #     fn name(&self) -> &str { "ping" }
    /// #     fn input_types(&self) -> Vec<String> { vec!["Ping".into()] }
    /// #     fn id_of(&self, Ping::Ping { id }: &Ping) -> Option<String> { Some(id.clone()) }
    /// #     fn initial(&self) -> u32 { 0 }
    /// #     fn decide(&self, input: &Ping, n: &u32) -> Result<Vec<Emit<Ping>>, String> {
    /// #         Ok(if *n < 2 { vec![Emit::push("pings", input.clone())] } else { vec![] })
    /// #     }
    /// #     fn evolve(&self, n: u32, _: Entry<&Ping, &Ping>) -> u32 { n + 1 }
    /// # }
    /// # let backend = mainspring_testing::MemoryBackend::new();
    /// // A message as the input: it is settled in the commit of what was decided on it.
    /// backend.queue().push(vec![NewMessage::new("pings", "Ping", json!({"id": "7"}))]).await?;
    /// let request = ClaimRequest::new("pings", WorkerId::generate(), Duration::from_secs(30), 1);
    /// let delivery = backend.queue().claim(request).await?.deliveries.remove(0);
    ///
    /// let heard = backend.events().hear(&Pings, &delivery).await.unwrap();
    /// let mut changes = heard.unwrap_or_default();
    /// changes.settle = Some(Settle::new(delivery.lease, Settlement::Done));
    /// backend.commit(changes).await?;
    ///
    /// assert_eq!(backend.queue().stats("pings").await?.ready, 1);
    /// assert_eq!(backend.events().read("workflow:ping-7").all().await?.events.len(), 2);
    /// # Ok::<(), mainspring_core::Error>(()) }).unwrap();
    /// ```
    fn hear<W: EventWorkflow>(
        &self,
        workflow: &W,
        incoming: impl Into<Incoming> + Send,
    ) -> impl Future<Output = Result<Option<Changes>, CommandError<W::Error>>> + Send {
        hear(self, workflow, incoming.into())
    }

    /// Makes a partition with storage for every tenant that has some in another one; for which that is new. What exists is
    /// left alone, so it can be repeated; in a transaction of the caller's it is all or nothing.
    fn create_partition_for_all(&self, partition: &str) -> impl Future<Output = Result<Vec<String>>> + Send {
        async move {
            let made = self.partitions().await?;
            self.create_partition(partition).await?;
            let tenants: BTreeSet<String> = made.into_values().flatten().collect();
            let mut new = Vec::new();
            for tenant in tenants {
                if self.create_tenant(partition, &tenant).await? {
                    new.push(tenant);
                }
            }
            Ok(new)
        }
    }

    /// Gives a tenant storage of its own in every partition that was made; in which that is new. As
    /// [`create_partition_for_all`](Self::create_partition_for_all).
    fn create_tenant_in_all(&self, tenant: &str) -> impl Future<Output = Result<Vec<String>>> + Send {
        async move {
            let mut new = Vec::new();
            for partition in self.partitions().await?.into_keys() {
                if self.create_tenant(&partition, tenant).await? {
                    new.push(partition);
                }
            }
            Ok(new)
        }
    }

    /// The streams of one partition of the log.
    fn in_partition(&self, partition: impl Into<String>) -> Streams<'_, Self> {
        Streams { store: self, partition: partition.into(), tenant: String::new() }
    }

    /// The streams of one tenant in the partition [`STREAMS`].
    fn tenant(&self, tenant: impl Into<String>) -> Streams<'_, Self> {
        Streams { store: self, partition: STREAMS.to_owned(), tenant: tenant.into() }
    }
}

impl<S: EventStore + ?Sized> EventStoreExt for S {}

/// The streams of one partition and tenant, by their names alone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use mainspring_core::{Backend, NewEvent};
/// use mainspring_events::EventStoreExt;
/// use serde_json::json;
///
/// # let backend = mainspring_testing::MemoryBackend::new();
/// let events = backend.events();
/// events.create_partition("billing").await?;
///
/// let acme = events.in_partition("billing").tenant("acme");
/// acme.append("invoice-1", vec![NewEvent::new("Sent", json!({}))]).await?;
/// assert!(acme.head("invoice-1").await?.exists());
/// assert!(!events.tenant("acme").head("invoice-1").await?.exists());
/// # Ok::<(), mainspring_core::Error>(()) }).unwrap();
/// ```
pub struct Streams<'s, S: ?Sized> {
    store: &'s S,
    partition: String,
    tenant: String,
}

impl<'s, S: EventStore + ?Sized> Streams<'s, S> {
    /// The same of another tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// The full name of one of them.
    pub fn id(&self, stream: impl Into<String>) -> StreamId {
        StreamId::new(stream).in_partition(&self.partition).of_tenant(&self.tenant)
    }

    /// Appends, expecting nothing.
    ///
    /// # Errors
    /// As [`EventStore::append_all`].
    pub async fn append(&self, stream: impl Into<String>, events: Vec<NewEvent>) -> Result<Appended> {
        self.append_expecting(stream, ExpectedPosition::Any, events).await
    }

    /// Appends to a stream that must be as `expected`.
    ///
    /// # Errors
    /// As [`EventStore::append_all`].
    pub async fn append_expecting(
        &self,
        stream: impl Into<String>,
        expected: ExpectedPosition,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.store.append(Append::to(self.id(stream), events).expecting(expected)).await
    }

    /// Reads one of them.
    pub fn read(&self, stream: impl Into<String>) -> Read<'s, S> {
        Read::new(self.store, self.id(stream))
    }

    /// Lets a decider decide on one of them.
    pub fn decide<D: Decider>(&self, decider: &'s D, stream: impl Into<String>) -> OnStream<'s, D, S> {
        OnStream::new(self.store, decider, self.id(stream))
    }

    /// Where one of them stands.
    ///
    /// # Errors
    /// Of the store.
    pub async fn head(&self, stream: impl Into<String>) -> Result<StreamHead> {
        self.store.head(&self.id(stream)).await
    }
}
