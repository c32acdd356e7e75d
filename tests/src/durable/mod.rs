//! The durable functions of the fault tests: the examples in small, each with an effect that is noted in every step.
//!
//! | kind | what it does |
//! |---|---|
//! | `checkout` | reserve, charge; declined ones are compensated and fail |
//! | `approval` | hands out a token and waits for whoever brings it back |
//! | `reminder` | sleeps while it listens for a signal that never comes |
//! | `fan-out` | twelve items, four at a time |
//! | `polling` | looks again and again, every other time in vain at first |
//! | `family` | three children |
//! | `transfer` | SQL of its own and the record of the step in one transaction, twice |
//! | `chain` | five steps |

mod record;

use std::{sync::Arc, time::Duration};

use mainspring::{
    Backend, Cx, CxTx, Db, Either, Engine, EngineBuilder, ExecutionId, PgStores, StepError, StepRun,
    TokenSecret, TxError, Workflow, WorkflowError, WorkflowHandle, WorkflowResult, exponential, fail,
    flow::RetryPolicy,
};
use mainspring_testing::Faults;
use serde_json::{Value, json};
use tokio::time::sleep;

pub use record::{Record, records};

use crate::{LEASE, Ledger};

/// The kinds, in the order of the numbers that are run as them.
pub const KINDS: [&str; 8] =
    ["checkout", "approval", "reminder", "fan-out", "polling", "family", "transfer", "chain"];
/// Numbers that differ by so much are run with the same input.
pub const PERIOD: u64 = 24;
/// In the ledger: the effect that is a token on its way to whoever brings it back.
const LETTER: &str = "letter";
/// Accounts money is transferred between, and what is on each of them at first.
const ACCOUNTS: u64 = 8;
const CENTS: i64 = 1_000_000_000;

type Result<T> = WorkflowResult<T, String>;

/// What the code has besides its input.
#[derive(Clone)]
struct World {
    ledger: Ledger,
    faults: Faults,
}

impl World {
    /// A step whose effect is noted under its idempotency key; it passes the point `name.before` first.
    async fn effect(&self, cx: &Cx, name: &str, value: u64) -> std::result::Result<u64, StepError<String>> {
        cx.step_with(name, async |run: StepRun| {
            self.faults.pass(&format!("{name}.before")).await.map_err(|error| error.to_string())?;
            self.ledger.note(cx.id().as_str(), name, run.attempt, &run.idempotency_key);
            Ok(value)
        })
        .await
    }

    async fn checkout(self, cx: Cx, n: u64) -> Result<u64> {
        let mut saga = cx.saga::<String>();
        let hold = self.effect(&cx, "hold", n).await?;
        saga.undo("release", hold, async |hold| {
            self.ledger.note(cx.id().as_str(), "release", 1, &format!("{}/release", cx.id()));
            Ok::<_, String>(hold)
        });
        let charge = async || match n / 8 {
            1 => Err("declined".to_owned()),
            _ => Ok(hold + 1),
        };
        let paid = cx.step("charge", charge).await;
        saga.end(paid.map_err(WorkflowError::from)).await
    }

    async fn approval(self, cx: Cx, _: u64) -> Result<u64> {
        let hook = cx.hook::<u64>("decision");
        let ask = async |run: StepRun| {
            let token = hook.token().await.map_err(|error| error.to_string())?;
            self.ledger.note(cx.id().as_str(), LETTER, run.attempt, &token.reveal());
            Ok::<_, String>(())
        };
        cx.step_with("ask", ask).await?;
        let decision = hook.await?;
        Ok(self.effect(&cx, "decided", decision).await?)
    }

    async fn reminder(self, cx: Cx, n: u64) -> Result<u64> {
        self.effect(&cx, "welcome", n).await?;
        let nap = Duration::from_millis(20 * (n + 1));
        match cx.race(cx.signal::<u64>("never"), cx.sleep(nap)).await {
            Either::Left(signal) => Ok(signal?),
            Either::Right(()) => Ok(self.effect(&cx, "remind", n).await?),
        }
    }

