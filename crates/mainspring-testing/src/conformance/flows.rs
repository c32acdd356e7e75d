//! What every [`FlowStore`](mainspring_core::FlowStore) does.

use futures_util::future::join_all;
use mainspring_core::{Backend, Flow, FlowFilter, Saved, flow::FlowStatus};
use serde_json::json;

use super::on;
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, every_field_survives).await;
    on(&fresh, a_flow_that_does_not_validate_is_refused).await;
    on(&fresh, saving_the_same_again_changes_nothing).await;
    on(&fresh, a_saved_version_never_changes).await;
    on(&fresh, the_latest_is_by_semantic_version).await;
    on(&fresh, drafts_are_never_the_latest).await;
    on(&fresh, an_unknown_flow_is_none).await;
    on(&fresh, the_list_has_the_latest_of_each).await;
    on(&fresh, flows_are_found_by_status_id_and_tag).await;
    on(&fresh, sixteen_saves_of_one_version_keep_one).await;
}

fn flow(id: &str, version: &str) -> Flow {
    Flow::from_value(json!({
        "id": id, "version": version, "initialStepId": "a",
        "steps": {
            "a": {"id": "a", "type": "transform", "input": {"full": true}, "transitions": {"onSuccess": "b"}},
            "b": {"id": "b", "type": "transform", "input": {"full": true}}
        }
    }))
    .unwrap()
}

/// scenario F36
pub async fn every_field_survives(backend: &dyn Backend) {
    let full = Flow::from_value(json!({
        "id": "order", "version": "1.2.3-beta.1", "name": "Order", "description": "überall", "tags": ["x", "y"],
        "status": "published", "visual": {"zoom": 1.5}, "initialStepId": "a",
        "steps": {"a": {
            "id": "a", "type": "http", "name": "Call", "config": {"url": "http://localhost"},
            "input": {"path": "a.b.c"}, "outputKey": "out.a", "transitions": {"onFailure": "a", "onResume": "a"},
            "retry": {"maxAttempts": 3, "backoffMs": 10, "backoffMultiplier": 1.5, "maxBackoffMs": 99, "retryOn": ["E"]},
            "timeout": 1500
        }},
        "pipes": [{"id": "p"}]
    }))
    .unwrap();
    assert_eq!(backend.flows().save(&full).await.unwrap(), Saved::Created);
    assert_eq!(backend.flows().get("order", "1.2.3-beta.1").await.unwrap(), Some(full));
}

/// scenario F36
pub async fn a_flow_that_does_not_validate_is_refused(backend: &dyn Backend) {
    let good = flow("order", "1.0.0");
    let mut no_start = good.clone();
    no_start.initial_step_id = "nowhere".into();
    let mut no_target = good.clone();
    no_target.steps.get_mut("a").unwrap().transitions.on_success = Some("nowhere".into());
    let mut wrong_key = good.clone();
    wrong_key.steps.get_mut("a").unwrap().id = "z".into();
    let mut no_version = good.clone();
    no_version.version = "one".into();
    for bad in [no_start, no_target, wrong_key, no_version] {
        assert!(backend.flows().save(&bad).await.unwrap_err().is_invalid());
    }
    assert!(backend.flows().versions("order").await.unwrap().is_empty());
}

/// A deployment may save what it has at every start.
pub async fn saving_the_same_again_changes_nothing(backend: &dyn Backend) {
    let flow = flow("order", "1.0.0");
    assert_eq!(backend.flows().save(&flow).await.unwrap(), Saved::Created);
    assert_eq!(backend.flows().save(&flow).await.unwrap(), Saved::Unchanged);
    assert_eq!(backend.flows().versions("order").await.unwrap(), ["1.0.0"]);
}

/// Executions that pinned it go on with what they began with.
pub async fn a_saved_version_never_changes(backend: &dyn Backend) {
    let first = flow("order", "1.0.0");
    backend.flows().save(&first).await.unwrap();
    let mut second = first.clone();
    second.description = Some("other".into());
    assert!(backend.flows().save(&second).await.unwrap_err().is_conflict());
    assert_eq!(backend.flows().get("order", "1.0.0").await.unwrap(), Some(first));
}

/// scenario F37
pub async fn the_latest_is_by_semantic_version(backend: &dyn Backend) {
    for version in ["1.9.0", "1.10.0", "1.2.0", "1.10.0-rc.1"] {
        backend.flows().save(&flow("order", version)).await.unwrap();
    }
    assert_eq!(backend.flows().versions("order").await.unwrap(), ["1.10.0", "1.10.0-rc.1", "1.9.0", "1.2.0"]);
    assert_eq!(backend.flows().latest("order").await.unwrap().unwrap().version, "1.10.0");
    assert_eq!(backend.flows().get("order", "1.2.0").await.unwrap().unwrap().version, "1.2.0");
}

