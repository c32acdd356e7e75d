//! What is special about resume tokens on Postgres; what every backend does alike is in the conformance suite.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::time::Duration;

use mainspring_core::{
    Error, Execution, ExecutionId, ExecutionStore, NewToken, Result, ResumeToken, TokenOptions, TokenSecret,
    TokenStatus, TokenStore, limits,
};
use mainspring_executions::PgExecutionStore;
use mainspring_pg::{Db, Query};
use mainspring_testing::TestDb;
use mainspring_tokens::{PgTokenStore, consume_query, create_query, decode_consumed, revoke_all_query};
use serde_json::json;
use tokio::task::JoinSet;

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    test: TestDb,
    db: Db<'static>,
    tokens: PgTokenStore<'static>,
}

async fn world() -> World {
    let test = TestDb::new().await;
    let db = test.db();
    let executions = PgExecutionStore::new(&db);
    for id in ["e", "f"] {
        executions.create(Execution::new(execution(id), "order", "1.0.0", "approve")).await.unwrap();
    }
    World { tokens: PgTokenStore::new(&db), db, test }
}

impl World {
    async fn generate(&self, expires_in: Option<Duration>) -> TokenSecret {
        let options = TokenOptions { expires_in, ..TokenOptions::default() };
        self.tokens.generate(&execution("e"), "approve", options).await.unwrap().0
    }

    async fn read(&self, secret: &TokenSecret) -> ResumeToken {
        self.tokens.get(secret).await.unwrap().unwrap()
    }
}

fn execution(id: &str) -> ExecutionId {
    ExecutionId::new(id).unwrap()
}

fn new(owner: &str, expires_in: Option<Duration>) -> (TokenSecret, NewToken) {
    let options = TokenOptions { expires_in, ..TokenOptions::default() };
    NewToken::generate(execution(owner), "approve", options).unwrap()
}

/// scenario F54
#[tokio::test]
async fn every_column_survives_a_round_trip() {
    let world = world().await;
    let metadata = json!({"to": "ü\"'\\", "n": [1.5, null]}).as_object().unwrap().clone();
    for expires_in in [None, Some(Duration::from_micros(1_500_001)), Some(limits::MAX_DURATION)] {
        let options = TokenOptions { expires_in, metadata: metadata.clone() };
        let (secret, made) = world.tokens.generate(&execution("e"), "approve", options).await.unwrap();
        assert_eq!(world.read(&secret).await, made);
        assert_eq!(made.expires_at, expires_in.map(|after| made.created_at + after));
        assert!(world.tokens.mark_used(&secret).await.unwrap());
        let used = world.read(&secret).await;
        assert!(used.used_at.unwrap() >= made.created_at);
        assert_eq!(used, ResumeToken { status: TokenStatus::Used, used_at: used.used_at, ..made });
    }
}

/// A copy of the database resumes nothing.
#[tokio::test]
async fn the_secret_is_in_no_column() {
    const EVERYTHING: &str = "SELECT t::text FROM {resume_tokens} t";
    let world = world().await;
    let secret = world.generate(None).await;
    let row: String = world.db.one(EVERYTHING, &[]).await.unwrap().get(0);
    let text = secret.reveal();
    assert!(!row.contains(&text[3..46]), "the body of the secret is stored");
    assert!(row.contains(&hex(secret.hash().as_bytes())), "its hash is");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// scenario F52
#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_callers_one_spends_it() {
    let world = world().await;
    let secret = world.generate(Some(HOUR)).await;
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (tokens, secret) = (world.tokens.clone(), secret.clone());
        callers.spawn(async move { tokens.mark_used(&secret).await.unwrap() });
    }
    assert_eq!(callers.join_all().await.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(world.tokens.validate(&secret).await.unwrap(), Some("token already used"));
}

