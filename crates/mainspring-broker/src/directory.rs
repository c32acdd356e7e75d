//! Who is where: the handlers that were registered by whatever process, as a stream of the log.
//!
//! A stream and no table: it is read whole by every process, changes rarely, and its history says who was registered when and
//! how. What is known here may be old, so a handler that is not found is looked for once more in the database.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use mainspring_core::{Append, Backend, Error, ExpectedPosition, NewEvent, Result, event::STREAMS};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::sending::Addressing;

const REGISTERED: &str = "handler.registered";
/// Events read at once.
const PAGE: u32 = 1_000;
/// How often somebody else may be faster.
const TRIES: u32 = 50;

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A handler.
    Handler,
    /// Whoever hears of the ends of processes, and may begin some.
    Completion,
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    #[serde(flatten)]
    pub(crate) address: Addressing,
}

pub(crate) struct Directory {
    backend: Arc<dyn Backend>,
    stream: String,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    position: i64,
    entries: BTreeMap<String, Arc<Entry>>,
}

impl Directory {
    pub(crate) fn new(backend: Arc<dyn Backend>, stream: String) -> Self {
        Self { backend, stream, known: RwLock::default() }
    }

    /// Reads what is new.
    pub(crate) async fn refresh(&self) -> Result<()> {
        loop {
            let from = self.read(|known| known.position) + 1;
            let events = self.backend.events().read_stream(STREAMS, "", &self.stream, from, PAGE).await?;
            let more = events.len() == PAGE as usize;
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                if event.position <= known.position {
                    continue;
                }
                known.position = event.position;
                let source = event.event.subject.filter(|_| event.event.event_type == REGISTERED);
                if let (Some(source), Ok(entry)) = (source, serde_json::from_value(event.event.data)) {
                    known.entries.insert(source, Arc::new(entry));
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn read<T>(&self, of: impl FnOnce(&Known) -> T) -> T {
        of(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// An address as it is known here, else as the database knows it.
    pub(crate) async fn find(&self, source: &str) -> Result<Option<Arc<Entry>>> {
        let look = || self.read(|known| known.entries.get(source).cloned());
        if let Some(entry) = look() {
            return Ok(Some(entry));
        }
        self.refresh().await?;
        Ok(look())
    }

    /// All addresses, as the database knows them.
    pub(crate) async fn all(&self) -> Result<BTreeMap<String, Arc<Entry>>> {
        self.refresh().await?;
        Ok(self.read(|known| known.entries.clone()))
    }

    /// Makes an address known to everybody, in place of what was said of it before.
    pub(crate) async fn add(&self, source: &str, entry: &Entry) -> Result<()> {
        for _ in 0..TRIES {
            self.refresh().await?;
            let (there, position) = self.read(|known| (known.entries.get(source).cloned(), known.position));
            if there.is_some_and(|there| *there == *entry) {
                return Ok(());
            }
            let event = NewEvent::new(REGISTERED, json!(entry)).about(source);
            let append = Append::to(self.stream.as_str(), vec![event]);
            match self.backend.events().append(append.expecting(ExpectedPosition::Exact(position))).await {
                Ok(_) => {}
                Err(error) if error.is_conflict() || error.is_commit_unknown() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("too many register at the same time as `{source}`")))
    }
}
