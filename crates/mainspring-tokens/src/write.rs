//! Writes of many tokens in one statement: what a group commit sends.
//!
//! A single write is a batch of one, so there is one create and one consume in the whole library.

use std::collections::HashSet;

use mainspring_core::{Error, ExecutionId, NewToken, Result, TokenHash};
use mainspring_pg::{Query, Row, row::micros};
use serde_json::Value;

const CREATE: &str = include_str!("sql/create.sql");

/// Inserts all of `tokens`. An execution that does not exist fails the statement.
pub fn create_query(tokens: &[&NewToken]) -> Query {
    Query::new(CREATE)
        .bind(column(tokens, |t| t.hash.as_bytes().to_vec()))
        .bind(column(tokens, |t| t.id.to_string()))
        .bind(column(tokens, |t| t.execution_id.to_string()))
        .bind(column(tokens, |t| t.step_id.clone()))
        .bind(column(tokens, |t| Value::Object(t.metadata.clone())))
        .bind(column(tokens, |t| t.expires_in.map(micros)))
}

const CONSUME: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at)
  UPDATE {resume_tokens} t SET status = 'used', used_at = c.at
  FROM c, unnest($1::bytea[]) AS u(hash)
  WHERE t.hash = u.hash AND t.status = 'pending' AND (t.expires_at IS NULL OR t.expires_at > c.at)
  RETURNING t.hash";

/// Spends all of `hashes` that still work; [`decode_consumed`] says which. No hash may appear twice.
pub fn consume_query(hashes: &[TokenHash]) -> Query {
    let mut hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect();
    // Rows are locked in the order of the array; one order for everybody, so that two batches cannot deadlock.
    hashes.sort_unstable();
    Query::new(CONSUME).bind(hashes)
}

/// Reads the rows of [`consume_query`]: the tokens this statement spent. All others are used, revoked, expired or unknown.
///
/// # Errors
/// Internal, when the rows are not of that statement.
pub fn decode_consumed(rows: &[Row]) -> Result<HashSet<TokenHash>> {
    rows.iter()
        .map(|row| {
            let hash: &[u8] = row
                .try_get(0)
                .map_err(|e| Error::internal("hash of a consumed token cannot be read").with_source(e))?;
            TokenHash::from_bytes(hash)
        })
        .collect()
}

const REVOKE_ALL: &str = include_str!("sql/revoke_all.sql");

/// Takes back all tokens of `executions` that still work; one row for each.
pub fn revoke_all_query(executions: &[&ExecutionId]) -> Query {
    Query::new(REVOKE_ALL).bind(executions.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn column<T>(tokens: &[&NewToken], value: impl Fn(&NewToken) -> T) -> Vec<T> {
    tokens.iter().map(|token| value(token)).collect()
}
