//! Snapshots: the state of a stream at some position, so that a long stream is not folded from its first event each time.

use mainspring_core::{EventStore, Result, Snapshot, StreamId};
use serde::{Serialize, de::DeserializeOwned};

use crate::fold::Folded;

/// Which snapshots to use, and how often to make one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use mainspring_core::{Append, Backend, NewEvent};
/// use mainspring_events::{EventStoreExt, Snapshots};
/// use serde_json::json;
///
/// # let backend = mainspring_testing::MemoryBackend::new();
/// # let events = backend.events();
/// # events.append(Append::to("cart-1", vec![NewEvent::new("Added", json!(1)); 3])).await?;
/// let totals = Snapshots::new("total", 1).made_every(2);
/// let total = events.read("cart-1").fold_from(&totals, 0, |n: i64, _event| n + 1).await?;
/// assert_eq!((total.state, total.position), (3, 3));
/// # Ok::<(), mainspring_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Snapshots {
    name: String,
    schema_version: u32,
    every: i64,
}

impl Snapshots {
    /// Snapshots of the state `name`, whose shape has this version. Change the version whenever the state or the way it is
    /// folded changes: older snapshots are then left alone.
    pub fn new(name: impl Into<String>, schema_version: u32) -> Self {
        Self { name: name.into(), schema_version, every: 100 }
    }

    /// A new snapshot when so many events came after the last one. Defaults to 100.
    #[must_use]
    pub fn made_every(mut self, events: u32) -> Self {
        self.every = i64::from(events.max(1));
        self
    }

    pub(crate) fn every(&self) -> i64 {
        self.every
    }

    /// The state and its position, when there is one that fits.
    pub(crate) async fn load<T: DeserializeOwned>(
        &self,
        store: &(impl EventStore + ?Sized),
        stream: &StreamId,
    ) -> Result<Option<(T, i64)>> {
        let found = store.snapshot(stream, &self.name).await?;
        let found = found.filter(|snapshot| snapshot.schema_version == self.schema_version);
        Ok(found.and_then(|snapshot| Some((serde_json::from_value(snapshot.state).ok()?, snapshot.position))))
    }

    /// Best effort: what cannot be saved is folded again.
    pub(crate) async fn save<T: Serialize>(
        &self,
        store: &(impl EventStore + ?Sized),
        stream: &StreamId,
        folded: &Folded<T>,
    ) {
        let saved = match serde_json::to_value(&folded.state) {
            Ok(state) => {
                let (schema_version, position) = (self.schema_version, folded.position);
                store.save_snapshot(stream, &self.name, Snapshot { schema_version, position, state }).await
            }
            Err(error) => Err(mainspring_core::Error::invalid("snapshot", error)),
        };
        if let Err(error) = saved {
            tracing::debug!(snapshot = %self.name, error = error.code(), "snapshot not saved");
        }
    }
}
