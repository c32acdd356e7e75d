//! E49: batches and reactions have spans, and a reaction knows the trace its event was appended in.

use mainspring_core::{Append, EventStore, NewEvent};
use mainspring_testing::Spans;
use serde_json::json;

use crate::ground::{Ground, Heard, noting};

#[tokio::test]
async fn a_reaction_knows_the_trace_of_its_event() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let ground = Ground::new().await;
    let added = NewEvent::new("Added", json!({"n": 1}));
    ground.log().append(Append::to("cart-1", vec![added.clone().traced(parent), added])).await.unwrap();
    let spans = Spans::default();
    let _recording = tracing::subscriber::set_default(spans.clone());
    let consumer = ground.consumer().projector("p", noting("p")).reactor("r", Heard::default().reactor());
    ground.run_to_end(consumer).await;

    let reacted = spans.named("mainspring.react");
    assert_eq!(reacted.len(), 2);
    for (field, value) in [
        ("processor", "r"),
        ("stream", "cart-1"),
        ("event", "Added"),
        ("position", "1"),
        ("traceparent", parent),
    ] {
        assert_eq!(reacted[0].field(field), Some(value), "{field}");
    }
    assert_eq!((reacted[1].field("position"), reacted[1].field("traceparent")), (Some("2"), None));
    assert_eq!(reacted[0].parent.as_deref(), Some("mainspring.process"));
    for processor in ["p", "r"] {
        let batches = spans.named("mainspring.process");
        let batch = batches.iter().find(|span| span.field("processor") == Some(processor)).unwrap();
        assert_eq!((batch.field("events"), batch.field("checkpoint")), (Some("2"), Some("2")), "{processor}");
    }
}
