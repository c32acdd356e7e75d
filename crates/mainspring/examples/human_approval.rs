//! A process that asks a person: the question leaves through a domain, and the answer is dispatched when the person has it.

use mainspring::{
    PgStoreOptions,
    broker::{
        Broker, CloudEvent, Contract, Domain, Draft, HandlerOptions, Next, Resumable, Schema, Terms, Wake,
    },
    create_pg_stores,
};
use mainspring_testing::TestDb;
use serde_json::json;

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example tells what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let test = TestDb::new().await; // your own pool
    let stores = create_pg_stores(test.pool(), PgStoreOptions::default())?;
    let broker = Broker::builder(stores).build()?;

    let (done, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |event| {
        let _ = done.send(event);
        async { Ok(()) }
    };
    broker.on_workflow_complete("my.workflow", HandlerOptions::default(), listener).await?;
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let questions = move |event| {
        let _ = ask.send(event);
        async { Ok(()) }
    };
    broker.on_domained_event(questions).await?;

    let approval = Contract::new("#/human/approve", "cmd.human.approve")
        .version("1.0.0", Terms::default().emitting("evt.human.approved", Schema::any()))
        .in_domain("human.interaction");
    let order = Contract::of_orchestrator("#/orchestrators/order", "order")
        .version("1.0.0", Terms::default().emitting("arvo.orc.order.done", Schema::any()));
    let process =
        Resumable::new(order.clone()).service(approval).version("1.0.0", |wake: Wake<u64>| async move {
            Ok(match wake.state {
                None => {
                    let amount = wake.event.data()["amount"].as_u64().ok_or("no amount")?;
                    let question = Draft::new("cmd.human.approve", json!({"amount": amount}));
                    Next::to(amount).emit(question.in_domains([Domain::Contract]))
                }
                Some(amount) => {
                    Next::to(amount).done(json!({"amount": amount, "approved": wake.event.data()["yes"]}))
                }
            })
        });
    broker.register(process, HandlerOptions::default()).await?;
    broker.dispatch(order.accept("1.0.0", "my.workflow")?.data(json!({"amount": 42})).build()?).await?;

    // The process waits in the database. Whoever asks the person keeps the question and answers it some day.
    let question: CloudEvent = asked.recv().await.ok_or("the listener is gone")?;
    println!("a person is asked for {}", question.data()["amount"]);
    let answer = CloudEvent::builder("evt.human.approved", "my.workflow")
        .subject(question.subject())
        .parent_id(question.id().to_owned())
        .to(question.reply_to())
        .data(json!({"yes": true}))
        .build()?;
    broker.dispatch(answer).await?;

    let end = ended.recv().await.ok_or("the listener is gone")?;
    println!("the order of {} is approved: {}", end.data()["amount"], end.data()["approved"]);
    assert_eq!(end.data()["approved"], true);
    Ok(broker.stop().await?)
}
