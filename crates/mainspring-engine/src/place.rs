//! Where a token stands among the waits of its execution.
//!
//! A token belongs to one wait: the one that was open when it was made, else the first one of its step that ended later. So a
//! late answer to an earlier question can never answer the present one.

use mainspring_core::{
    Execution, ExecutionStatus, Result, ResumeToken, Timestamp,
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
        let (stream, mut from, mut open) = (execution.stream(), 1, None);
        while from <= execution.position {
            let events = self.backend.events();
            let page = self
                .patiently(|| events.read_stream(EXECUTIONS, &execution.tenant, &stream, from, PAGE))
                .await?;
            // Not beyond what is known of the execution: the answer must be of one moment.
            let page: Vec<_> = page.into_iter().filter(|e| e.position <= execution.position).collect();
            let Some(last) = page.last() else { break };
            from = last.position + 1;
            for recorded in &page {
                let (event, at) = (&recorded.event, recorded.created_at);
                match event.event_type.as_str() {
                    kind::STEP_WAITING => {
                        let its_own = any || event.subject.as_ref() == Some(&token.step_id);
                        open = Some(Open { its_own, since: at });
                    }
                    kind::EXECUTION_RESUMED => {
                        if let Some(wait) = open.take()
                            && (wait.its_own && at >= token.created_at
                                || (wait.since..at).contains(&token.created_at))
                        {
                            let timer = event.data.get("reason").and_then(Value::as_str) == Some("timer");
                            return Ok(if timer { Place::Over } else { Place::Resumed });
                        }
                    }
                    _ => {}
                }
            }
        }
        let waits = execution.status == ExecutionStatus::Waiting;
        Ok(match open {
            Some(wait) if wait.is_of(token) && waits => Place::Here,
            // Its timer has fired and the step after it is under way.
            Some(wait) if wait.is_of(token) => Place::Over,
            None if waits && from == 1 => Place::Here, // its history was deleted
            _ => Place::Ahead,
        })
    }
}

impl Open {
    fn is_of(&self, token: &ResumeToken) -> bool {
        self.its_own || token.created_at >= self.since
    }
}
