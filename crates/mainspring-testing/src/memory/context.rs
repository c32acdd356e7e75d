//! Large values in memory.

use std::collections::BTreeMap;

use mainspring_core::{BoxFuture, ContextRef, ContextStore, Error, ExecutionId, Result, limits};
use serde_json::Value;

use super::MemoryBackend;

#[derive(Default)]
pub(super) struct Values {
    rows: BTreeMap<(ExecutionId, String), Value>,
}

impl Values {
    fn keys(&self, execution: &ExecutionId) -> Vec<String> {
        let from = (execution.clone(), String::new());
        let same = self.rows.keys().skip_while(|key| **key < from).take_while(|(id, _)| id == execution);
        same.map(|(_, key)| key.clone()).collect()
    }

    pub(super) fn clear(&mut self, execution: &ExecutionId) -> u64 {
        let before = self.rows.len();
        self.rows.retain(|(id, _), _| id != execution);
        (before - self.rows.len()) as u64
    }
}

impl ContextStore for MemoryBackend {
    fn set<'a>(
        &'a self,
        execution: &'a ExecutionId,
        key: &'a str,
        value: Value,
    ) -> BoxFuture<'a, Result<ContextRef>> {
        self.run(move |state, at| {
            limits::check_id("context key", key)?;
            limits::check_json_within(&format!("context.{key}"), &value, limits::MAX_CONTEXT)?;
            state.require(execution)?;
            let reference = ContextRef::to(execution, key, &value, at);
            state.values.rows.insert((execution.clone(), key.to_owned()), value);
            Ok(reference)
        })
    }

    fn get<'a>(&'a self, execution: &'a ExecutionId, key: &'a str) -> BoxFuture<'a, Result<Value>> {
        self.run(move |state, _| {
            let found = state.values.rows.get(&(execution.clone(), key.to_owned())).cloned();
            found.ok_or_else(|| Error::not_found("context key", key))
        })
    }

    fn delete<'a>(&'a self, execution: &'a ExecutionId, key: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| Ok(state.values.rows.remove(&(execution.clone(), key.to_owned())).is_some()))
    }

    fn keys<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<String>>> {
        self.run(move |state, _| Ok(state.values.keys(execution)))
    }

    fn clear_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, _| Ok(state.values.clear(execution)))
    }
}
