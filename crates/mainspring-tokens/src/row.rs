//! Between a row of `resume_tokens` and a [`ResumeToken`].

use std::time::SystemTime;

use mainspring_core::{Error, ExecutionId, Result, ResumeToken, TokenId};
use mainspring_pg::{
    Row,
    row::{get, object, time, unreadable},
};

/// `SELECT` of every column but the hash, in the order [`token_from_row`] reads them, and what follows. A pending token
/// whose time is over shows as expired. A macro, because `concat!` takes literals only.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT t.id, t.execution_id, t.step_id,
               CASE WHEN t.status = 'pending' AND t.expires_at <= (SELECT {now}()) THEN 'expired' ELSE t.status END AS status,
               t.metadata, t.created_at, t.expires_at, t.used_at
             FROM {resume_tokens} t ",
            $rest
        )
    };
}
pub(crate) use select;

pub(crate) fn token_from_row(row: &Row) -> Result<ResumeToken> {
    Ok(ResumeToken {
        id: TokenId::from_stored(get(row, 0)?),
        execution_id: ExecutionId::from_stored(get(row, 1)?),
        step_id: get(row, 2)?,
        status: get::<&str>(row, 3)?.parse().map_err(|e: Error| unreadable(row, 3).with_source(e))?,
        metadata: object(row, 4)?,
        created_at: get::<SystemTime>(row, 5)?.into(),
        expires_at: time(row, 6)?,
        used_at: time(row, 7)?,
    })
}
