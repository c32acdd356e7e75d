//! The flows an engine runs: its own, and those that other processes have saved.
//!
//! A version never changes, so what was read once is kept. Which version is the latest may change at any time, and is looked
//! up again after a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::{Backend, Flow, Result};
use tokio::{sync::OnceCell, time::Instant};

const KEEP_LATEST: Duration = Duration::from_secs(1);
const MOST_KEPT: usize = 1_000;

#[derive(Default)]
pub(crate) struct Flows {
    own: Vec<Arc<Flow>>,
    published: OnceCell<()>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    versions: HashMap<(String, String), Arc<Flow>>,
    latest: HashMap<String, (Instant, Arc<Flow>)>,
}

impl Flows {
    pub(crate) fn new(own: Vec<Flow>) -> Self {
        Self { own: own.into_iter().map(Arc::new).collect(), ..Self::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves the engine's own flows, once.
    pub(crate) async fn publish(&self, backend: &dyn Backend) -> Result<()> {
        let save_all = async || {
            for flow in &self.own {
                backend.flows().save(flow).await?;
                self.keep(flow);
            }
            self.kept().latest.clear();
            Ok(())
        };
        self.published.get_or_try_init(save_all).await.copied()
    }

    /// One version; `None` when nobody has saved it.
    pub(crate) async fn get(
        &self,
        backend: &dyn Backend,
        id: &str,
        version: &str,
    ) -> Result<Option<Arc<Flow>>> {
        let key = (id.to_owned(), version.to_owned());
        if let Some(flow) = self.kept().versions.get(&key) {
            return Ok(Some(Arc::clone(flow)));
        }
        self.publish(backend).await?;
        let found = backend.flows().get(id, version).await?.map(Arc::new);
        if let Some(flow) = &found {
            self.keep(flow);
        }
        Ok(found)
    }

    /// The latest published version; `None` when there is none.
    pub(crate) async fn latest(&self, backend: &dyn Backend, id: &str) -> Result<Option<Arc<Flow>>> {
        self.publish(backend).await?;
        if let Some((since, flow)) = self.kept().latest.get(id)
            && since.elapsed() < KEEP_LATEST
        {
            return Ok(Some(Arc::clone(flow)));
        }
        let asked = Instant::now();
        let found = backend.flows().latest(id).await?.map(Arc::new);
        if let Some(flow) = &found {
            self.keep(flow);
            self.kept().latest.insert(id.to_owned(), (asked, Arc::clone(flow)));
        }
        Ok(found)
    }

    fn keep(&self, flow: &Arc<Flow>) {
        let mut kept = self.kept();
        if kept.versions.len() >= MOST_KEPT {
            kept.versions.clear();
            kept.latest.clear();
        }
        kept.versions.insert((flow.id.clone(), flow.version.clone()), Arc::clone(flow));
    }
}