#[tokio::test(flavor = "multi_thread")]
async fn spending_and_revoking_never_both_win() {
    let world = world().await;
    for _ in 0..20 {
        let secret = world.generate(None).await;
        let e = execution("e");
        let (used, revoked, all) = tokio::join!(
            world.tokens.mark_used(&secret),
            world.tokens.revoke(&secret),
            world.tokens.revoke_all(&e)
        );
        let (used, revoked) = (used.unwrap(), revoked.unwrap() || all.unwrap() == 1);
        assert!(used != revoked);
        let expected = if used { TokenStatus::Used } else { TokenStatus::Revoked };
        assert_eq!(world.read(&secret).await.status, expected);
    }
}

/// scenario F52: nobody has to clean up, and no clock but the database's is asked.
#[tokio::test]
async fn a_token_expires_by_the_clock_of_the_database() {
    let world = world().await;
    let (short, ever) = (world.generate(Some(HOUR)).await, world.generate(None).await);
    world.test.advance(HOUR - Duration::from_secs(60)).await;
    assert_eq!(world.tokens.validate(&short).await.unwrap(), None);
    world.test.advance(Duration::from_secs(61)).await;

    assert_eq!(world.tokens.validate(&short).await.unwrap(), Some("token expired"));
    assert_eq!(world.tokens.get_by_execution(&execution("e")).await.unwrap()[0].status, TokenStatus::Expired);
    assert!(!world.tokens.mark_used(&short).await.unwrap());
    assert!(!world.tokens.revoke(&short).await.unwrap());
    assert!(world.db.run(consume_query(&[short.hash()])).await.unwrap().is_empty());
    assert_eq!(world.tokens.revoke_all(&execution("e")).await.unwrap(), 1, "only the one that never expires");
    assert_eq!(world.read(&ever).await.status, TokenStatus::Revoked);

    let before = world.read(&short).await;
    assert_eq!(world.tokens.cleanup_expired().await.unwrap(), 1);
    assert_eq!(world.tokens.cleanup_expired().await.unwrap(), 0);
    assert_eq!(world.read(&short).await, before, "it was written down, nothing else");
}

#[tokio::test]
async fn a_rollback_leaves_nothing_and_spends_nothing() {
    let world = world().await;
    let secret = world.generate(None).await;
    let before = world.read(&secret).await;
    let undone: Result<()> = world
        .db
        .with_tx(async |tx| {
            let tokens = world.tokens.on(tx);
            tokens.generate(&execution("e"), "approve", TokenOptions::default()).await?;
            assert!(tokens.mark_used(&secret).await?);
            assert_eq!(tokens.validate(&secret).await?, Some("token already used"));
            Err(Error::invalid("test", "rolled back"))
        })
        .await;
    assert!(undone.unwrap_err().is_invalid());
    assert_eq!(world.tokens.get_by_execution(&execution("e")).await.unwrap(), [before]);
    assert!(world.tokens.mark_used(&secret).await.unwrap());
}

#[tokio::test]
async fn a_batch_spends_what_still_works_and_only_that() {
    let world = world().await;
    let (a, b) = (new("e", None), new("f", Some(HOUR)));
    let made = world.db.run(create_query(&[&a.1, &b.1])).await.unwrap();
    assert_eq!(made.len(), 2);
    let used = world.generate(None).await;
    world.tokens.mark_used(&used).await.unwrap();
    let unknown = TokenSecret::generate().unwrap();

    let hashes = [a.0.hash(), unknown.hash(), used.hash(), b.0.hash()];
    let spent = decode_consumed(&world.db.run(consume_query(&hashes)).await.unwrap()).unwrap();
    assert_eq!(spent, [a.0.hash(), b.0.hash()].into());
    let again = decode_consumed(&world.db.run(consume_query(&hashes)).await.unwrap()).unwrap();
    assert!(again.is_empty());
    assert_eq!(world.read(&b.0).await.id, b.1.id);
}

