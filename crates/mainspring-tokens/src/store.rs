//! The store: one method, one statement.

use std::time::SystemTime;

use mainspring_core::{
    BoxFuture, Error, ExecutionId, NewToken, Result, ResumeToken, TokenOptions, TokenSecret, TokenStatus,
    TokenStore,
};
use mainspring_pg::{
    Db, Query, TxRef, constraint,
    row::{get, time},
};

use crate::{
    row::{select, token_from_row},
    write::{consume_query, create_query, revoke_all_query},
};

/// Resume tokens on Postgres; see the crate.
#[derive(Clone)]
pub struct PgTokenStore<'t> {
    db: Db<'t>,
}

impl<'t> PgTokenStore<'t> {
    /// The store on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// The same store, standing on your transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgTokenStore<'u> {
        PgTokenStore { db: self.db.on(tx) }
    }

    async fn create_one(&self, token: NewToken) -> Result<ResumeToken> {
        token.check()?;
        let rows = self.db.run(create_query(&[&token])).await.map_err(|error| refusal(error, &token))?;
        let row =
            rows.first().ok_or_else(|| Error::internal(format!("token `{}` was not stored", token.id)))?;
        Ok(ResumeToken {
            created_at: get::<SystemTime>(row, 1)?.into(),
            expires_at: time(row, 2)?,
            id: token.id,
            execution_id: token.execution_id,
            step_id: token.step_id,
            status: TokenStatus::Pending,
            metadata: token.metadata,
            used_at: None,
        })
    }
}

fn refusal(error: Error, token: &NewToken) -> Error {
    if constraint(&error).is_some_and(|name| name.ends_with("tokens_execution")) {
        return Error::not_found("execution", &token.execution_id).with_source(error);
    }
    error
}

const GET: &str = select!("WHERE t.hash = $1");

const REVOKE: &str = "UPDATE {resume_tokens} SET status = 'revoked'
  WHERE hash = $1 AND status = 'pending' AND (expires_at IS NULL OR expires_at > (SELECT {now}()))";

const GET_BY_EXECUTION: &str = select!("WHERE t.execution_id = $1 ORDER BY t.created_at, t.id");

const CLEANUP_EXPIRED: &str = "WITH expired AS MATERIALIZED (
    SELECT hash FROM {resume_tokens} WHERE status = 'pending' AND expires_at <= (SELECT {now}())
    ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
  UPDATE {resume_tokens} t SET status = 'expired' FROM expired WHERE t.hash = expired.hash";

impl TokenStore for PgTokenStore<'_> {
    fn generate<'a>(
        &'a self,
        execution: &'a ExecutionId,
        step_id: &'a str,
        options: TokenOptions,
    ) -> BoxFuture<'a, Result<(TokenSecret, ResumeToken)>> {
        Box::pin(async move {
            let (secret, token) = NewToken::generate(execution.clone(), step_id, options)?;
            Ok((secret, self.create_one(token).await?))
        })
    }

    fn get<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<Option<ResumeToken>>> {
        Box::pin(async move {
            let row = self.db.opt(GET, &[&secret.hash().as_bytes()]).await?;
            row.as_ref().map(token_from_row).transpose()
        })
    }

    fn mark_used<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(!self.db.run(consume_query(&[secret.hash()])).await?.is_empty()) })
    }

    fn revoke<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.db.exec(REVOKE, &[&secret.hash().as_bytes()]).await? == 1) })
    }

    fn revoke_all<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { Ok(self.db.run(revoke_all_query(&[execution])).await?.len() as u64) })
    }

    fn get_by_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<ResumeToken>>> {
        Box::pin(async move {
            let query = Query::new(GET_BY_EXECUTION).bind(execution.to_string());
            self.db.run(query).await?.iter().map(token_from_row).collect()
        })
    }

    fn cleanup_expired(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { self.db.exec(CLEANUP_EXPIRED, &[]).await })
    }
}
