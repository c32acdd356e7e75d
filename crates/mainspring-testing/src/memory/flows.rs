//! Flows in memory.

use std::collections::{BTreeMap, btree_map::Entry};

use mainspring_core::{BoxFuture, Error, Flow, FlowStore, Result, Saved, flow::FlowStatus};
use semver::Version;

use super::MemoryBackend;

#[derive(Default)]
pub(super) struct Flows {
    /// By id, then in the order of versions.
    rows: BTreeMap<String, BTreeMap<Version, Flow>>,
}

fn parse(version: &str) -> Result<Version> {
    Version::parse(version)
        .map_err(|e| Error::invalid("flow.version", format!("`{version}` is not a semantic version: {e}")))
}

impl Flows {
    fn save(&mut self, flow: &Flow) -> Result<Saved> {
        flow.validate()?;
        match self.rows.entry(flow.id.clone()).or_default().entry(parse(&flow.version)?) {
            Entry::Vacant(free) => {
                free.insert(flow.clone());
                Ok(Saved::Created)
            }
            Entry::Occupied(taken) if taken.get() == flow => Ok(Saved::Unchanged),
            Entry::Occupied(_) => Err(Error::conflict(format!(
                "flow `{}` {} exists with another content",
                flow.id, flow.version
            ))),
        }
    }

    fn latest(versions: &BTreeMap<Version, Flow>) -> Option<&Flow> {
        versions.values().rev().find(|flow| flow.status == FlowStatus::Published)
    }
}

impl FlowStore for MemoryBackend {
    fn save<'a>(&'a self, flow: &'a Flow) -> BoxFuture<'a, Result<Saved>> {
        self.run(move |state, _| state.flows.save(flow))
    }

    fn get<'a>(&'a self, id: &'a str, version: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        self.run(move |state, _| {
            let versions = state.flows.rows.get(id);
            Ok(versions.and_then(|versions| versions.values().find(|flow| flow.version == version)).cloned())
        })
    }

    fn latest<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        self.run(move |state, _| Ok(state.flows.rows.get(id).and_then(Flows::latest).cloned()))
    }

    fn versions<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.run(move |state, _| {
            let versions = state.flows.rows.get(id);
            Ok(versions
                .map_or_else(Vec::new, |all| all.values().rev().map(|flow| flow.version.clone()).collect()))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Flow>>> {
        self.run(move |state, _| Ok(state.flows.rows.values().filter_map(Flows::latest).cloned().collect()))
    }
}