    async fn fan_out(self, cx: Cx, n: u64) -> Result<u64> {
        let items: Vec<u64> = (0..12).map(|item| n + item).collect();
        let each = async |cx: Cx, item: &u64| Ok(self.effect(&cx, "resize", *item).await?);
        let sizes = cx.map("item", &items, each).concurrency(4).await?;
        Ok(sizes.iter().sum())
    }

    async fn polling(self, cx: Cx, _: u64) -> Result<u64> {
        let soon = RetryPolicy { backoff: Duration::from_millis(5), ..exponential(3) };
        for look in 1.. {
            let ask = async |run: StepRun| {
                self.ledger.note(cx.id().as_str(), "look", run.attempt, &run.idempotency_key);
                if look % 2 == 0 && run.attempt == 1 { Err("not now".to_owned()) } else { Ok(look == 3) }
            };
            if cx.step_with("look", ask).retry(soon.clone()).await? {
                return Ok(look);
            }
            cx.sleep(Duration::from_millis(20)).await;
        }
        fail("never".to_owned())
    }

    async fn family(self, cx: Cx, n: u64) -> Result<u64> {
        let children: Vec<u64> = (0..3).map(|child| 10 * n + child).collect();
        let each = async |cx: Cx, child: &u64| Ok(cx.child(LEAF, child).await?);
        let sums = cx.map("child", &children, each).await?;
        Ok(sums.iter().sum())
    }

    async fn leaf(self, cx: Cx, n: u64) -> Result<u64> {
        let first = self.effect(&cx, "first", n).await?;
        cx.sleep(Duration::from_millis(10)).await;
        Ok(self.effect(&cx, "second", first + 1).await?)
    }

    async fn transfer(self, cx: Cx, n: u64) -> Result<u64> {
        let cents = i64::try_from(n).unwrap_or(0) + 1;
        let taken = self.moved(&cx, "take", -cents, n % ACCOUNTS).await?;
        self.effect(&cx, "tell", n).await?;
        let given = self.moved(&cx, "give", -taken, (n + 3) % ACCOUNTS).await?;
        Ok(u64::try_from(given).unwrap_or(0))
    }

    /// Moves money and notes it in the same transaction. It passes the point `name.before` when it has.
    async fn moved(
        &self,
        cx: &Cx,
        name: &str,
        cents: i64,
        account: u64,
    ) -> std::result::Result<i64, StepError<String>> {
        let (id, account) = (cx.id().to_string(), i32::try_from(account).unwrap_or(0));
        let body = async |db: &Db<'_>| {
            db.exec("UPDATE accounts SET cents = cents + $1 WHERE id = $2", &[&cents, &account]).await?;
            db.exec("INSERT INTO moved VALUES ($1, $2, $3)", &[&id, &name, &cents]).await?;
            self.faults.pass(&format!("{name}.before")).await?;
            Ok::<_, TxError<String>>(cents)
        };
        cx.tx(name, body).await
    }

    async fn chain(self, cx: Cx, n: u64) -> Result<u64> {
        let mut sum = 0;
        for link in 0..5 {
            sum += self.effect(&cx, "link", n + link).await?;
        }
        Ok(sum)
    }
}

const LEAF: Workflow<u64, u64, String> = Workflow::new("leaf");

/// An engine that runs every kind; `lease` is for what it drives without a queue.
pub fn builder(backend: impl Backend + 'static, ledger: &Ledger, faults: &Faults) -> EngineBuilder {
    let world = World { ledger: ledger.clone(), faults: faults.clone() };
    let backend: Arc<dyn Backend> = Arc::new(backend);
    macro_rules! register {
        ($builder:expr, $($name:literal => $code:ident),*) => {
            $builder$(.register(Workflow::<u64, u64, String>::new($name), {
                let world = world.clone();
                move |cx, n| world.clone().$code(cx, n)
            }))*
        };
    }
    register!(Engine::builder(backend).lease(LEASE),
        "checkout" => checkout, "approval" => approval, "reminder" => reminder, "fan-out" => fan_out,
        "polling" => polling, "family" => family, "leaf" => leaf, "transfer" => transfer, "chain" => chain)
}

