//! A second server that follows the first, and takes over.

use crate::{
    cluster::{Cluster, Port},
    error::Result,
    folder::{Folder, append_to},
    guard::Guard,
    process::run,
};

impl Cluster {
    /// A throwaway server that follows this one as a hot standby, over `upstream`: a connection string of libpq's, such as
    /// `host=127.0.0.1 port=5432 user=postgres`. This server is stopped cleanly and started again for it, since a standby
    /// begins as a copy of its files; that needs no tool which not every package of Postgres brings.
    ///
    /// This server needs the settings `wal_level` (`replica`) and `max_wal_senders`; the standby gets all of its settings.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::start`], and those of the copy. This server may be stopped then.
    pub fn standby(&mut self, upstream: &str) -> Result<Cluster> {
        self.stop_fast();
        let folder = Folder::throwaway("pg", &self.account)?;
        let mut copy = self.account.command("cp");
        run(copy.arg("-Rp").arg(self.data_dir()).arg(folder.path.join("data")))?;
        self.restart()?;
        let guard = Guard::new(&self.account, "QUIT", &folder.temporary())?;
        let (binaries, settings, account) =
            (self.binaries.clone(), self.settings.clone(), self.account.clone());
        let mut standby = Cluster::stopped(binaries, settings, account, guard, folder);
        standby.follow_from(upstream, Port::Free)?;
        Ok(standby)
    }

    /// Starts this server, which was stopped cleanly, as a standby of another that took over from it.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::start`].
    pub fn follow(&mut self, upstream: &str) -> Result<()> {
        self.stop_fast();
        self.follow_from(upstream, Port::Ours(self.port()))
    }

    /// Makes a standby the one that is written to; returns when it is.
    ///
    /// # Errors
    ///
    /// Those of `pg_ctl`.
    pub fn promote(&mut self) -> Result<()> {
        let mut promote = self.account.command(self.binaries.program("pg_ctl"));
        run(promote.args(["promote", "-w", "-D"]).arg(self.data_dir())).map(drop)
    }

    fn follow_from(&mut self, upstream: &str, port: Port) -> Result<()> {
        let signal = self.data_dir().join("standby.signal");
        append_to(&signal)?;
        self.account.own(&signal)?; // Postgres removes it when it takes over
        self.settings.push(("primary_conninfo".into(), upstream.into()));
        self.launch_on(port)
    }
}
