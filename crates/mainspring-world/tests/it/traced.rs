//! Messages that go the way of a transport of the user's own stay in their trace.

use std::sync::{Arc, Mutex};

use mainspring_core::{
    BoxFuture, Result,
    trace::{TraceContext, within},
};
use mainspring_http::{Call, Endpoint, MessageData, Reply};
use mainspring_testing::MemoryBackend;
use mainspring_world::{Transport, World};
use serde_json::{Value, json};

use crate::way::Way;

const HERE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A queue that keeps messages as JSON.
#[derive(Default)]
struct Kept(Mutex<Vec<Value>>);

impl Transport for Kept {
    fn push_flow(&self, message: MessageData) -> BoxFuture<'_, Result<()>> {
        self.0.lock().unwrap().push(serde_json::to_value(message).unwrap());
        Box::pin(std::future::ready(Ok(())))
    }

    fn push_step(&self, message: MessageData) -> BoxFuture<'_, Result<()>> {
        self.push_flow(message)
    }
}

#[derive(Clone, Default)]
struct Hears(Arc<Mutex<Vec<Call>>>);

impl Endpoint for Hears {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        self.0.lock().unwrap().push(call);
        Box::pin(std::future::ready(Reply::ok()))
    }
}

#[tokio::test]
async fn a_transport_carries_the_trace_of_its_messages() {
    for way in [Way::FUNCTION, Way::HTTP] {
        let (backend, heard, kept) = (MemoryBackend::new(), Hears::default(), Arc::new(Kept::default()));
        let invoker = way.to(heard.clone(), backend.clone()).await;
        let transport: Arc<dyn Transport> = Arc::clone(&kept) as Arc<dyn Transport>;
        let world = World::builder(backend).invoker(invoker).transport(transport).build().unwrap();
        let push = world.queue("__wkf_workflow_order", json!(1), Default::default());
        within(TraceContext::parse(HERE, Some("vendor=1")), push).await.unwrap();
        world.queue("__wkf_workflow_order", json!(2), Default::default()).await.unwrap();
        assert!(world.run_until_idle(std::time::Duration::from_secs(60)).await.unwrap());
        let mut kept = std::mem::take(&mut *kept.0.lock().unwrap());
        kept.sort_by_key(|message| message["traceParent"].is_null());
        assert_eq!((&kept[0]["traceParent"], &kept[0]["traceState"]), (&json!(HERE), &json!("vendor=1")));
        assert_eq!((kept.len(), kept[1].get("traceParent")), (2, None));
        // Another time, in another process.
        for message in kept {
            world.handle_message(serde_json::from_value(message).unwrap()).await.unwrap();
        }
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard[0].trace_parent.as_deref(), Some(HERE));
        assert_eq!(heard[0].trace_state.as_deref(), Some("vendor=1"));
        assert_eq!((heard[1].trace_parent.as_deref(), &heard[0].message.trace_parent), (None, &None));
    }
}
