//! Flows in memory.

use std::collections::{BTreeMap, btree_map::Entry};

use mainspring_core::{
    BoxFuture, Error, Flow, FlowFilter, FlowStore, Result, Saved, execution::page_size, flow::FlowStatus,
};
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

    fn latest(versions: &BTreeMap<Version, Flow>, status: FlowStatus) -> Option<&Flow> {
        versions.values().rev().find(|flow| flow.status == status)
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
        self.run(move |state, _| {
            Ok({
                let versions = state.flows.rows.get(id);
                versions.and_then(|all| Flows::latest(all, FlowStatus::Published)).cloned()
            })
        })
    }

    fn versions<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.run(move |state, _| {
            let versions = state.flows.rows.get(id);
            Ok(versions
                .map_or_else(Vec::new, |all| all.values().rev().map(|flow| flow.version.clone()).collect()))
        })
    }

    fn list(&self, filter: FlowFilter) -> BoxFuture<'_, Result<Vec<Flow>>> {
        self.run(move |state, _| {
            let limit = usize::try_from(page_size(filter.limit)?).unwrap_or(usize::MAX);
            let matches = |flow: &&Flow| {
                filter.after.as_ref().is_none_or(|after| flow.id > *after)
                    && filter.prefix.as_ref().is_none_or(|prefix| flow.id.starts_with(prefix))
                    && filter.tag.as_ref().is_none_or(|tag| flow.tags.contains(tag))
            };
            let latest = state.flows.rows.values().filter_map(|all| Flows::latest(all, filter.status));
            Ok(latest.filter(matches).take(limit).cloned().collect())
        })
    }
}
