//! Services: an event comes in, events go out to whoever waits for the answer. No state.

use std::{future::Future, sync::Arc};

use mainspring_core::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::{
    Call, CloudEvent, Contract, Domain, Draft, Emission, Handler, HandlerError, Reaction, Schema,
    domain::Surroundings,
    draft::{Rules, error_data},
    error::violation,
};

/// One call of a service.
#[derive(Debug, Clone)]
pub struct ServiceCall {
    /// The version of the contract the event keeps.
    pub version: String,
    /// Which run this is: 1 for the first.
    pub attempt: u32,
    /// Fires when whatever is still done does not count any more.
    pub cancel: CancellationToken,
}

type Run =
    dyn Fn(CloudEvent, ServiceCall) -> BoxFuture<'static, Result<Vec<Draft>, HandlerError>> + Send + Sync;

/// A handler without state. What it says goes to `redirectto` of the event, else to its source; subject and access control are
/// inherited, `parentid` is the event.
pub struct Service {
    contract: Contract,
    units: Option<f64>,
    run: Arc<Run>,
}

impl Service {
    /// A service that keeps `contract`. An error of `run` brings the event again, as the queue says, unless it says
    /// [something else](HandlerError).
    pub fn new<F, Fut>(contract: Contract, run: F) -> Self
    where
        F: Fn(CloudEvent, ServiceCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Draft>, HandlerError>> + Send + 'static,
    {
        Self { contract, units: None, run: Arc::new(move |event, call| Box::pin(run(event, call))) }
    }

    /// What an answer costs that says nothing. Defaults to nothing.
    #[must_use]
    pub fn execution_units(mut self, units: f64) -> Self {
        self.units = Some(units);
        self
    }

    fn complete(
        &self,
        event: &CloudEvent,
        draft: Draft,
        schema: (Schema, String),
    ) -> Result<Vec<Emission>, HandlerError> {
        let rules = Rules {
            source: self.source(),
            to: event.reply_to(),
            subject: event.subject(),
            parent_id: event.id(),
            redirect_to: None,
            execution_units: self.units,
            domains: &[Domain::Local],
            schema: Some(schema),
            around: Surroundings {
                event,
                own_contract: self.contract.domain(),
                contract: self.contract.domain(),
                process: None,
                parent: None,
            },
        };
        rules.complete(draft)
    }
}

impl Handler for Service {
    fn source(&self) -> &str {
        self.contract.accepted_type()
    }

    fn handle<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reaction, HandlerError>> {
        Box::pin(async move {
            let version = accepted(&self.contract, call.event)?;
            let asked = ServiceCall {
                version: version.to_owned(),
                attempt: call.attempt,
                cancel: call.cancel.clone(),
            };
            let drafts = (self.run)(call.event.clone(), asked).await?;
            let mut events = Vec::with_capacity(drafts.len());
            for draft in drafts {
                let schema = self.contract.schema(version, &draft.event_type);
                let schema =
                    schema.map_err(|error| HandlerError::violation(violation::CONTRACT, error.chain()))?;
                events.extend(self.complete(
                    call.event,
                    draft,
                    (schema, self.contract.data_schema(version)),
                )?);
            }
            Ok(Reaction { events, state: None })
        })
    }

    fn fail<'a>(
        &'a self,
        call: &'a Call<'a>,
        error: &'a HandlerError,
    ) -> BoxFuture<'a, Result<Option<Reaction>, HandlerError>> {
        Box::pin(async move {
            let draft = Draft::new(self.contract.error_type(), error_data(error));
            let version = self.contract.version_of(call.event).unwrap_or_default();
            let schema = (Schema::any(), self.contract.data_schema(version));
            let events = self.complete(call.event, draft, schema)?;
            Ok(Some(Reaction { events, state: None }))
        })
    }
}

/// The version of `contract` that an event keeps which it accepts.
///
/// # Errors
/// A violation: it is not of the type, the version is not known, or the data does not fit.
pub(crate) fn accepted<'c>(contract: &'c Contract, event: &CloudEvent) -> Result<&'c str, HandlerError> {
    let broken = |problem: String| HandlerError::violation(violation::CONTRACT, problem);
    if event.event_type() != contract.accepted_type() {
        let wanted = contract.accepted_type();
        return Err(broken(format!("`{}` is not `{wanted}`", event.event_type())));
    }
    let version = contract
        .version_of(event)
        .map_err(|error| HandlerError::violation(violation::CONFIG, error.chain()))?;
    let schema = contract.schema(version, event.event_type()).map_err(|error| broken(error.chain()))?;
    let mut data = event.data().clone();
    data.remove(crate::draft::PARENT_SUBJECT);
    schema.check("data", &data).map_err(|error| broken(error.chain()))?;
    Ok(version)
}