#[tokio::test]
async fn a_batch_revokes_the_tokens_of_many_executions() {
    let world = world().await;
    let made = [new("e", None), new("f", None), new("f", Some(HOUR))];
    world.db.run(create_query(&made.each_ref().map(|(_, token)| token))).await.unwrap();
    world.tokens.mark_used(&made[0].0).await.unwrap();
    let revoked = world.db.run(revoke_all_query(&[&execution("f"), &execution("e")])).await.unwrap();
    assert_eq!(revoked.len(), 2);
    assert_eq!(world.read(&made[0].0).await.status, TokenStatus::Used);
    assert_eq!(world.read(&made[2].0).await.status, TokenStatus::Revoked);
}

/// The rows of one statement in a transaction of its own, as a group commit runs it.
async fn in_flight(db: &Db<'_>, query: Query) -> usize {
    let (flight, rows) = db.begin(vec![query]).await.unwrap();
    flight.commit(Vec::new()).await.unwrap();
    rows[0].len()
}

/// Batches over the same tokens, named in opposite orders: without one order of locks they would deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_batches_do_not_deadlock() {
    let world = world().await;
    let (e, f) = (execution("e"), execution("f"));
    for _ in 0..10 {
        let made: Vec<_> = (0..20).map(|n| new(if n % 2 == 0 { "e" } else { "f" }, None)).collect();
        world.db.run(create_query(&made.iter().map(|(_, token)| token).collect::<Vec<_>>())).await.unwrap();
        let hashes: Vec<_> = made.iter().map(|(secret, _)| secret.hash()).collect();
        let reversed: Vec<_> = hashes.iter().copied().rev().collect();
        let (a, b, c, d) = tokio::join!(
            in_flight(&world.db, consume_query(&hashes)),
            in_flight(&world.db, consume_query(&reversed)),
            in_flight(&world.db, revoke_all_query(&[&e, &f])),
            in_flight(&world.db, revoke_all_query(&[&f, &e])),
        );
        let changed = a + b + c + d;
        assert_eq!(changed, 20, "each token ended once");
    }
}

#[tokio::test]
async fn expired_tokens_are_marked_in_batches() {
    let world = world().await;
    let made: Vec<_> = (0..1_200).map(|_| new("e", Some(HOUR))).collect();
    world.db.run(create_query(&made.iter().map(|(_, token)| token).collect::<Vec<_>>())).await.unwrap();
    world.test.advance(HOUR * 2).await;
    assert_eq!(world.tokens.cleanup_expired().await.unwrap(), 1_000);
    assert_eq!(world.tokens.cleanup_expired().await.unwrap(), 200);
    assert_eq!(world.tokens.cleanup_expired().await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_new_token_names_wrongly_is_named_in_the_error() {
    let world = world().await;
    let generate = async |id: &str, step: &str, expires_in| {
        let options = TokenOptions { expires_in, ..TokenOptions::default() };
        world.tokens.generate(&execution(id), step, options).await.unwrap_err()
    };
    let orphan = generate("nobody", "approve", None).await;
    assert!(orphan.is_not_found());
    assert_eq!(orphan.to_string(), "execution `nobody` does not exist");
    assert!(generate("e", "", None).await.is_invalid());
    assert!(generate("e", "approve", Some(Duration::ZERO)).await.is_invalid());
    assert!(generate("e", "approve", Some(Duration::MAX)).await.is_invalid());
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    const BREAK: &str = "UPDATE {resume_tokens} SET metadata = '[1]'";
    let world = world().await;
    let secret = world.generate(None).await;
    let id = world.read(&secret).await.id;
    world.db.exec(BREAK, &[]).await.unwrap();
    let error = world.tokens.get(&secret).await.unwrap_err();
    assert_eq!(error.to_string(), format!("metadata of the row `{id}` cannot be read"));
}

#[tokio::test]
async fn a_token_goes_with_its_execution() {
    let world = world().await;
    let secret = world.generate(None).await;
    assert!(PgExecutionStore::new(&world.db).delete(&execution("e")).await.unwrap());
    assert_eq!(world.tokens.get(&secret).await.unwrap(), None);
}
