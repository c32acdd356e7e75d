//! Hooks and their tokens.

use mainspring_world::{EventType::*, Fact, Fault, Paging, Resolve, RunEvent};
use serde_json::json;

use crate::ground::{Ground, cancel, complete, create_hook, on_both, receive};

on_both! {
    a_hook_lives
    a_token_belongs_to_one_hook
    a_token_is_free_when_its_run_is_over
    a_payload_comes_before_the_end_or_not_at_all
    of_two_that_want_a_token_one_gets_it
    active_hooks_are_listed
}

fn dispose(hook: &str) -> RunEvent {
    RunEvent::about(hook, Fact::HookDisposed {})
}

async fn a_hook_lives(ground: Ground) {
    // W12, W31, W35
    let run = ground.running().await;
    let hook = ground.does(&run, create_hook("hook_1", "tok")).await.hook.unwrap();
    let hooks = ground.storage.hooks();
    let found = ground.elsewhere().storage.hooks().get("hook_1", Resolve::All).await.unwrap();
    assert_eq!((&found.token, &found.metadata), (&hook.token, &Some(json!({"m": 1}))));
    assert_eq!(hooks.get_by_token("tok", Resolve::All).await.unwrap(), hook);
    assert_eq!(hooks.get_by_token("tok", Resolve::None).await.unwrap().metadata, None);
    let unknown = hooks.get_by_token("other", Resolve::All).await.unwrap_err();
    assert!(unknown.is_not_found() && !unknown.to_string().contains("other"));
    assert!(hooks.get("hook_2", Resolve::All).await.unwrap_err().is_not_found());
    ground.does(&run, receive("hook_1", json!(1))).await;
    ground.does(&run, receive("hook_1", json!(2))).await;
    hooks.dispose(&run, "hook_1").await.unwrap();
    assert!(hooks.dispose(&run, "hook_1").await.unwrap_err().is_conflict());
    assert!(hooks.dispose(&run, "hook_2").await.unwrap_err().is_not_found());
    assert!(ground.refuses(&run, receive("hook_1", json!(3))).await.is_not_found());
    assert!(hooks.get_by_token("tok", Resolve::All).await.unwrap_err().is_not_found());
    let log = ground.log(&run).await;
    assert_eq!(log[2..], [HookCreated, HookReceived, HookReceived, HookDisposed]);
}

async fn a_token_belongs_to_one_hook(ground: Ground) {
    // W32
    let (first, second) = (ground.running().await, ground.running().await);
    ground.does(&first, create_hook("h", "tok")).await;
    assert!(ground.refuses(&first, create_hook("h", "tok")).await.is_conflict());
    let refused = ground.elsewhere().does(&second, create_hook("h2", "tok")).await;
    assert_eq!(refused.hook, None);
    let event = refused.event.unwrap();
    assert_eq!(event.event_type, HookConflict);
    assert_eq!(event.event_data, Some(json!({"token": "tok", "conflictingRunId": first})));
    assert!(ground.refuses(&second, create_hook("h2", "tok")).await.is_conflict());
    ground.does(&first, dispose("h")).await;
    assert!(ground.does(&second, create_hook("h3", "tok")).await.hook.is_some());
    assert_eq!(ground.storage.hooks().get_by_token("tok", Resolve::All).await.unwrap().run_id, second);
}

async fn a_token_is_free_when_its_run_is_over(ground: Ground) {
    // W33
    let failed = || Fact::RunFailed { error: Fault::new("x") };
    for (n, end) in [complete(None), failed(), cancel()].into_iter().enumerate() {
        let run = ground.running().await;
        assert!(ground.does(&run, create_hook(&format!("a{n}"), "tok")).await.hook.is_some());
        ground.does(&run, create_hook(&format!("b{n}"), &format!("tok{n}"))).await;
        ground.does(&run, end).await;
        let left = ground.storage.hooks().list(&run, &Paging::default(), Resolve::All).await.unwrap();
        assert!(left.data.is_empty());
        assert!(ground.storage.hooks().get_by_token("tok", Resolve::All).await.is_err());
    }
}

async fn a_payload_comes_before_the_end_or_not_at_all(ground: Ground) {
    // W30
    for _ in 0..5 {
        let run = ground.running().await;
        ground.does(&run, create_hook(run.as_str(), run.as_str())).await;
        let other = ground.elsewhere();
        let (received, ended) = tokio::join!(
            ground.attempt(&run, receive(run.as_str(), json!(1))),
            other.attempt(&run, complete(None)),
        );
        ended.unwrap();
        let log = ground.log(&run).await;
        match received {
            Ok(_) => assert_eq!(log[3..], [HookReceived, RunCompleted]),
            Err(error) => {
                assert!(error.is_expired(), "{error}");
                assert_eq!(log[3..], [RunCompleted]);
            }
        }
        assert!(ground.refuses(&run, receive(run.as_str(), json!(2))).await.is_expired());
    }
}

async fn of_two_that_want_a_token_one_gets_it(ground: Ground) {
    // W32
    let (first, second) = (ground.running().await, ground.running().await);
    let other = ground.elsewhere();
    let (one, two) = tokio::join!(
        ground.does(&first, create_hook("h", "tok")),
        other.does(&second, create_hook("h", "tok")),
    );
    let winners = [&one, &two].into_iter().filter(|created| created.hook.is_some()).count();
    assert_eq!(winners, 1);
    // Two of one run at the same moment are decided one after the other.
    let (one, two) = tokio::join!(
        ground.does(&first, create_hook("x", "tok2")),
        ground.does(&first, create_hook("y", "tok2")),
    );
    assert_eq!([one, two].iter().filter(|created| created.hook.is_some()).count(), 1);
    // Given up and taken again at the same moment: one after the other, too.
    ground.does(&first, create_hook("p", "tok3")).await;
    let (_, again) =
        tokio::join!(ground.does(&first, dispose("p")), ground.does(&first, create_hook("q", "tok3")));
    assert!(again.hook.is_some());
}

async fn active_hooks_are_listed(ground: Ground) {
    let (first, second) = (ground.running().await, ground.running().await);
    for n in 0..3 {
        ground.does(&first, create_hook(&format!("a{n}"), &format!("ta{n}"))).await;
        ground.does(&second, create_hook(&format!("b{n}"), &format!("tb{n}"))).await;
    }
    ground.does(&first, dispose("a0")).await;
    let hooks = ground.storage.hooks();
    let of_first = hooks.list(&first, &Paging::default(), Resolve::All).await.unwrap();
    let ids: Vec<String> = of_first.data.into_iter().map(|hook| hook.hook_id).collect();
    assert_eq!(ids, ["a1", "a2"]);
    let page = hooks.list_all(&Paging::limit(4), Resolve::None).await.unwrap();
    assert_eq!((page.data.len(), page.has_more), (4, true));
    let rest = hooks.list_all(&Paging::limit(4).after(page.cursor), Resolve::None).await.unwrap();
    assert_eq!((rest.data.len(), rest.has_more), (1, false));
}
