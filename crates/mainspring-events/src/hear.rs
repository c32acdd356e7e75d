//! Workflows driven by events: load the own stream, decide on what came in.

use mainspring_core::{Changes, EventStore, EventWorkflow, Incoming, event_workflow::Instance};

use crate::{
    command::CommandError,
    fold::{Folded, Read},
};

pub(crate) async fn hear<W: EventWorkflow>(
    store: &(impl EventStore + ?Sized),
    workflow: &W,
    incoming: Incoming,
) -> Result<Option<Changes>, CommandError<W::Error>> {
    let Some(instance) = Instance::of(workflow, incoming)? else { return Ok(None) };
    let read = Read::new(store, instance.stream().clone());
    let Folded { state: instance, position } =
        read.try_fold(instance, |instance, event| instance.take(&event.event)).await?;
    if instance.has_heard() {
        return Ok(None);
    }
    let changes = instance.decide(position).map_err(CommandError::Refused)?;
    Ok(Some(changes?))
}
