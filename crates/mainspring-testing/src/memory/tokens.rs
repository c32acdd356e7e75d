//! Resume tokens in memory.

use std::collections::HashMap;

use mainspring_core::{
    BoxFuture, Changes, ExecutionId, NewToken, Result, ResumeToken, Timestamp, TokenHash, TokenOptions,
    TokenSecret, TokenStatus, TokenStore, TokenWrite,
};

use super::{MemoryBackend, commit};

/// Most tokens one `cleanup_expired` marks.
const BATCH: usize = 1_000;

#[derive(Default)]
pub(super) struct Tokens {
    rows: HashMap<TokenHash, ResumeToken>,
}

impl Tokens {
    pub(super) fn get(&self, hash: &TokenHash) -> Option<&ResumeToken> {
        self.rows.get(hash)
    }

    pub(super) fn works(&self, hash: &TokenHash, at: Timestamp) -> bool {
        self.get(hash).is_some_and(|token| works(token, at))
    }

    pub(super) fn clear(&mut self, execution: &ExecutionId) {
        self.rows.retain(|_, token| token.execution_id != *execution);
    }

    /// Applies a checked write.
    pub(super) fn apply(&mut self, write: TokenWrite, at: Timestamp) {
        match write {
            TokenWrite::Create(token) => self.insert(*token, at),
            TokenWrite::Consume(hash) => {
                self.spend(&hash, at);
            }
            TokenWrite::RevokeAll(execution) => {
                self.revoke_all(&execution, at);
            }
        }
    }

    fn insert(&mut self, token: NewToken, at: Timestamp) {
        let row = ResumeToken {
            id: token.id,
            execution_id: token.execution_id,
            step_id: token.step_id,
            status: TokenStatus::Pending,
            metadata: token.metadata,
            created_at: at,
            expires_at: token.expires_in.map(|after| at + after),
            used_at: None,
        };
        self.rows.insert(token.hash, row);
    }

    fn spend(&mut self, hash: &TokenHash, at: Timestamp) -> bool {
        let Some(token) = self.rows.get_mut(hash).filter(|token| works(token, at)) else { return false };
        token.status = TokenStatus::Used;
        token.used_at = Some(at);
        true
    }

    fn revoke(&mut self, hash: &TokenHash, at: Timestamp) -> bool {
        let Some(token) = self.rows.get_mut(hash).filter(|token| works(token, at)) else { return false };
        token.status = TokenStatus::Revoked;
        true
    }

    fn revoke_all(&mut self, execution: &ExecutionId, at: Timestamp) -> u64 {
        self.mark(TokenStatus::Revoked, usize::MAX, |token| {
            token.execution_id == *execution && works(token, at)
        })
    }

    fn expire(&mut self, at: Timestamp) -> u64 {
        self.mark(TokenStatus::Expired, BATCH, |token| {
            token.status == TokenStatus::Pending && !works(token, at)
        })
    }

    fn mark(&mut self, status: TokenStatus, limit: usize, which: impl Fn(&ResumeToken) -> bool) -> u64 {
        let mut marked = 0;
        for token in self.rows.values_mut().filter(|token| which(token)).take(limit) {
            token.status = status;
            marked += 1;
        }
        marked
    }
}

fn works(token: &ResumeToken, at: Timestamp) -> bool {
    token.status == TokenStatus::Pending && token.expires_at.is_none_or(|end| end > at)
}

/// As it shows at this time.
fn shown(token: &ResumeToken, at: Timestamp) -> ResumeToken {
    let mut token = token.clone();
    if token.status == TokenStatus::Pending && !works(&token, at) {
        token.status = TokenStatus::Expired;
    }
    token
}

impl TokenStore for MemoryBackend {
    fn generate<'a>(
        &'a self,
        execution: &'a ExecutionId,
        step_id: &'a str,
        options: TokenOptions,
    ) -> BoxFuture<'a, Result<(TokenSecret, ResumeToken)>> {
        self.run(move |state, at| {
            let (secret, token) = NewToken::generate(execution.clone(), step_id, options)?;
            let changes = Changes { tokens: vec![TokenWrite::Create(Box::new(token))], ..Changes::default() };
            commit::commit(state, changes, at)?;
            let stored = state.tokens.get(&secret.hash()).cloned();
            let stored = stored.ok_or_else(|| mainspring_core::Error::internal("token was not stored"))?;
            Ok((secret, stored))
        })
    }

    fn get<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<Option<ResumeToken>>> {
        self.run(move |state, at| Ok(state.tokens.get(&secret.hash()).map(|token| shown(token, at))))
    }

    fn mark_used<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| Ok(state.tokens.spend(&secret.hash(), at)))
    }

    fn revoke<'a>(&'a self, secret: &'a TokenSecret) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| Ok(state.tokens.revoke(&secret.hash(), at)))
    }

    fn revoke_all<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, at| Ok(state.tokens.revoke_all(execution, at)))
    }

    fn get_by_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<ResumeToken>>> {
        self.run(move |state, at| {
            let of_execution = state.tokens.rows.values().filter(|token| token.execution_id == *execution);
            let mut found: Vec<ResumeToken> = of_execution.map(|token| shown(token, at)).collect();
            found.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            Ok(found)
        })
    }

    fn cleanup_expired(&self) -> BoxFuture<'_, Result<u64>> {
        self.run(move |state, at| Ok(state.tokens.expire(at)))
    }
}
