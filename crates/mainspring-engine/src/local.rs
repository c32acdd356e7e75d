//! This process as a holder: alive as long as its heartbeat says, for executions it drives without a message.
//!
//! The name is registered when it is first needed, and extended from then on until the last clone of the engine is dropped.
//! A holder that was found dead takes a new name; what it drove under the old one is someone else's then, and its commits
//! find that out.
//!
//! Beside the heartbeat it clears up after callers that went away: a process that lives on would never be found dead.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use mainspring_core::{Backend, Error, Result, WorkerId};
use mainspring_worker::jittered;
use tokio::{task::JoinHandle, time::sleep};

use crate::{engine::Inner, left::Left, running::Running};

pub(crate) struct Local {
    backend: Arc<dyn Backend>,
    engine: Weak<Inner>,
    lease: Duration,
    name: Arc<tokio::sync::Mutex<Option<WorkerId>>>,
    beat: Mutex<Option<JoinHandle<()>>>,
}

impl Local {
    pub(crate) fn new(backend: Arc<dyn Backend>, engine: Weak<Inner>, lease: Duration) -> Self {
        Self { backend, engine, lease, name: Arc::default(), beat: Mutex::new(None) }
    }

    /// The name of this process, registered and kept alive.
    pub(crate) async fn holder(&self) -> Result<WorkerId> {
        let mut name = self.name.lock().await;
        if let Some(name) = &*name {
            return Ok(name.clone());
        }
        let Some(engine) = self.engine.upgrade() else { return Err(Error::internal("the engine is gone")) };
        let new = WorkerId::generate();
        self.backend.queue().register(&new, self.lease).await?;
        *name = Some(new.clone());
        let (backend, running) = (Arc::clone(&self.backend), Arc::clone(&engine.running));
        let beat = beat(backend, running, self.lease, Arc::clone(&self.name));
        let clear = clear(self.engine.clone(), Arc::clone(&engine.left), self.lease / 4);
        self.replace_beat(Some(tokio::spawn(async move {
            tokio::select! {
                () = beat => {}
                () = clear => {}
            }
        })));
        Ok(new)
    }

    /// Whether this is the present name of this process.
    pub(crate) async fn is(&self, holder: &WorkerId) -> bool {
        self.name.lock().await.as_ref() == Some(holder)
    }

    /// Gives up the name and everything held under it.
    pub(crate) async fn release(&self) -> Result<()> {
        self.replace_beat(None);
        match self.name.lock().await.take() {
            Some(name) => self.backend.queue().release(&name).await.map(drop),
            None => Ok(()),
        }
    }

    fn replace_beat(&self, new: Option<JoinHandle<()>>) {
        let old = std::mem::replace(&mut *self.beat.lock().unwrap_or_else(PoisonError::into_inner), new);
        if let Some(old) = old {
            old.abort();
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.replace_beat(None);
    }
}

async fn beat(
    backend: Arc<dyn Backend>,
    running: Arc<Running>,
    lease: Duration,
    name: Arc<tokio::sync::Mutex<Option<WorkerId>>>,
) {
    let mut pause = lease / 4;
    loop {
        sleep(jittered(pause)).await;
        let Some(holder) = name.lock().await.clone() else { return };
        pause = match backend.queue().extend(&holder, lease).await {
            Ok(()) => lease / 4,
            Err(error) if error.is_fenced() => {
                tracing::warn!(%holder, "this process was found dead; it goes on under a new name");
                name.lock().await.take();
                return;
            }
            Err(error) => {
                tracing::warn!(%holder, error = %error.chain(), "cannot extend the lease of this process");
                lease / 20
            }
        };
        look(&*backend, &running).await;
    }
}

/// Clears up after callers that went away, at once, and again until all is well.
async fn clear(engine: Weak<Inner>, left: Arc<Left>, pause: Duration) {
    loop {
        left.wait(jittered(pause)).await;
        let Some(engine) = engine.upgrade() else { return };
        engine.clear_left().await;
    }
}

/// Cancels what runs here and is no longer wanted: cancelled, taken over, or ended elsewhere.
pub(crate) async fn look(backend: &dyn Backend, running: &Running) {
    for (lease, cancel) in running.jobs() {
        match backend.jobs().heartbeat(&lease).await {
            Ok(true) => {}
            Ok(false) => cancel.cancel(),
            Err(error) => tracing::warn!(job = %lease.id, error = %error.chain(), "no heartbeat of a job"),
        }
    }
    let ids = running.executions();
    if ids.is_empty() {
        return;
    }
    // Calls that ended in the meantime are no longer in the table, and newer ones are at newer revisions.
    match backend.executions().get_many(&ids).await {
        Ok(stored) => running.compare(&ids, &stored),
        Err(error) => tracing::warn!(error = %error.chain(), "cannot look for cancelled executions"),
    }
}
