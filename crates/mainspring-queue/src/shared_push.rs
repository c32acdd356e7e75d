//! Pushes of many tasks at the same time in one statement and one commit.

use mainspring_core::{NewMessage, Result};
use mainspring_pg::Batch;

use crate::PgQueue;

/// A push of more messages than this gains nothing by company.
pub(crate) const LARGE: usize = 100;

/// Pushes of messages that were checked, each all or nothing.
pub(crate) struct Pushes(pub(crate) PgQueue<'static>);

impl Batch for Pushes {
    type Wish = Vec<NewMessage>;
    type Answer = ();
    const MOST: usize = 1_000;

    fn weight(messages: &Vec<NewMessage>) -> usize {
        messages.len()
    }

    async fn run(&self, pushes: &[Vec<NewMessage>]) -> Result<Vec<()>> {
        let all: Vec<NewMessage> = pushes.concat();
        self.0.push_all(&all).await?;
        Ok(vec![(); pushes.len()])
    }
}
