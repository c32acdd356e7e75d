//! Keys that make a message the only one: idempotency, throttle, debounce.

use futures_util::future::join_all;
use mainspring_core::{Available, Backend, MessageOptions, NewMessage, QueueOptions, Settlement, Unique};

use super::super::{
    make::{QUEUE, claim, claim_due, hours, message, number, secs, settle},
    on, on_time,
};
use super::{created, keyed, push_one, sound};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_duplicate_is_no_error_and_names_the_message_that_is_there).await;
    on(&fresh, of_many_pushes_of_one_key_one_is_stored).await;
    on_time(&fresh, an_idempotency_key_counts_for_its_time_whatever_became_of_the_message).await;
    on_time(&fresh, a_throttle_allows_one_in_each_slot).await;
    on_time(&fresh, a_debounce_puts_the_second_off_to_the_next_slot).await;
    on(&fresh, what_a_plain_queue_cannot_do_is_refused).await;
}

fn unique(message: NewMessage, unique: Unique) -> NewMessage {
    NewMessage { options: MessageOptions { unique: Some(unique), ..message.options.clone() }, ..message }
}

/// Also within one push, in order.
pub async fn a_duplicate_is_no_error_and_names_the_message_that_is_there(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let batch = vec![
        message(0),
        unique(keyed(1, "a"), Unique::Unfinished),
        unique(keyed(2, "a"), Unique::Unfinished),
        keyed(3, "a"),
        unique(keyed(4, "b"), Unique::Unfinished),
    ];
    let pushed = backend.queues().push_each(batch.clone()).await.unwrap();
    assert_eq!(pushed.iter().map(|p| p.duplicate).collect::<Vec<_>>(), [false, false, true, false, false]);
    assert_eq!((&pushed[2].id, &pushed[3].id), (&batch[1].id, &batch[3].id));
    backend.queue().push(vec![unique(keyed(5, "b"), Unique::Unfinished)]).await.unwrap();
    let held = claim(backend, "w", 10).await;
    assert_eq!(held.iter().map(number).collect::<Vec<_>>(), [0, 1, 3, 4]);
    assert!(
        push_one(backend, unique(keyed(6, "a"), Unique::Unfinished)).await.duplicate,
        "while it is at work"
    );
    settle(backend, &held[1], Settlement::Done).await;
    assert!(!push_one(backend, unique(keyed(7, "a"), Unique::Unfinished)).await.duplicate);
    let twice = vec![batch[0].clone(), batch[0].clone()];
    assert!(
        backend.queues().push_each(twice).await.unwrap_err().is_invalid(),
        "Q04: an id twice in one call"
    );
    sound(backend).await;
}

/// fault F48: at the same time.
pub async fn of_many_pushes_of_one_key_one_is_stored(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let pushes = (0..32).map(|n| push_one(backend, unique(keyed(n, "a"), Unique::Unfinished)));
    let pushed = join_all(pushes).await;
    assert_eq!(pushed.iter().filter(|p| !p.duplicate).count(), 1);
    assert!(pushed.iter().all(|p| p.id == pushed[0].id));
    assert_eq!(claim(backend, "w", 100).await.len(), 1);
}

/// fault F49: from the first push on. Another message with the same key is answered with the first one, which stays as it is.
pub async fn an_idempotency_key_counts_for_its_time_whatever_became_of_the_message(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    created(backend, QueueOptions::default()).await;
    let within = |n| unique(keyed(n, "order-42"), Unique::For(hours(1)));
    let first = push_one(backend, within(1)).await;
    let delivery = claim(backend, "w", 10).await.remove(0);
    settle(backend, &delivery, Settlement::Done).await;
    let again = push_one(backend, within(2)).await;
    assert_eq!((again.duplicate, again.id), (true, first.id));
    time.advance(hours(1) + secs(1)).await;
    backend.queues().sweep().await.unwrap();
    assert!(!push_one(backend, within(3)).await.duplicate);
    assert!(push_one(backend, within(4)).await.duplicate);
    let waiting = claim(backend, "w", 10).await;
    assert_eq!(waiting.iter().map(number).collect::<Vec<_>>(), [3]);
}

/// Q22: by key; one that was cancelled does not count.
pub async fn a_throttle_allows_one_in_each_slot(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, QueueOptions::default()).await;
    let slot = hours(24 * 365);
    let throttled = |n, key| unique(keyed(n, key), Unique::Throttle(slot));
    let first = push_one(backend, throttled(1, "a")).await;
    let delivery = claim(backend, "w", 10).await.remove(0);
    settle(backend, &delivery, Settlement::Done).await;
    assert!(push_one(backend, throttled(2, "a")).await.duplicate, "although it is done");
    assert!(!push_one(backend, throttled(3, "b")).await.duplicate);
    assert!(!push_one(backend, unique(message(4), Unique::Throttle(slot))).await.duplicate);
    assert!(push_one(backend, unique(message(5), Unique::Throttle(slot))).await.duplicate);
    let c = push_one(backend, throttled(6, "c")).await;
    assert_eq!(backend.queues().cancel_messages(QUEUE, vec![c.id]).await.unwrap().len(), 1);
    assert!(!push_one(backend, throttled(7, "c")).await.duplicate);
    time.advance(slot).await;
    let next = push_one(backend, throttled(8, "a")).await;
    assert!(!next.duplicate && next.id != first.id);
}

/// Q22: a third is a duplicate.
pub async fn a_debounce_puts_the_second_off_to_the_next_slot(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, QueueOptions::default()).await;
    let slot = hours(24 * 365);
    let debounced = |n| unique(keyed(n, "a"), Unique::Debounce(slot));
    push_one(backend, debounced(1)).await;
    let second = push_one(backend, debounced(2)).await;
    let third = push_one(backend, debounced(3)).await;
    assert_eq!((second.duplicate, third.duplicate, &third.id), (false, true, &second.id));
    let now = claim_due(backend, "w").await;
    assert_eq!(now.iter().map(number).collect::<Vec<_>>(), [1]);
    settle(backend, &now[0], Settlement::Done).await;
    time.advance(slot).await;
    let then = claim_due(backend, "w").await;
    assert_eq!(then.iter().map(number).collect::<Vec<_>>(), [2]);
}

/// A key, a group or options need a queue that was created; everything else does not.
pub async fn what_a_plain_queue_cannot_do_is_refused(backend: &dyn Backend) {
    for special in [
        keyed(1, "a"),
        unique(message(1), Unique::Unfinished),
        NewMessage { group: Some(mainspring_core::Group::new("g")), ..message(1) },
    ] {
        assert!(backend.queue().push(vec![message(0), special.clone()]).await.unwrap_err().is_invalid());
        assert!(backend.queues().push_each(vec![special]).await.unwrap_err().is_not_found());
    }
    backend.queue().push(vec![NewMessage { available: Available::Now, ..message(2) }]).await.unwrap();
    assert_eq!(claim(backend, "w", 10).await.len(), 1);
}
