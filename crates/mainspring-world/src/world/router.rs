//! Everything an application serves, as one router.

use std::sync::Arc;

use axum::Router;
use mainspring_core::Result;
use mainspring_http::{Endpoint, Guard, OutputAccess, RouterOptions};

use super::World;

impl World {
    /// All routes of an application, to be mounted beside its own: those of [`mainspring_http::router`] for its
    /// [endpoint](Self::endpoint). Unless `options` say otherwise, `/readyz` asks the database, and output streams are offered
    /// to whoever presents the credential.
    ///
    /// # Errors
    /// Invalid, when a secret of `guard` is insecure and [`RouterOptions::bind`] is not of this machine.
    pub fn router(&self, app: Arc<dyn Endpoint>, guard: Guard, mut options: RouterOptions) -> Result<Router> {
        if options.ready.is_none() {
            let world = self.clone();
            options = options.ready(move || {
                let world = world.clone();
                Box::pin(async move { world.check_database().await })
            });
        }
        if options.outputs.is_none() {
            options = options.outputs(OutputAccess::new(self.streamer()));
        }
        mainspring_http::router(self.endpoint(app), guard, options)
    }
}
