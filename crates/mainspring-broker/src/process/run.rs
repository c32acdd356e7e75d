//! One event of a process: what is ignored, what the code says, and what follows from it.

use mainspring_core::{Execution, Result as CoreResult};
use serde_json::Value;

use super::{
    Process, Step,
    logic::{Logic, Wake},
    record::{Record, write},
};
use crate::{
    Call, CloudEvent, Contract, Domain, Draft, Emission, HandlerError, Reaction, Schema, Subject,
    domain::Surroundings,
    draft::{PARENT_SUBJECT, Rules, error_data},
    error::violation,
    sending::process_id,
    service::accepted,
};

/// An event and the process it is for.
struct Standing {
    subject: Subject,
    row: Option<Execution>,
    parent: Option<Execution>,
    record: Record,
}

impl Process {
    pub(super) async fn handle(&self, call: &Call<'_>) -> Result<Reaction, HandlerError> {
        let event = call.event;
        let subject = Subject::parse(event.subject())
            .map_err(|error| HandlerError::violation(violation::INVALID_SUBJECT, error.chain()))?;
        if subject.orchestrator.name != self.contract.accepted_type() {
            return Ok(ignored(call, "it is for a process of another handler"));
        }
        let logic = self.logic(&subject)?;
        let Some(mut standing) = self.stand(call, subject).await? else { return Ok(Reaction::default()) };
        self.check(event)?;
        standing.record.collect(event);
        let wake = Wake {
            state: standing.row.is_some().then(|| standing.record.state.take()),
            event: event.clone(),
            collected: standing.record.collected(),
            attempt: call.attempt,
            cancel: call.cancel.clone(),
        };
        let step = logic.step(wake).await?;
        self.follow(call, standing, step)
    }

    fn logic(&self, subject: &Subject) -> Result<&dyn Logic, HandlerError> {
        let version = &subject.orchestrator.version;
        let logic = self.versions.get(version).map(|logic| &**logic);
        logic.ok_or_else(|| {
            let handler = self.contract.accepted_type();
            HandlerError::violation(violation::CONFIG, format!("`{handler}` has no version {version} here"))
        })
    }

    /// The process as it is; `None` when the event changes nothing of it.
    async fn stand(&self, call: &Call<'_>, subject: Subject) -> Result<Option<Standing>, HandlerError> {
        let event = call.event;
        let row = read(call, event.subject()).await?;
        let begins = event.event_type() == self.contract.accepted_type();
        let record = match &row {
            Some(row) if row.status.is_terminal() => {
                ignored(call, "the process is over");
                return Ok(None);
            }
            Some(_) if begins => {
                ignored(call, "the process has begun");
                return Ok(None);
            }
            None if !begins => {
                ignored(call, "the process has not begun");
                return Ok(None);
            }
            Some(row) => Record::of(row)?,
            None => Record::begun_by(event),
        };
        let mut parent = None;
        if let (None, Some(of)) = (&row, &record.parent_subject) {
            parent = read(call, of).await?;
            if parent.is_none() {
                let problem = "the process that began this one is not there";
                return Err(HandlerError::violation(violation::EXECUTION, problem));
            }
        }
        Ok(Some(Standing { subject, row, parent, record }))
    }

    /// Whether what comes in keeps the contract of who says it.
    fn check(&self, event: &CloudEvent) -> Result<(), HandlerError> {
        if event.event_type() == self.contract.accepted_type() {
            return accepted(&self.contract, event).map(drop);
        }
        let spoken = |contract: &&Contract| {
            let version = contract.version_of(event);
            version.is_ok_and(|version| contract.schema(version, event.event_type()).is_ok())
        };
        if self.services.is_empty() {
            return Ok(());
        }
        let unfit = |problem: String| HandlerError::violation(violation::CONTRACT, problem);
        let Some(contract) = self.services.iter().find(spoken) else {
            return Err(unfit(format!("no service says `{}`", event.event_type())));
        };
        let schema = contract
            .version_of(event)
            .and_then(|version| contract.schema(version, event.event_type()))
            .map_err(|error| unfit(error.chain()))?;
        schema.check("data", event.data()).map_err(|error| unfit(error.chain()))
    }

