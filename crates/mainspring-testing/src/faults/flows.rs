//! The flows of a backend that breaks.

use std::sync::Arc;

use mainspring_core::{Backend, BoxFuture, Flow, FlowFilter, FlowStore, Result, Saved};

use super::Faults;

#[derive(Debug)]
pub(super) struct FaultyFlows<B> {
    pub(super) inner: Arc<B>,
    pub(super) faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend> FlowStore for FaultyFlows<B> {
    fn save<'a>(&'a self, flow: &'a Flow) -> BoxFuture<'a, Result<Saved>> {
        self.inner.flows().save(flow)
    }

    fn get<'a>(&'a self, id: &'a str, version: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        Box::pin(self.faults.around("flow", self.inner.flows().get(id, version)))
    }

    fn latest<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        Box::pin(self.faults.around("flow", self.inner.flows().latest(id)))
    }

    fn versions<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.inner.flows().versions(id)
    }

    fn list(&self, filter: FlowFilter) -> BoxFuture<'_, Result<Vec<Flow>>> {
        self.inner.flows().list(filter)
    }
}
