//! Events: the one write, and the log of a run.

use mainspring_core::{
    Direction, EventQuery, ExecutionId, NewMessage, RecordedEvent, Result, StreamQuery, event::EXECUTIONS,
    nul,
};

use super::{
    Created, Storage, event_id,
    known::{history, late_stream},
    plan::Ask,
};
use crate::{Event, EventType, Order, Page, Paging, Resolve, RunEvent, new_run_id};

const SIZE: u32 = 100;
/// Events of one look.
const LOOK: u32 = 1_000;

/// The events of runs; see [`Storage::events`].
#[derive(Debug, Clone, Copy)]
pub struct Events<'s>(pub(super) &'s Storage);

/// Where a page of a run's log ended: whether among the late events, and at which position.
type Place = (bool, i64);

impl Events<'_> {
    /// Lets something happen to a run: checks that it may, and makes the event and what it means durable in one commit.
    /// Without `run_id` the run gets one, which only the event that creates it can do without.
    ///
    /// # Errors
    /// Not found (404): the run, step, hook or wait. Conflict (409): it exists, or is over. Expired (410): the run is over and
    /// this came too late. [Too early](mainspring_core::Error::is_too_early) (425): the step's time has not come. Invalid: the
    /// event, an id out of its time, or a run of other rules. After any of these nothing was changed.
    pub async fn create(&self, run_id: Option<&ExecutionId>, event: impl Into<RunEvent>) -> Result<Created> {
        self.create_with(run_id, event, Vec::new()).await
    }

    /// The same, and pushes `messages` in the same commit; none of them when there was nothing to do.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_with(
        &self,
        run_id: Option<&ExecutionId>,
        event: impl Into<RunEvent>,
        messages: Vec<NewMessage>,
    ) -> Result<Created> {
        let event = event.into();
        event.check()?;
        messages.iter().try_for_each(NewMessage::check)?;
        let id = match run_id {
            Some(id) => id.clone(),
            None if event.fact.event_type() == EventType::RunCreated => new_run_id(self.0.backend().now()),
            None => {
                let problem = format!("is required for `{}`", event.fact.event_type());
                return Err(mainspring_core::Error::invalid("runId", problem));
            }
        };
        self.0.lanes.ask(&id, Ask { event, messages, settle: None }).await
    }

    /// The log of a run, the oldest event first unless the paging says otherwise.
    ///
    /// # Errors
    /// Not found; invalid for a page that cannot be.
    pub async fn list(&self, run_id: &ExecutionId, paging: &Paging, resolve: Resolve) -> Result<Page<Event>> {
        let size = paging.size(SIZE)?;
        let after = paging.cursor_as(place)?;
        let backward = paging.order == Some(Order::Descending);
        let backend = self.0.backend();
        let row = backend.executions().get(run_id).await?;
        let row = row.ok_or_else(|| mainspring_core::Error::not_found("run", run_id))?;
        let mut found: Vec<(Place, Event)> = Vec::new();
        for late in if backward { [true, false] } else { [false, true] } {
            let stream = if late { late_stream(&row) } else { history(&row) };
            let mut from = match after {
                Some((at_late, position)) if at_late == late => Some(position),
                // The page before went beyond this part.
                Some((at_late, _)) if at_late != backward => continue,
                _ => None,
            };
            while found.len() <= size {
                let mut query = StreamQuery { limit: LOOK, ..StreamQuery::of(&stream) };
                if backward {
                    query.direction = Direction::Backward;
                    query.to = from.map(|position| position - 1);
                } else {
                    query.from = from.map(|position| position + 1);
                }
                let page = backend.events().read_page(query).await?.events;
                from = page.last().map(|event| event.position);
                let full = page.len() >= LOOK as usize;
                let shown =
                    page.into_iter().filter_map(|event| Some(((late, event.position), shown(event)?)));
                found.extend(shown);
                if !full {
                    break;
                }
            }
        }
        let page = Page::of(found, size, |((late, position), _)| cursor((*late, *position)));
        Ok(Page {
            data: page.data.into_iter().map(|(_, event)| resolved(event, resolve)).collect(),
            cursor: page.cursor,
            has_more: page.has_more,
        })
    }

    /// The events of one correlation id, in all runs that have it, in the order of the database.
    ///
    /// # Errors
    /// Invalid for a page that cannot be.
    pub async fn list_by_correlation_id(
        &self,
        correlation_id: &str,
        paging: &Paging,
        resolve: Resolve,
    ) -> Result<Page<Event>> {
        let size = paging.size(SIZE)?;
        let after = paging.cursor_as(|text| text.parse::<i64>().ok())?;
        let backward = paging.order == Some(Order::Descending);
        let mut found: Vec<(i64, Event)> = Vec::new();
        let mut from = after.filter(|_| !backward);
        let before = after.filter(|_| backward).map(|position| position - 1);
        loop {
            let query = EventQuery {
                correlation_id: Some(correlation_id.to_owned()),
                after_position: from,
                up_to_position: before,
                limit: Some(LOOK),
                ..EventQuery::default()
            };
            let page = self.0.backend().events().query(query).await?;
            from = page.last().map(|event| event.global_position);
            let full = page.len() >= LOOK as usize;
            let shown = page.into_iter().filter_map(|event| Some((event.global_position, shown(event)?)));
            found.extend(shown);
            if !full || (!backward && found.len() > size) {
                break;
            }
        }
        if backward {
            found.reverse();
        }
        let page = Page::of(found, size, |(position, _)| position.to_string());
        Ok(Page {
            data: page.data.into_iter().map(|(_, event)| resolved(event, resolve)).collect(),
            cursor: page.cursor,
            has_more: page.has_more,
        })
    }
}

fn cursor((late, position): Place) -> String {
    format!("{}{position}", if late { 'x' } else { 'p' })
}

fn place(text: &str) -> Option<Place> {
    let late = match text.get(..1)? {
        "x" => true,
        "p" => false,
        _ => return None,
    };
    Some((late, text.get(1..)?.parse().ok()?))
}

/// The event as the World shows it; `None` for what it does not show.
fn shown(recorded: RecordedEvent) -> Option<Event> {
    let event_type = EventType::of_log(&recorded.event.event_type)?;
    let run_id = recorded.stream.strip_prefix("execution-")?;
    let run_id = ExecutionId::from_stored(run_id.to_owned());
    let late = recorded.partition != EXECUTIONS;
    Some(Event {
        event_id: event_id(&run_id, late, recorded.position),
        run_id,
        event_type,
        correlation_id: recorded.event.subject,
        event_data: Some(nul::unescape(recorded.event.data)),
        created_at: recorded.created_at,
    })
}

fn resolved(mut event: Event, resolve: Resolve) -> Event {
    if resolve == Resolve::None {
        event.event_data = None;
    }
    event
}

/// The runs in which something of this correlation id happened, the oldest first.
pub(super) async fn runs_of(storage: &Storage, correlation_id: &str) -> Result<Vec<ExecutionId>> {
    let query = EventQuery {
        correlation_id: Some(correlation_id.to_owned()),
        limit: Some(LOOK),
        ..EventQuery::default()
    };
    let mut runs: Vec<ExecutionId> = Vec::new();
    for recorded in storage.backend().events().query(query).await? {
        let id = recorded.stream.strip_prefix("execution-").map(|id| ExecutionId::from_stored(id.to_owned()));
        runs.extend(id.filter(|id| !runs.contains(id)));
    }
    Ok(runs)
}