    /// What follows from a step: events, and where the process is then.
    fn follow(&self, call: &Call<'_>, standing: Standing, step: Step) -> Result<Reaction, HandlerError> {
        let Standing { subject, row, parent, mut record } = standing;
        let parent_subject = record.parent_subject.as_deref().and_then(|text| Subject::parse(text).ok());
        let mut events = Vec::new();
        for draft in step.drafts {
            events.extend(self.say(call.event, &subject, parent_subject.as_ref(), draft)?);
        }
        record.state = step.state;
        record.expect(events.iter().map(|emission: &Emission| emission.event.id().to_owned()));
        if let Some(output) = step.output {
            record.finish();
            let draft = Draft { data: output, ..Draft::new(self.contract.done_type(), Value::Null) };
            let version = &subject.orchestrator.version;
            let schema = self.contract.schema(version, &draft.event_type);
            let schema =
                schema.map_err(|error| HandlerError::violation(violation::CONTRACT, error.chain()))?;
            let schema = (schema, self.contract.data_schema(version));
            let to = subject.answers_to();
            events.extend(self.tell(
                call.event,
                &subject,
                &record,
                draft,
                to,
                &[Domain::Orchestration],
                schema,
            )?);
        }
        let said: Vec<String> = events.iter().map(|emission| emission.event.id().to_owned()).collect();
        let state = write(row, parent, &subject, &record, call.event, &said);
        Ok(Reaction { events, state: Some(state) })
    }

    /// Something for a service, or for a process of another handler.
    fn say(
        &self,
        event: &CloudEvent,
        subject: &Subject,
        parent: Option<&Subject>,
        mut draft: Draft,
    ) -> Result<Vec<Emission>, HandlerError> {
        let broken = |code: &str, problem: String| HandlerError::violation(code, problem);
        let service = self.services.iter().find(|service| service.accepted_type() == draft.event_type);
        if service.is_none() && !self.services.is_empty() {
            return Err(broken(violation::EXECUTION, format!("no service accepts `{}`", draft.event_type)));
        }
        let version = match (service, &draft.version) {
            (_, Some(version)) => Some(version.clone()),
            (Some(service), None) => service.latest().map(str::to_owned),
            (None, None) => None,
        };
        let schema = match (service, &version) {
            (Some(service), Some(version)) => {
                let schema = service.schema(version, &draft.event_type);
                let schema = schema.map_err(|error| broken(violation::CONFIG, error.chain()))?;
                Some((schema, service.data_schema(version)))
            }
            _ => None,
        };
        let mut of = event.subject().to_owned();
        if begins_process(&draft.event_type) {
            let version = version.unwrap_or_else(|| FIRST_VERSION.to_owned());
            if let Ok(data) = &mut draft.data {
                data.insert(PARENT_SUBJECT.to_owned(), Value::String(of));
            }
            of = child_subject(subject, &draft.event_type, version)
                .map_err(|error| broken(violation::EXECUTION, error.chain()))?;
        }
        let to = draft.event_type.clone();
        let rules = Rules {
            source: self.contract.accepted_type(),
            to: &to,
            subject: &of,
            parent_id: event.id(),
            redirect_to: Some(self.contract.accepted_type()),
            execution_units: self.units,
            domains: &[Domain::Local],
            schema,
            around: Surroundings {
                event,
                own_contract: self.contract.domain(),
                contract: service.and_then(Contract::domain),
                process: Some(subject),
                parent,
            },
        };
        rules.complete(draft)
    }