/// Neither are archived ones.
pub async fn drafts_are_never_the_latest(backend: &dyn Backend) {
    for (version, status) in
        [("1.0.0", FlowStatus::Published), ("2.0.0", FlowStatus::Draft), ("3.0.0", FlowStatus::Archived)]
    {
        let mut flow = flow("order", version);
        flow.status = status;
        backend.flows().save(&flow).await.unwrap();
    }
    assert_eq!(backend.flows().latest("order").await.unwrap().unwrap().version, "1.0.0");
    assert_eq!(backend.flows().get("order", "2.0.0").await.unwrap().unwrap().status, FlowStatus::Draft);
}

/// scenario F37
pub async fn an_unknown_flow_is_none(backend: &dyn Backend) {
    backend.flows().save(&flow("order", "1.0.0")).await.unwrap();
    assert!(backend.flows().get("order", "1.0.1").await.unwrap().is_none());
    assert!(backend.flows().get("nobody", "1.0.0").await.unwrap().is_none());
    assert!(backend.flows().latest("nobody").await.unwrap().is_none());
    assert!(backend.flows().versions("nobody").await.unwrap().is_empty());
}

/// By id.
pub async fn the_list_has_the_latest_of_each(backend: &dyn Backend) {
    for (id, version) in [("b", "1.9.0"), ("b", "1.10.0"), ("a", "1.0.0")] {
        backend.flows().save(&flow(id, version)).await.unwrap();
    }
    assert_eq!(listed(backend, FlowFilter::default()).await, ["a@1.0.0", "b@1.10.0"]);
}

async fn listed(backend: &dyn Backend, filter: FlowFilter) -> Vec<String> {
    let found = backend.flows().list(filter).await.unwrap();
    found.into_iter().map(|flow| format!("{}@{}", flow.id, flow.version)).collect()
}

/// A tag of an older version counts for nothing, and a page is full of what matches.
pub async fn flows_are_found_by_status_id_and_tag(backend: &dyn Backend) {
    use FlowStatus::{Archived, Draft, Published};
    for (id, version, status, tag) in [
        ("mail/a", "1.0.0", Published, "slow"),
        ("mail/a", "1.1.0", Published, "fast"),
        ("mail/a", "2.0.0", Draft, "slow"),
        ("mail/b", "1.0.0", Published, "slow"),
        ("mail/c", "1.0.0", Published, "fast"),
        ("mail_d", "1.0.0", Archived, "fast"),
    ] {
        let flow = Flow { status, tags: vec![tag.to_owned()], ..flow(id, version) };
        backend.flows().save(&flow).await.unwrap();
    }
    let any = FlowFilter::default;
    let of = |text: &str| Some(text.to_owned());
    assert_eq!(listed(backend, FlowFilter { status: Draft, ..any() }).await, ["mail/a@2.0.0"]);
    assert_eq!(listed(backend, FlowFilter { status: Archived, ..any() }).await, ["mail_d@1.0.0"]);
    assert_eq!(listed(backend, FlowFilter { tag: of("slow"), ..any() }).await, ["mail/b@1.0.0"]);
    let fast = FlowFilter { tag: of("fast"), prefix: of("mail/"), limit: 1, ..any() };
    assert_eq!(listed(backend, fast.clone()).await, ["mail/a@1.1.0"]);
    assert_eq!(listed(backend, FlowFilter { after: of("mail/a"), ..fast }).await, ["mail/c@1.0.0"]);
    assert_eq!(listed(backend, FlowFilter { prefix: of("mail_"), ..any() }).await, [""; 0]);
    let refused = backend.flows().list(FlowFilter { limit: 10_001, ..any() }).await;
    assert!(refused.unwrap_err().is_invalid());
}

/// A fleet that starts at once.
pub async fn sixteen_saves_of_one_version_keep_one(backend: &dyn Backend) {
    let flow = flow("order", "1.0.0");
    let saves = join_all((0..16).map(|_| backend.flows().save(&flow))).await;
    assert_eq!(saves.iter().filter(|saved| *saved.as_ref().unwrap() == Saved::Created).count(), 1);
    assert_eq!(backend.flows().versions("order").await.unwrap(), ["1.0.0"]);
}
