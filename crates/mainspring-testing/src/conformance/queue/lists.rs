//! Lists of queues.

use mainspring_core::{Backend, Policy, QueueFilter, QueueOptions};

/// The names of a page.
pub(super) async fn listed(backend: &dyn Backend, filter: QueueFilter) -> Vec<String> {
    backend.queues().list_queues(filter).await.unwrap().into_iter().map(|queue| queue.name).collect()
}

/// Q23: in pages that are full of what matches.
pub async fn queues_are_found_by_what_they_say(backend: &dyn Backend) {
    let queues = backend.queues();
    for (name, policy, dead_letter) in [
        ("mail/b", Policy::Singleton, Some("lost")),
        ("mail/a", Policy::Standard, Some("lost")),
        ("mail_c", Policy::Singleton, None),
    ] {
        let options =
            QueueOptions { policy, dead_letter: dead_letter.map(str::to_owned), ..QueueOptions::default() };
        queues.create_queue(name, options).await.unwrap();
    }
    queues.pause_queue("mail/b", true).await.unwrap();
    let any = QueueFilter::default;
    let of = |text: &str| Some(text.to_owned());
    assert_eq!(listed(backend, QueueFilter { prefix: of("mail/"), ..any() }).await, ["mail/a", "mail/b"]);
    assert_eq!(listed(backend, QueueFilter { prefix: of("mail_"), ..any() }).await, ["mail_c"]);
    assert_eq!(listed(backend, QueueFilter { paused: Some(true), ..any() }).await, ["mail/b"]);
    assert_eq!(listed(backend, QueueFilter { dead_letter: of("lost"), ..any() }).await, ["mail/a", "mail/b"]);
    let one = QueueFilter { policy: Some(Policy::Singleton), limit: 1, ..any() };
    assert_eq!(listed(backend, one.clone()).await, ["mail/b"]);
    assert_eq!(listed(backend, QueueFilter { after: of("mail/b"), ..one }).await, ["mail_c"]);
    assert_eq!(
        listed(backend, QueueFilter { paused: Some(false), limit: 2, ..any() }).await,
        ["lost", "mail/a"]
    );
    assert!(queues.list_queues(QueueFilter { limit: 10_001, ..any() }).await.unwrap_err().is_invalid());
}
