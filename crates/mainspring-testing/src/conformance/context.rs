//! What every [`ContextStore`](mainspring_core::ContextStore) does.

use mainspring_core::Backend;
use serde_json::{Value, json};

use super::{
    make::{created, id},
    on,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_value_comes_back_as_it_went).await;
    on(&fresh, a_reference_describes_its_value).await;
    on(&fresh, a_missing_value_is_not_found).await;
    on(&fresh, setting_again_replaces).await;
    on(&fresh, a_value_needs_its_execution).await;
    on(&fresh, keys_are_sorted_and_of_one_execution).await;
    on(&fresh, a_large_value_is_kept).await;
    on(&fresh, what_can_never_be_stored_is_refused).await;
}

/// scenario F27
pub async fn a_value_comes_back_as_it_went(backend: &dyn Backend) {
    created(backend, "e").await;
    for value in
        [json!(null), json!(1.5), json!("ü\n\"'"), json!([1, [2, {}]]), json!({"b": 1, "a": {"c": null}})]
    {
        backend.context().set(&id("e"), "k", value.clone()).await.unwrap();
        assert_eq!(backend.context().get(&id("e"), "k").await.unwrap(), value);
    }
}

/// What the context keeps in its place.
pub async fn a_reference_describes_its_value(backend: &dyn Backend) {
    created(backend, "e").await;
    let made = backend.context().set(&id("e"), "rows", json!([1, 2, 3])).await.unwrap();
    assert_eq!((made.reference.as_str(), made.summary.as_str()), ("storage://e/rows", "Array(3)"));
    assert!(made.size > 0);
}

/// scenario F27
pub async fn a_missing_value_is_not_found(backend: &dyn Backend) {
    created(backend, "e").await;
    assert!(backend.context().get(&id("e"), "k").await.unwrap_err().is_not_found());
    assert!(!backend.context().delete(&id("e"), "k").await.unwrap());
}

/// scenario F27: overwriting is no new key.
pub async fn setting_again_replaces(backend: &dyn Backend) {
    created(backend, "e").await;
    backend.context().set(&id("e"), "k", json!("old")).await.unwrap();
    backend.context().set(&id("e"), "k", json!("new")).await.unwrap();
    assert_eq!(backend.context().get(&id("e"), "k").await.unwrap(), json!("new"));
    assert_eq!(backend.context().keys(&id("e")).await.unwrap(), ["k"]);
}

/// No value without its execution.
pub async fn a_value_needs_its_execution(backend: &dyn Backend) {
    assert!(backend.context().set(&id("nobody"), "k", json!(1)).await.is_err());
    assert!(backend.context().keys(&id("nobody")).await.unwrap().is_empty());
}

/// Deleting and clearing touch one execution only.
pub async fn keys_are_sorted_and_of_one_execution(backend: &dyn Backend) {
    for (execution, key) in [("e", "b"), ("e", "a"), ("e", "C"), ("f", "z")] {
        if backend.executions().get(&id(execution)).await.unwrap().is_none() {
            created(backend, execution).await;
        }
        backend.context().set(&id(execution), key, json!(key)).await.unwrap();
    }
    assert_eq!(backend.context().keys(&id("e")).await.unwrap(), ["C", "a", "b"]);
    assert!(backend.context().delete(&id("e"), "a").await.unwrap());
    assert_eq!(backend.context().clear_execution(&id("e")).await.unwrap(), 2);
    assert_eq!(backend.context().clear_execution(&id("e")).await.unwrap(), 0);
    assert_eq!(backend.context().keys(&id("f")).await.unwrap(), ["z"]);
}

/// It is what the store is for.
pub async fn a_large_value_is_kept(backend: &dyn Backend) {
    created(backend, "e").await;
    let large = Value::String("x".repeat(1_000_000));
    let made = backend.context().set(&id("e"), "k", large.clone()).await.unwrap();
    assert!(made.size >= 1_000_000 && made.summary.len() == 200);
    assert_eq!(backend.context().get(&id("e"), "k").await.unwrap(), large);
}

/// NUL and nesting, and a key that is none.
pub async fn what_can_never_be_stored_is_refused(backend: &dyn Backend) {
    created(backend, "e").await;
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for (key, value) in [("k", json!("a\0b")), ("k", deep), ("", json!(1)), ("a\0b", json!(1))] {
        assert!(backend.context().set(&id("e"), key, value).await.unwrap_err().is_invalid());
    }
    assert!(backend.context().keys(&id("e")).await.unwrap().is_empty());
}
