//! E49: what is traced, and that a trace goes with the events.

use std::sync::{Arc, Mutex};

use mainspring_core::{Append, BoxFuture, EventStore, ExpectedPosition, RecordedEvent, Result, StreamId};
use mainspring_events::{EventStoreExt, InlineProjection, PgEventStore};
use mainspring_testing::{Spans, TestDb};

use crate::event;

struct Nothing;

impl InlineProjection for Nothing {
    fn apply<'a>(
        &'a self,
        _: &'a mainspring_pg::Db<'a>,
        _: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            tracing::info_span!("inside").in_scope(|| ());
            Ok(())
        })
    }
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn appends_reads_folds_and_inline_projections_have_spans() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db()).with_inline(Arc::new(Nothing));
    let spans = Spans::default();
    let _recording = tracing::subscriber::set_default(spans.clone());
    let cart = StreamId::new("cart-1").of_tenant("acme");
    log.append(Append::to(&cart, vec![event("a"), event("b").traced(PARENT)])).await.unwrap();

    let append = spans.named("mainspring.append").remove(0);
    for (field, value) in [
        ("stream", "cart-1"),
        ("partition", "streams"),
        ("tenant", "acme"),
        ("streams", "1"),
        ("events", "2"),
        ("position", "2"),
        ("traceparent", PARENT),
    ] {
        assert_eq!(append.field(field), Some(value), "{field} in {append:?}");
    }
    let project = spans.named("mainspring.project").remove(0);
    assert_eq!((project.field("events"), project.field("traceparent")), (Some("2"), Some(PARENT)));
    assert_eq!(project.parent.as_deref(), Some("mainspring.append"));
    assert_eq!(spans.named("inside").remove(0).parent.as_deref(), Some("mainspring.project"));

    let sum = Mutex::new(0);
    log.read(&cart).fold((), |(), _| *sum.lock().unwrap() += 1).await.unwrap();
    let fold = spans.named("mainspring.fold").remove(0);
    assert_eq!((fold.field("events"), fold.field("position")), (Some("2"), Some("2")));
    let read = spans.named("mainspring.read").remove(0);
    assert_eq!((read.field("stream"), read.field("events")), (Some("cart-1"), Some("2")));
    assert_eq!(read.parent.as_deref(), Some("mainspring.fold"));

    let wrong = Append::to(&cart, vec![event("c")]).expecting(ExpectedPosition::NoStream);
    log.append(wrong).await.unwrap_err();
    assert_eq!(spans.named("mainspring.append").remove(1).field("error"), Some("conflict"));
}
