//! The connection breaks at the worst moment: before a COMMIT, after it, or after its answer was on the way (faults F30 to F32).

use mainspring::{
    Append, Backend, Changes, Engine, ErrorKind, EventStoreExt, ExecutionStatus, NewEvent, NewMessage,
    Result, Settings, TokenStatus, event::kind,
};
use mainspring_testing::{Cut, Proxy};
use mainspring_tests::{Lab, until, worker};
use serde_json::json;

use crate::{all, signals};

const CUTS: [Cut; 3] = [Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply];

/// A lab, a proxy before its database, and an engine that goes through the proxy and has published its flows.
async fn far_away(connections: usize) -> (Lab, Proxy, Engine) {
    let lab = Lab::new().await;
    let proxy = Proxy::before(lab.db()).await.unwrap();
    let far = lab.engine_on(lab.stores_by(proxy.settings(), connections));
    far.publish().await.unwrap();
    (lab, proxy, far)
}

/// After a cut there are three outcomes: it worked, nothing was changed, or nobody knows.
fn check_typed<T>(outcome: &Result<T>) {
    if let Err(error) = outcome {
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::CommitUnknown), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_its_commit_a_create_is_safe_to_repeat_with_its_key() {
    // faults F31, F32: create
    all(CUTS.map(|cut| async move {
        let (lab, proxy, far) = far_away(4).await;
        let create = || far.create("order", json!({})).idempotency_key("order 1");
        proxy.arm(cut, 1);
        let first = create().await;
        assert_eq!(proxy.cuts(), 1);
        check_typed(&first);

        let second = create().await.unwrap().execution;
        if let Ok(first) = &first {
            assert_eq!(first.execution.id, second.id, "{cut:?}");
        }
        let events = lab.near().events().get_by_execution(&second.id).await.unwrap();
        assert_eq!((second.revision, events.len()), (1, 1), "{cut:?}");
        assert_eq!(lab.near().queue().stats("default").await.unwrap().ready, 1, "{cut:?}");

        let worker = worker(&far).start().unwrap();
        lab.all_completed(&[second.id]).await;
        worker.stop().await.unwrap();
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_says_all_the_same_where_its_events_are() {
    // fault F32: what became of it is looked up, and the places of its events are read again
    let (lab, proxy, _) = far_away(4).await;
    let far = lab.stores_by(proxy.settings(), 4);
    let added = |count| vec![NewEvent::new("Added", json!({})); count];
    far.commit(Changes { appends: vec![Append::to("cart-1", added(1))], ..Changes::default() })
        .await
        .unwrap();
    proxy.arm(Cut::DropReply, 1);
    let changes = Changes {
        appends: vec![Append::to("cart-2", added(1)), Append::to("cart-1", added(2))],
        messages: vec![NewMessage::new("mail", "hello", json!({}))],
        ..Changes::default()
    };
    let committed = far.commit(changes).await.unwrap();
    assert_eq!(proxy.cuts(), 1);
    for ((stream, first, last), appended) in
        [("cart-2", 1, 1), ("cart-1", 2, 3)].into_iter().zip(&committed.appended)
    {
        let recorded = lab.near().events.read(stream).all().await.unwrap().events;
        let places: Vec<i64> =
            recorded.iter().filter(|e| e.position >= first).map(|e| e.global_position).collect();
        assert_eq!(
            (appended.first, appended.last, &appended.global_positions),
            (first, last, &places),
            "{stream}"
        );
    }
    assert_eq!(lab.near().queue().stats("mail").await.unwrap().ready, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_nobody_can_ask_about_is_said_to_be_unknown_and_its_key_finds_it() {
    // fault F31, X3: the answer is lost and there is no other connection to look it up
    let (lab, proxy, far) = far_away(1).await;
    let create = || far.create("order", json!({})).idempotency_key("order 1").id("order-1");
    proxy.arm(Cut::DropReply, 1);
    proxy.refuse(true);
    let first = create().await.unwrap_err();
    assert_eq!((first.kind(), proxy.cuts()), (ErrorKind::CommitUnknown, 1), "{first:?}");
    proxy.refuse(false);
    let second = create().await.unwrap();
    assert!(second.idempotency_hit && !second.created);
    let events = lab.near().events().get_by_execution(&second.execution.id).await.unwrap();
    assert_eq!((events.len(), lab.broken().await), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_its_commit_a_step_is_neither_lost_nor_run_again() {
    // faults F31, F32: step, job, child; the result in hand is offered again, so that the handler is not called twice
    let scenarios = CUTS.into_iter().flat_map(|cut| [1, 4, 8, 11].map(|nth| (cut, nth)));
    all(scenarios.map(|(cut, nth)| async move {
        let (lab, proxy, far) = far_away(4).await;
        let ids = lab.create(&lab.engine(), 1).await;
        proxy.arm(cut, nth);
        let worker = worker(&far).start().unwrap();
        lab.all_completed(&ids).await;
        worker.stop().await.unwrap();
        assert_eq!(proxy.cuts(), 1, "{cut:?} {nth}");
        assert!(lab.ledger.repeats().is_empty(), "{cut:?} {nth}: {:?}", lab.ledger.repeats());
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_its_commit_a_resume_spends_its_token_once() {
    // faults F31, F32: token
    all(CUTS.map(|cut| async move {
        let lab = Lab::new().await;
        let proxy = Proxy::before(lab.db()).await.unwrap();
        let near = signals::engine(&lab, lab.stores(4));
        let far = signals::engine(&lab, lab.stores_by(proxy.settings(), 4));
        far.engine.publish().await.unwrap();
        let worker = worker(&near.engine).start().unwrap();
        let (id, token) = near.waiting().await;

        proxy.arm(cut, 1);
        let first = far.engine.resume(&token, json!({"n": 1})).await;
        assert_eq!(proxy.cuts(), 1);
        // That the token is spent is what a repeat finds out about a first try that worked.
        if !first.as_ref().is_err_and(mainspring::Error::is_conflict) {
            check_typed(&first);
        }
        let second = far.engine.resume(&token, json!({"n": 2})).await;
        lab.verdict(std::slice::from_ref(&id)).await;
        worker.stop().await.unwrap();

        let tokens = lab.near().tokens().get_by_execution(&id).await.unwrap();
        assert_eq!(tokens.iter().map(|token| token.status).collect::<Vec<_>>(), [TokenStatus::Used]);
        assert_eq!(signals::count(&lab, &id, kind::TOKEN_USED).await, 1, "{cut:?}");
        assert_eq!(signals::count(&lab, &id, kind::EXECUTION_RESUMED).await, 1, "{cut:?}");
        let data = &lab.get(&id).await.context["resumeData"]["n"];
        let expected = if second.is_ok() { 2 } else { 1 };
        assert_eq!(data, &json!(expected), "{cut:?}: {first:?}, {second:?}");
        if let Err(error) = second {
            assert!(error.is_conflict(), "{error:?}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_its_commit_a_cancel_happens_once() {
    // faults F31, F32: cancel, of a family
    all(CUTS.map(|cut| async move {
        let (lab, proxy, far) = far_away(4).await;
        let ids = lab.create(&far, 1).await;
        proxy.arm(cut, 1);
        let first = far.cancel(&ids[0], "not wanted").await;
        assert_eq!(proxy.cuts(), 1);
        check_typed(&first);
        let second = far.cancel(&ids[0], "not wanted").await.unwrap();
        // Whoever did not hear of the first finds it done.
        assert!(first.is_ok_and(|first| first.cancelled) != second.cancelled, "{cut:?}: {second:?}");

        let worker = worker(&lab.engine()).start().unwrap(); // takes away the wake-up nobody needs
        let report = lab.verdict(&ids).await;
        worker.stop().await.unwrap();
        assert_eq!(report.with_status(ExecutionStatus::Cancelled), 1, "{report}");
        assert_eq!(signals::count(&lab, &ids[0], kind::EXECUTION_CANCELLED).await, 1, "{cut:?}");
        assert!(lab.ledger.is_empty());
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_given_up_and_work_goes_on() {
    // faults F35, F30: nothing passes either way for longer than a lease, then all connections are new
    let (lab, proxy, far) = far_away(4).await;
    let ids = lab.create(&lab.engine(), 20).await;
    let silenced = worker(&far).start().unwrap();
    until("work has begun", async || lab.ledger.len() >= 10).await;
    proxy.black_hole(true);
    let (settings, near): (&Settings, _) = (lab.db().settings(), lab.engine());
    assert!(settings.connect().await.is_ok(), "only the way through the proxy is silent");
    let second = worker(&near).start().unwrap();
    lab.over(&ids).await;
    second.stop().await.unwrap();

    proxy.black_hole(false);
    let fresh = lab.create(&near, 1).await;
    lab.over(&fresh).await; // by the worker that was silenced: there is no other
    silenced.stop().await.unwrap();
    lab.all_completed(&[ids, fresh].concat()).await;
}
