//! Where a token stands among the waits of its execution.
//!
//! A token belongs to one wait: the one that was open when it was made, else the first one of its step that ended later. So a
//! late answer to an earlier question can never answer the present one.

use mainspring_core::{
    Execution, ExecutionStatus, NewEvent, Result, ResumeToken, Timestamp,
    event::{EXECUTIONS, kind},
};
use serde_json::Value;

use crate::engine::Inner;

const PAGE: u32 = 500;

/// Where the wait of a token is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The execution waits in it.
    Here,
    /// It has not begun.
    Ahead,
    /// It ended by itself.
    Over,
    /// Someone else resumed it.
    Resumed,
}

/// An event that begins or ends a wait.
struct Mark {
    at: Timestamp,
    what: What,
}

enum What {
    Begins { its_own: bool },
    Ends { timer: bool },
}

#[derive(Clone, Copy)]
struct Open {
    its_own: bool,
    since: Timestamp,
}

impl Inner {
    /// Finds the wait of `token` in the history of `execution`.
    pub(crate) async fn place(&self, execution: &Execution, token: &ResumeToken) -> Result<Place> {
        let flow = self.flows.get(&*self.backend, &execution.flow_id, &execution.flow_version).await?;
        // A token for a step that is none is for whatever wait there is.
        let any = flow.is_none_or(|flow| !flow.steps.contains_key(&token.step_id));
        let its_own = |event: &NewEvent| any || event.subject.as_ref() == Some(&token.step_id);
        let marks = self.marks(execution, token.created_at, its_own).await?;
        let waits = execution.status == ExecutionStatus::Waiting;
        Ok(place_among(marks.as_deref(), token.created_at, waits))
    }

    /// The beginnings and ends of waits since `since`, and the last one before. `None` when there is no history any more.
    ///
    /// It is read from its end, so that a resume costs the same however much lies behind.
    async fn marks(
        &self,
        execution: &Execution,
        since: Timestamp,
        its_own: impl Fn(&NewEvent) -> bool,
    ) -> Result<Option<Vec<Mark>>> {
        let (stream, events) = (execution.stream(), self.backend.events());
        let (mut marks, mut seen) = (Vec::new(), false);
        // Not beyond what is known of the execution: the answer must be of one moment.
        let mut end = execution.position;
        while end >= 1 {
            let from = (end - i64::from(PAGE) + 1).max(1);
            let page = self
                .patiently(|| events.read_stream(EXECUTIONS, &execution.tenant, &stream, from, PAGE))
                .await?;
            let page = page.iter().take_while(|recorded| recorded.position <= end);
            let here: Vec<Mark> = page
                .inspect(|_| seen = true)
                .filter_map(|recorded| Mark::of(&recorded.event, recorded.created_at, &its_own))
                .collect();
            marks.splice(0..0, here);
            if marks.first().is_some_and(|mark| mark.at < since) {
                break;
            }
            end = from - 1;
        }
        Ok(seen.then_some(marks))
    }
}

/// The wait of a token that was made at `made`; `waits` is whether the execution is in a wait now.
fn place_among(marks: Option<&[Mark]>, made: Timestamp, waits: bool) -> Place {
    let mut open: Option<Open> = None;
    for mark in marks.unwrap_or_default() {
        match mark.what {
            What::Begins { its_own } => open = Some(Open { its_own, since: mark.at }),
            What::Ends { timer } => {
                if let Some(wait) = open.take()
                    && (wait.its_own && mark.at >= made || (wait.since..mark.at).contains(&made))
                {
                    return if timer { Place::Over } else { Place::Resumed };
                }
            }
        }
    }
    match open.filter(|wait| wait.its_own || made >= wait.since) {
        Some(_) if waits => Place::Here,
        // Its timer has fired and the step after it is under way.
        Some(_) => Place::Over,
        None if waits && marks.is_none() => Place::Here, // its history was deleted
        None => Place::Ahead,
    }
}

impl Mark {
    fn of(event: &NewEvent, at: Timestamp, its_own: impl Fn(&NewEvent) -> bool) -> Option<Self> {
        let what = match event.event_type.as_str() {
            kind::STEP_WAITING => What::Begins { its_own: its_own(event) },
            kind::EXECUTION_RESUMED => {
                let timer = event.data.get("reason").and_then(Value::as_str) == Some("timer");
                What::Ends { timer }
            }
            _ => return None,
        };
        Some(Self { at, what })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KINDS: [fn() -> What; 4] = [
        || What::Begins { its_own: true },
        || What::Begins { its_own: false },
        || What::Ends { timer: true },
        || What::Ends { timer: false },
    ];

    /// The history with this number, one mark a second.
    fn history(mut number: usize, length: u64) -> Vec<Mark> {
        let mut marks = Vec::new();
        for second in 0..length {
            let at = Timestamp::from(std::time::UNIX_EPOCH) + Duration::from_secs(second);
            marks.push(Mark { at, what: KINDS[number % KINDS.len()]() });
            number /= KINDS.len();
        }
        marks
    }

    #[test]
    fn what_lies_before_the_last_mark_before_a_token_does_not_matter() {
        // fault F55: so a history is read from its end, and no further than that
        for length in 1..=6 {
            for number in 0..KINDS.len().pow(length) {
                let marks = history(number, u64::from(length));
                for after in 0..marks.len() {
                    let made = marks[after].at + Duration::from_millis(500);
                    for waits in [false, true] {
                        let all = place_among(Some(&marks), made, waits);
                        let tail = place_among(Some(&marks[after..]), made, waits);
                        assert_eq!(all, tail, "{number} of {length}, after {after}");
                    }
                }
            }
        }
        assert_eq!(place_among(None, history(0, 1)[0].at, true), Place::Here, "its history was deleted");
        assert_eq!(place_among(Some(&[]), history(0, 1)[0].at, true), Place::Ahead);
    }
}
