//! Messages that wait for others.
//!
//! ```text
//! a ──► b ──► d        d may be claimed when b and c are done, and they when a is
//! └───► c ────┘
//! ```
//! What a message waits for is pushed with it or before it, so a circle can only be within one push, where it is found before
//! anything is stored.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{Error, MessageId, NewMessage, Result, limits};

/// Most messages one may wait for.
pub const MAX_PARENTS: usize = 1_000;

/// Names one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageRef {
    /// Its queue.
    pub queue: String,
    /// Its id there.
    pub id: MessageId,
}

impl From<&NewMessage> for MessageRef {
    fn from(message: &NewMessage) -> Self {
        Self { queue: message.queue.clone(), id: message.id.clone() }
    }
}

/// What it means for a message that one it waits for was given up, cancelled or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentFailure {
    /// It goes on waiting: the other may be retried. It is kept as long as a message nobody claims.
    #[default]
    Wait,
    /// It goes its way as if that one were done.
    Run,
    /// It is given up too, with the code `PARENT_FAILED`, and so are those that wait for it, as they say.
    Fail,
}

/// Checks the messages of one push, each by itself and as they stand to each other.
///
/// # Errors
/// Invalid, naming the field: a message alone is, two have the same id, one waits for itself or for more than [`MAX_PARENTS`],
/// or some wait for each other in a circle.
pub fn check_messages(messages: &[NewMessage]) -> Result<()> {
    messages.iter().try_for_each(NewMessage::check)?;
    let mut ids = HashSet::with_capacity(messages.len());
    if let Some(twice) = messages.iter().find(|message| !ids.insert(message.id.as_str())) {
        return Err(Error::invalid("message.id", format!("`{}` is there twice", twice.id)));
    }
    match messages.iter().any(|message| !message.depends_on.is_empty()) {
        true => check_circles(messages),
        false => Ok(()),
    }
}

pub(crate) fn check_parents(message: &NewMessage) -> Result<()> {
    let parents = &message.depends_on;
    if parents.len() > MAX_PARENTS {
        let problem = format!("{} messages, at most {MAX_PARENTS} are allowed", parents.len());
        return Err(Error::invalid("message.depends_on", problem));
    }
    for parent in parents {
        limits::check_name("message.depends_on.queue", &parent.queue)?;
        limits::check_id("message.depends_on.id", parent.id.as_str())?;
    }
    Ok(())
}

/// Takes away again and again what waits for nothing that is left; what cannot be taken away is a circle, or waits for one.
fn check_circles(messages: &[NewMessage]) -> Result<()> {
    let places: HashMap<(&str, &str), usize> =
        messages.iter().enumerate().map(|(n, m)| ((m.queue.as_str(), m.id.as_str()), n)).collect();
    let mut waits = vec![0_usize; messages.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); messages.len()];
    for (n, message) in messages.iter().enumerate() {
        let parents: HashSet<usize> = message
            .depends_on
            .iter()
            .filter_map(|parent| places.get(&(parent.queue.as_str(), parent.id.as_str())).copied())
            .collect();
        if let Some(count) = waits.get_mut(n) {
            *count = parents.len();
        }
        for parent in parents {
            if let Some(of_parent) = children.get_mut(parent) {
                of_parent.push(n);
            }
        }
    }
    let mut free: Vec<usize> =
        waits.iter().enumerate().filter(|(_, count)| **count == 0).map(|(n, _)| n).collect();
    while let Some(n) = free.pop() {
        for child in children.get(n).into_iter().flatten() {
            if let Some(count) = waits.get_mut(*child) {
                *count -= 1;
                if *count == 0 {
                    free.push(*child);
                }
            }
        }
    }
    match messages.iter().zip(&waits).find(|(_, count)| **count > 0) {
        None => Ok(()),
        Some((message, _)) => {
            let problem = format!(
                "message `{}` of queue `{}` waits for itself, through others or not",
                message.id, message.queue
            );
            Err(Error::invalid("message.depends_on", problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Messages `0..n` of which the first of each pair waits for the second.
    fn waiting(n: usize, edges: &[(usize, usize)]) -> Vec<NewMessage> {
        let mut messages: Vec<NewMessage> = (0..n).map(|n| NewMessage::new("q", "t", json!(n))).collect();
        for (child, parent) in edges {
            let parent = MessageRef::from(&messages[*parent]);
            messages[*child].depends_on.push(parent);
        }
        messages
    }

    #[test]
    fn a_circle_is_refused_wherever_it_is() {
        // Q33
        for edges in [
            &[(0, 0)][..],
            &[(0, 1), (1, 0)],
            &[(3, 0), (0, 1), (1, 2), (2, 0)],
            &[(0, 1), (1, 2), (2, 2), (3, 1)],
        ] {
            let error = check_messages(&waiting(4, edges)).unwrap_err();
            assert!(
                error.is_invalid() && error.to_string().contains("waits for itself"),
                "{edges:?}: {error}"
            );
        }
        for edges in [&[][..], &[(0, 1), (0, 1)], &[(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)]] {
            assert!(check_messages(&waiting(4, edges)).is_ok(), "{edges:?}");
        }
    }

    #[test]
    fn the_same_id_in_another_queue_is_another_message() {
        let mut messages = waiting(1, &[]);
        messages[0].depends_on = vec![MessageRef { queue: "other".into(), id: messages[0].id.clone() }];
        assert!(check_messages(&messages).is_ok());
    }

    #[test]
    fn a_message_waits_for_a_thousand_others_at_most() {
        let mut messages = waiting(1, &[]);
        let parent =
            |n: usize| MessageRef { queue: "q".into(), id: MessageId::new(format!("m-{n}")).unwrap() };
        messages[0].depends_on = (0..MAX_PARENTS).map(parent).collect();
        assert!(check_messages(&messages).is_ok());
        messages[0].depends_on.push(parent(MAX_PARENTS));
        assert!(check_messages(&messages).unwrap_err().is_invalid());
        messages[0].depends_on = vec![MessageRef { queue: String::new(), ..parent(1) }];
        assert!(check_messages(&messages).unwrap_err().is_invalid());
    }
}