/// The kind that a number is run as.
pub fn kind(n: u64) -> &'static str {
    usize::try_from(n % 8).ok().and_then(|n| KINDS.get(n)).copied().unwrap_or("chain")
}

/// Starts the execution `id` of the kind of `n`, if need be again.
///
/// # Panics
/// When that cannot be.
pub async fn start(engine: &Engine, n: u64, id: &str) -> WorkflowHandle<Value, Value> {
    loop {
        match engine.start_by_name(kind(n), json!(n % PERIOD)).id(id).await {
            Ok(handle) => return handle,
            Err(error) if error.is_retryable() || error.is_commit_unknown() => {
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{id}: {error:?}"),
        }
    }
}

/// Makes the tables of `transfer`.
///
/// # Panics
/// When the database refuses.
pub async fn open_accounts(stores: &PgStores<'static>) {
    const TABLES: [&str; 2] = [
        "CREATE TABLE accounts (id int PRIMARY KEY, cents bigint NOT NULL)",
        "CREATE TABLE moved (execution text NOT NULL, step text NOT NULL, cents bigint NOT NULL)",
    ];
    const OPEN: &str = "INSERT INTO accounts SELECT n, $1 FROM generate_series(0, 7) n";
    for table in TABLES {
        stores.db().exec(table, &[]).await.expect("the tables are made");
    }
    stores.db().exec(OPEN, &[&CENTS]).await.expect("the accounts are opened");
}

/// What is wrong with the books: money that was moved twice, not at all, or out of the world.
///
/// # Panics
/// When the database cannot be asked.
pub async fn wrong_books(stores: &PgStores<'static>, transfers: &[ExecutionId]) -> Vec<String> {
    const TWICE: &str =
        "SELECT execution || ' ' || step || ' ' || count(*) FROM moved GROUP BY execution, step
        HAVING count(*) > 1";
    const MISSING: &str =
        "SELECT t || ' has ' || (SELECT count(*) FROM moved WHERE execution = t) FROM unnest($1::text[]) t
        WHERE (SELECT coalesce(sum(cents), 1)::bigint FROM moved WHERE execution = t) <> 0
           OR (SELECT count(*) FROM moved WHERE execution = t) <> 2";
    const SUM: &str =
        "SELECT 'the accounts have ' || sum(cents) FROM accounts HAVING sum(cents)::bigint <> $1";
    let ids: Vec<&str> = transfers.iter().map(ExecutionId::as_str).collect();
    let all = i64::try_from(ACCOUNTS).unwrap_or(0) * CENTS;
    let db = stores.db();
    let mut wrong = Vec::new();
    for rows in [db.all(TWICE, &[]).await, db.all(MISSING, &[&ids]).await, db.all(SUM, &[&all]).await] {
        wrong.extend(rows.expect("the books are read").iter().map(|row| row.get::<_, String>(0)));
    }
    wrong
}

/// Brings every token that was handed out back, for as long as it is polled.
pub async fn bring_letters(engine: Engine, ledger: Ledger) {
    let mut brought = 0;
    loop {
        let letters: Vec<_> =
            ledger.effects().into_iter().filter(|effect| effect.step == LETTER).skip(brought).collect();
        for letter in letters {
            let Ok(token) = letter.key.parse::<TokenSecret>() else { continue };
            // A token that was brought already, or of an execution that is over, is done with.
            match engine.resume(&token, json!(7)).await {
                Err(error) if error.is_retryable() || error.is_commit_unknown() => break,
                _ => brought += 1,
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}
