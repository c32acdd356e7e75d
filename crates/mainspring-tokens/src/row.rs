//! Between a row of `resume_tokens` and a [`ResumeToken`].

use std::time::SystemTime;

use mainspring_core::{Error, ExecutionId, Result, ResumeToken, Timestamp, TokenId};
use mainspring_pg::{FromSql, Row};
use serde_json::Value;

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
        metadata: match get(row, 4)? {
            Value::Object(map) => map,
            _ => return Err(unreadable(row, 4)),
        },
        created_at: get::<SystemTime>(row, 5)?.into(),
        expires_at: time(row, 6)?,
        used_at: time(row, 7)?,
    })
}

/// One column, or an error that names it and its token.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|e| unreadable(row, index).with_source(e))
}

pub(crate) fn time(row: &Row, index: usize) -> Result<Option<Timestamp>> {
    Ok(get::<Option<SystemTime>>(row, index)?.map(Timestamp::from))
}

fn unreadable(row: &Row, index: usize) -> Error {
    let id = row.try_get::<_, &str>(0).unwrap_or("?");
    let column = row.columns().get(index).map_or("?", |column| column.name());
    Error::internal(format!("{column} of resume token `{id}` cannot be read"))
}
