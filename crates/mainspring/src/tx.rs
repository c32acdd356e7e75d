//! `cx.tx`: SQL of the application and the record of its step in one transaction, exactly once.

use std::{
    future::IntoFuture,
    sync::{Mutex, PoisonError},
};

use mainspring_core::{Backend, BoxFuture, Committed, Error, Result};
use mainspring_engine::{Cx, Record, StepError, Together, TxError};
use mainspring_events::PgEventStore;
use mainspring_pg::{AsyncFunc, Db};
use serde::{Serialize, de::DeserializeOwned};

use crate::commit::{GroupCommit, commit_within};

/// Steps that write in this Postgres.
pub trait CxTx {
    /// A step whose effect is SQL in this Postgres: it and the record of the step are one transaction, so the effect happens
    /// exactly once. The body gets the transaction; it runs again when the transaction has to (a serialization failure, a
    /// deadlock, a lost connection), so it should do nothing else. A connection is held while it runs. Inline projections do not see the record of the step.
    ///
    /// What was recorded just before is committed with it, not ahead of it: a crash in the body runs the step before it again.
    ///
    /// ```
    /// use mainspring::{Cx, CxTx, WorkflowResult, abort};
    /// async fn pay(cx: Cx, cents: i64) -> WorkflowResult<(), String> {
    ///     let taken = cx.tx("take", async |db| {
    ///         let rows = db.exec("UPDATE accounts SET cents = cents - $1 WHERE cents >= $1", &[&cents]).await?;
    ///         if rows == 1 { Ok(rows) } else { abort("not enough".to_owned()) }
    ///     });
    ///     taken.await?;
    ///     Ok(())
    /// }
    /// ```
    fn tx<'a, T, E, F>(&self, name: &'a str, body: F) -> Tx<'a, F, T, E>
    where
        for<'r, 'c> F: AsyncFn(&'r Db<'c>) -> Result<T, TxError<E>>
            + AsyncFunc<&'r Db<'c>, Result<T, TxError<E>>, Fut: Send>
            + Send
            + Sync,
        F: 'a;
}

/// A transaction about to be run; await it.
#[must_use = "nothing is done until this is awaited"]
pub struct Tx<'a, F, T, E> {
    cx: Cx,
    name: &'a str,
    body: F,
    types: std::marker::PhantomData<fn() -> (T, E)>,
}

impl CxTx for Cx {
    fn tx<'a, T, E, F>(&self, name: &'a str, body: F) -> Tx<'a, F, T, E>
    where
        for<'r, 'c> F: AsyncFn(&'r Db<'c>) -> Result<T, TxError<E>>
            + AsyncFunc<&'r Db<'c>, Result<T, TxError<E>>, Fut: Send>
            + Send
            + Sync,
        F: 'a,
    {
        Tx { cx: self.clone(), name, body, types: std::marker::PhantomData }
    }
}

impl<'a, F, T, E> IntoFuture for Tx<'a, F, T, E>
where
    for<'r, 'c> F: AsyncFn(&'r Db<'c>) -> Result<T, TxError<E>>
        + AsyncFunc<&'r Db<'c>, Result<T, TxError<E>>, Fut: Send>
        + Send
        + Sync,
    F: 'a,
    T: Serialize + DeserializeOwned + Send + Sync + 'a,
    E: Serialize + DeserializeOwned + Send + 'a,
{
    type Output = Result<T, StepError<E>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { cx, name, body, .. } = self;
            let backend = cx.backend();
            cx.together(name, &OnPg { backend: &**backend, body }).await
        })
    }
}

struct OnPg<'b, F> {
    backend: &'b dyn Backend,
    body: F,
}

impl<F, T, E> Together<T, E> for OnPg<'_, F>
where
    for<'r, 'c> F: AsyncFn(&'r Db<'c>) -> Result<T, TxError<E>>
        + AsyncFunc<&'r Db<'c>, Result<T, TxError<E>>, Fut: Send>
        + Send
        + Sync,
    T: Send + Sync,
    E: Send,
{
    fn commit<'a>(&'a self, record: &'a Record<'a, T>) -> BoxFuture<'a, Result<(T, Committed), TxError<E>>> {
        Box::pin(async move {
            let group = self.backend.as_any().and_then(|any| any.downcast_ref::<GroupCommit>());
            let Some(group) = group else {
                let problem = "needs an engine on PgStores with a pool";
                return Err(TxError::Database(Error::invalid("cx.tx", problem)));
            };
            let aborted = Mutex::new(None);
            let done = group
                .db()
                .with_tx(async |db| match (self.body)(db).await {
                    Ok(value) => {
                        let changes = record(&value)?.traced();
                        let committed = commit_within(db, &PgEventStore::new(db), &changes).await?;
                        Ok((value, committed, changes))
                    }
                    Err(TxError::Database(error)) => Err(error),
                    Err(TxError::App(error)) => {
                        *aborted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        Err(Error::internal("rolled back by the application"))
                    }
                })
                .await;
            let (value, committed, changes) =
                done.map_err(|error| match aborted.into_inner().unwrap_or_else(PoisonError::into_inner) {
                    Some(error) => TxError::App(error),
                    None => TxError::Database(error),
                })?;
            group.tell([&changes]);
            Ok((value, committed))
        })
    }
}