    /// The end of the process, to whoever began it.
    #[allow(clippy::too_many_arguments, reason = "what an end is made of")]
    fn tell(
        &self,
        event: &CloudEvent,
        subject: &Subject,
        record: &Record,
        draft: Draft,
        to: &str,
        domains: &[Domain],
        schema: (Schema, String),
    ) -> Result<Vec<Emission>, HandlerError> {
        let parent = record.parent_subject.as_deref().and_then(|text| Subject::parse(text).ok());
        let rules = Rules {
            source: self.contract.accepted_type(),
            to,
            subject: record.parent_subject.as_deref().unwrap_or(&record.subject),
            parent_id: &record.init_event_id,
            redirect_to: None,
            execution_units: self.units,
            domains,
            schema: Some(schema),
            around: Surroundings {
                event,
                own_contract: self.contract.domain(),
                contract: self.contract.domain(),
                process: Some(subject),
                parent: parent.as_ref(),
            },
        };
        rules.complete(draft)
    }

    /// The process has failed, and whoever began it is told.
    pub(super) async fn fail(
        &self,
        call: &Call<'_>,
        error: &HandlerError,
    ) -> Result<Option<Reaction>, HandlerError> {
        let Ok(subject) = Subject::parse(call.event.subject()) else { return Ok(None) };
        let Some(mut standing) = self.stand(call, subject).await? else {
            return Ok(Some(Reaction::default()));
        };
        standing.record.failed(error.failure());
        let Standing { subject, row, parent, record } = standing;
        let events = self.told(call, &subject, &record, error)?;
        let said: Vec<String> = events.iter().map(|emission| emission.event.id().to_owned()).collect();
        let state = write(row, parent, &subject, &record, call.event, &said);
        Ok(Some(Reaction { events, state: Some(state) }))
    }

    /// A violation leaves the process as it is, for when it is mended; but who began one that never could begin is told.
    pub(super) async fn give_up(
        &self,
        call: &Call<'_>,
        error: &HandlerError,
    ) -> Result<Option<Reaction>, HandlerError> {
        if !error.is_violation() {
            return self.fail(call, error).await;
        }
        let (event, own) = (call.event, self.contract.accepted_type());
        let Ok(subject) = Subject::parse(event.subject()) else { return Ok(None) };
        let begins = event.event_type() == own && subject.orchestrator.name == own;
        if !begins || read(call, event.subject()).await?.is_some() {
            return Ok(None);
        }
        let events = self.told(call, &subject, &Record::begun_by(event), error)?;
        Ok(Some(Reaction { events, state: None }))
    }

    /// The error, to whoever began the process.
    fn told(
        &self,
        call: &Call<'_>,
        subject: &Subject,
        record: &Record,
        error: &HandlerError,
    ) -> Result<Vec<Emission>, HandlerError> {
        let draft = Draft::new(self.contract.error_type(), error_data(error));
        let schema = (Schema::any(), self.contract.data_schema(&subject.orchestrator.version));
        let to = &subject.execution.initiator;
        self.tell(call.event, subject, record, draft, to, &self.error_domains, schema)
    }
}

/// The version of a process whose contract is not known here.
const FIRST_VERSION: &str = "1.0.0";

/// Whether an event of this type begins a process of an orchestrator or resumable.
fn begins_process(event_type: &str) -> bool {
    event_type.starts_with("arvo.orc.") && !event_type.ends_with(".done")
}

fn child_subject(subject: &Subject, handler: &str, version: String) -> CoreResult<String> {
    subject.child(handler, version)?.encode()
}

async fn read(call: &Call<'_>, subject: &str) -> Result<Option<Execution>, HandlerError> {
    let row = call.backend.executions().get(&process_id(subject)).await;
    row.map_err(|error| HandlerError::of_database("READ_MACHINE_MEMORY_FAILURE", &error))
}

fn ignored(call: &Call<'_>, why: &str) -> Reaction {
    tracing::debug!(event = call.event.id(), why, "an event is ignored");
    Reaction::default()
}
