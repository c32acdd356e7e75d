//! The store: definitions go in once, come out from memory, and the latest is asked for every time.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_core::{
    BoxFuture, Error, Flow, FlowFilter, FlowStore, Result, Saved, execution::page_size, flow,
    flow::FlowStatus,
};
use mainspring_pg::{Db, Query, TxRef, row::get};

use crate::{
    cache::Cache,
    row::{Version, flow_from_row, version_from_row},
};

/// Flow definitions on Postgres; see the crate. A clone shares what was read.
#[derive(Clone)]
pub struct PgFlowStore<'t> {
    db: Db<'t>,
    cache: Cache,
}

impl<'t> PgFlowStore<'t> {
    /// The store on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone(), cache: Cache::default() }
    }

    /// The same store, standing on your transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgFlowStore<'u> {
        PgFlowStore { db: self.db.on(tx), cache: self.cache.clone() }
    }

    async fn save_one(&self, flow: &Flow) -> Result<Saved> {
        flow.validate()?;
        let definition = flow.to_value();
        let insert = Query::new(INSERT)
            .bind(flow.id.clone())
            .bind(flow.version.clone())
            .bind(flow.name.clone())
            .bind(flow.description.clone())
            .bind(flow.status.as_str())
            .bind(flow.tags.clone())
            .bind(definition.clone());
        if !self.db.run(insert).await?.is_empty() {
            return Ok(Saved::Created);
        }
        // In a statement of its own, so that it sees a version another process inserted while ours waited for it.
        let stored = self.db.opt(IS_SAME, &[&flow.id, &flow.version, &definition]).await?;
        match stored.map(|row| get(&row, 2)).transpose()? {
            Some(true) => Ok(Saved::Unchanged),
            _ => Err(Error::conflict(format!(
                "flow `{}@{}` exists with another content: a saved version never changes",
                flow.id, flow.version
            ))),
        }
    }

    async fn find(&self, id: &str, version: &str) -> Result<Option<Arc<Flow>>> {
        if let Some(flow) = self.cache.get(id, version) {
            return Ok(Some(flow));
        }
        let found = self.load(vec![id.to_owned()], vec![version.to_owned()]).await?;
        Ok(found.into_iter().next())
    }

    /// Reads the definitions of `ids` at `versions`, those that exist.
    async fn load(&self, ids: Vec<String>, versions: Vec<String>) -> Result<Vec<Arc<Flow>>> {
        let rows = self.db.run(Query::new(LOAD).bind(ids).bind(versions)).await?;
        let flows: Vec<Arc<Flow>> =
            rows.iter().map(|row| flow_from_row(row).map(Arc::new)).collect::<Result<_>>()?;
        if !self.db.in_transaction() {
            flows.iter().for_each(|flow| self.cache.keep(flow.clone()));
        }
        Ok(flows)
    }

    async fn versions_of(&self, id: &str) -> Result<Vec<Version>> {
        self.db.all(VERSIONS, &[&id]).await?.iter().map(version_from_row).collect()
    }

    /// Only the definitions of the page are read.
    async fn page(&self, filter: FlowFilter) -> Result<Vec<Flow>> {
        let limit = usize::try_from(page_size(filter.limit)?).unwrap_or(usize::MAX);
        let (status, prefix) = (filter.status.as_str(), filter.prefix.unwrap_or_default());
        let mut versions: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        for row in self.db.all(LIST, &[&status, &prefix, &filter.after.unwrap_or_default()]).await? {
            let version = version_from_row(&row)?;
            versions.entry(version.id.clone()).or_default().push(version);
        }
        let latest = versions.values().filter_map(|all| latest(all.iter()));
        let is_tagged = |it: &&Version| filter.tag.as_ref().is_none_or(|tag| it.tags.contains(tag));
        let mut flows = BTreeMap::new();
        let (mut ids, mut missing) = (Vec::new(), Vec::new());
        for Version { id, version, .. } in latest.filter(is_tagged).take(limit) {
            match self.cache.get(id, version) {
                Some(flow) => drop(flows.insert(id.clone(), flow)),
                None => {
                    ids.push(id.clone());
                    missing.push(version.clone());
                }
            }
        }
        if !ids.is_empty() {
            flows.extend(self.load(ids, missing).await?.into_iter().map(|flow| (flow.id.clone(), flow)));
        }
        Ok(flows.into_values().map(Arc::unwrap_or_clone).collect())
    }
}

fn latest<'a>(versions: impl Iterator<Item = &'a Version>) -> Option<&'a Version> {
    versions.max_by(|a, b| flow::compare_versions(&a.version, &b.version))
}

const INSERT: &str =
    "INSERT INTO {flows} (id, version, name, description, status, tags, definition, created_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, {now}()) ON CONFLICT DO NOTHING RETURNING id";

const IS_SAME: &str =
    "SELECT id, version, definition = $3 AS same FROM {flows} WHERE id = $1 AND version = $2";

const LOAD: &str = "SELECT f.id, f.version, f.definition FROM {flows} f
  JOIN unnest($1::text[], $2::text[]) AS u(id, version) ON f.id = u.id AND f.version = u.version";

const VERSIONS: &str = "SELECT id, version, status, tags FROM {flows} WHERE id = $1";

const LIST: &str =
    "SELECT id, version, status, tags FROM {flows} WHERE status = $1 AND starts_with(id, $2) AND id > $3";

impl FlowStore for PgFlowStore<'_> {
    fn save<'a>(&'a self, flow: &'a Flow) -> BoxFuture<'a, Result<Saved>> {
        Box::pin(self.save_one(flow))
    }

    fn get<'a>(&'a self, id: &'a str, version: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        Box::pin(async move { Ok(self.find(id, version).await?.map(Arc::unwrap_or_clone)) })
    }

    fn latest<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        Box::pin(async move {
            let versions = self.versions_of(id).await?;
            match latest(versions.iter().filter(|it| it.status == FlowStatus::Published.as_str())) {
                Some(latest) => self.get(id, &latest.version).await,
                None => Ok(None),
            }
        })
    }

    fn versions<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async move {
            let mut versions: Vec<String> =
                self.versions_of(id).await?.into_iter().map(|v| v.version).collect();
            versions.sort_by(|a, b| flow::compare_versions(b, a));
            Ok(versions)
        })
    }

    fn list(&self, filter: FlowFilter) -> BoxFuture<'_, Result<Vec<Flow>>> {
        Box::pin(self.page(filter))
    }
}
