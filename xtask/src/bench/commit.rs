//! `commit.single`, `commit.group`: one commit changes one execution and adds one event to its history.

use std::{error::Error, sync::atomic::Ordering, time::Instant};

use mainspring::{
    Backend, Changes, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, NewEvent, PgStores,
};

use super::{
    floor::payload,
    load::{Load, Rate},
};

pub async fn changes(stores: &PgStores<'static>, width: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
    load.run(width, |n, stop, done| {
        let stores = stores.clone();
        async move {
            let mut execution = Execution::new(ExecutionId::generate(), "bench", "1.0.0", "step");
            execution.status = ExecutionStatus::Running;
            let mut write = ExecutionWrite::create(execution, Vec::new());
            while Instant::now() < stop {
                let changes = Changes { executions: vec![write.clone()], ..Changes::default() };
                let at = stores.commit(changes).await?.at;
                let event = NewEvent::new("step.completed", payload(n));
                write = ExecutionWrite::update(write.applied(at), vec![event]);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}
