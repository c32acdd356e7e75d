//! Definitions this process has read, kept for as long as it lives: a version never changes.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use mainspring_core::Flow;

type ByVersion = HashMap<String, Arc<Flow>>;

/// Definitions by id, then by version. A clone is the same cache.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<RwLock<HashMap<String, ByVersion>>>);

impl Cache {
    pub(crate) fn get(&self, id: &str, version: &str) -> Option<Arc<Flow>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id)?.get(version).cloned()
    }

    /// Only for what is committed: what a transaction rolls back may come again with another content.
    pub(crate) fn keep(&self, flow: Arc<Flow>) {
        let mut flows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        flows.entry(flow.id.clone()).or_default().insert(flow.version.clone(), flow);
    }
}
