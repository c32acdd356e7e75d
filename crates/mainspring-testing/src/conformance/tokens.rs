//! What every [`TokenStore`](mainspring_core::TokenStore) does.

use futures_util::future::join_all;
use mainspring_core::{Backend, TokenOptions, TokenSecret, TokenStatus};
use serde_json::json;

use super::{
    make::{created, hours, id, object, secs},
    on, on_time,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_token_is_known_by_its_secret).await;
    on(&fresh, a_token_needs_its_execution).await;
    on(&fresh, an_unknown_secret_is_refused).await;
    on(&fresh, sixteen_uses_have_one_winner).await;
    on(&fresh, a_revoked_token_is_refused).await;
    on(&fresh, revoking_all_spares_the_used_and_the_others).await;
    on_time(&fresh, a_token_expires_by_itself).await;
    on_time(&fresh, expired_tokens_are_marked_once).await;
    on_time(&fresh, tokens_are_listed_oldest_first).await;
}

async fn generate(backend: &dyn Backend, execution: &str, options: TokenOptions) -> TokenSecret {
    if backend.executions().get(&id(execution)).await.unwrap().is_none() {
        created(backend, execution).await;
    }
    backend.tokens().generate(&id(execution), "approve", options).await.unwrap().0
}

async fn simple(backend: &dyn Backend) -> TokenSecret {
    generate(backend, "e", TokenOptions::default()).await
}

fn expiring() -> TokenOptions {
    TokenOptions { expires_in: Some(hours(1)), ..TokenOptions::default() }
}

async fn refused(backend: &dyn Backend, secret: &TokenSecret, status: TokenStatus) {
    let token = backend.tokens().get(secret).await.unwrap().unwrap();
    assert_eq!(token.status, status);
    assert_eq!(backend.tokens().validate(secret).await.unwrap(), status.refusal());
    assert!(!backend.tokens().mark_used(secret).await.unwrap());
    assert!(!backend.tokens().revoke(secret).await.unwrap());
    assert_eq!(backend.tokens().get(secret).await.unwrap(), Some(token), "nothing was changed");
}

/// scenario F52
pub async fn a_token_is_known_by_its_secret(backend: &dyn Backend) {
    created(backend, "e").await;
    let options = TokenOptions { expires_in: Some(hours(1)), metadata: object(json!({"to": "boss"})) };
    let (secret, made) = backend.tokens().generate(&id("e"), "approve", options).await.unwrap();
    let secret: TokenSecret = secret.reveal().parse().unwrap();
    assert_eq!(backend.tokens().get(&secret).await.unwrap(), Some(made.clone()));
    assert_eq!((made.execution_id.clone(), made.step_id.as_str()), (id("e"), "approve"));
    assert_eq!((made.status, made.used_at), (TokenStatus::Pending, None));
    assert_eq!(made.metadata["to"], json!("boss"));
    let lasts = made.expires_at.unwrap().since(made.created_at);
    assert!(lasts > hours(1) - secs(1) && lasts < hours(1) + secs(1), "{lasts:?}");
    assert_eq!(backend.tokens().validate(&secret).await.unwrap(), None);
}

/// No token without its execution.
pub async fn a_token_needs_its_execution(backend: &dyn Backend) {
    assert!(backend.tokens().generate(&id("nobody"), "approve", TokenOptions::default()).await.is_err());
    assert!(backend.tokens().get_by_execution(&id("nobody")).await.unwrap().is_empty());
}

/// scenario F52
pub async fn an_unknown_secret_is_refused(backend: &dyn Backend) {
    let secret = TokenSecret::generate().unwrap();
    assert!(backend.tokens().get(&secret).await.unwrap().is_none());
    assert_eq!(backend.tokens().validate(&secret).await.unwrap(), Some("token not found"));
    assert!(!backend.tokens().mark_used(&secret).await.unwrap());
    assert!(!backend.tokens().revoke(&secret).await.unwrap());
}

/// scenario F52
pub async fn sixteen_uses_have_one_winner(backend: &dyn Backend) {
    let secret = simple(backend).await;
    let uses = join_all((0..16).map(|_| backend.tokens().mark_used(&secret))).await;
    assert_eq!(uses.into_iter().filter(|won| *won.as_ref().unwrap()).count(), 1);
    assert!(backend.tokens().get(&secret).await.unwrap().unwrap().used_at.is_some());
    refused(backend, &secret, TokenStatus::Used).await;
}

/// scenario F52
pub async fn a_revoked_token_is_refused(backend: &dyn Backend) {
    let secret = simple(backend).await;
    assert!(backend.tokens().revoke(&secret).await.unwrap());
    refused(backend, &secret, TokenStatus::Revoked).await;
}

/// scenarios F10, F52
pub async fn revoking_all_spares_the_used_and_the_others(backend: &dyn Backend) {
    let (used, open, also) = (simple(backend).await, simple(backend).await, simple(backend).await);
    let other = generate(backend, "other", TokenOptions::default()).await;
    backend.tokens().mark_used(&used).await.unwrap();
    assert_eq!(backend.tokens().revoke_all(&id("e")).await.unwrap(), 2);
    assert_eq!(backend.tokens().revoke_all(&id("e")).await.unwrap(), 0);
    refused(backend, &used, TokenStatus::Used).await;
    refused(backend, &open, TokenStatus::Revoked).await;
    refused(backend, &also, TokenStatus::Revoked).await;
    assert!(backend.tokens().mark_used(&other).await.unwrap());
}

/// scenario F52: nobody has to clean up first.
pub async fn a_token_expires_by_itself(backend: &dyn Backend, time: &dyn TimeTravel) {
    let (short, ever) = (generate(backend, "e", expiring()).await, simple(backend).await);
    time.advance(hours(2)).await;
    refused(backend, &short, TokenStatus::Expired).await;
    let listed = backend.tokens().get_by_execution(&id("e")).await.unwrap();
    assert_eq!(listed.iter().filter(|token| token.status == TokenStatus::Expired).count(), 1);
    assert_eq!(backend.tokens().revoke_all(&id("e")).await.unwrap(), 1);
    refused(backend, &ever, TokenStatus::Revoked).await;
}

/// scenario F52
pub async fn expired_tokens_are_marked_once(backend: &dyn Backend, time: &dyn TimeTravel) {
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(generate(backend, "e", expiring()).await);
    }
    simple(backend).await;
    backend.tokens().mark_used(&all[0]).await.unwrap();
    assert_eq!(backend.tokens().cleanup_expired().await.unwrap(), 0);
    time.advance(hours(2)).await;
    assert_eq!(backend.tokens().cleanup_expired().await.unwrap(), 2);
    assert_eq!(backend.tokens().cleanup_expired().await.unwrap(), 0);
    refused(backend, &all[0], TokenStatus::Used).await;
    refused(backend, &all[1], TokenStatus::Expired).await;
}

/// scenario F52
pub async fn tokens_are_listed_oldest_first(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, "e").await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(backend.tokens().generate(&id("e"), "approve", TokenOptions::default()).await.unwrap().1);
        time.advance(secs(1)).await;
    }
    generate(backend, "other", TokenOptions::default()).await;
    assert_eq!(backend.tokens().get_by_execution(&id("e")).await.unwrap(), made);
}
