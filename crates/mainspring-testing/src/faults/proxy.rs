//! A TCP proxy before Postgres that breaks at a COMMIT.
//!
//! It reads the messages of the client, so it knows a COMMIT from a row that holds the word: in a simple query, or as a
//! prepared statement that is executed. A commit in one call is one too: it commits at the end of its messages. Behind TLS it could not, so the settings it hands out say plaintext.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Error, ErrorKind, Result};
use mainspring_pg::Settings;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::TestDb;

use super::proxy_commit::{CommitWatch, Message, ReplyWatch, Tag};

/// Between two looks whether a hole was closed.
const PAUSE: Duration = Duration::from_millis(5);

/// When to cut the connection that commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The COMMIT never reaches the server, which rolls back.
    BeforeCommit,
    /// The COMMIT is sent on and the connection is cut at once: whether it took effect is for the server to say.
    AfterCommit,
    /// The server has committed and answered, and the answer never reaches the client.
    DropReply,
}

/// A way to Postgres that breaks when it is told to. Dropping it cuts everything.
pub struct Proxy {
    settings: Settings,
    port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// What happens at the COMMIT so many COMMITs from now.
    armed: Mutex<Option<(Cut, u64)>>,
    connections: AtomicU64,
    commits: AtomicU64,
    cuts: AtomicU64,
    black_hole: AtomicBool,
    mute: AtomicBool,
    refuses: AtomicBool,
    /// Milliseconds every piece takes longer.
    slow: AtomicU64,
}

impl Proxy {
    /// Listens before the server at `host` and `port`; [`settings`](Self::settings) are `settings` through the proxy.
    ///
    /// # Errors
    /// Unavailable, when there is no port to listen on.
    pub async fn start(host: &str, port: u16, settings: &Settings) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(no_port)?;
        let own = listener.local_addr().map_err(no_port)?.port();
        let settings = settings.clone().with("host", "127.0.0.1")?.with("port", &own.to_string())?;
        let settings = settings.with("sslmode", "disable")?;
        let state = Arc::<State>::default();
        let accepting = tokio::spawn(accept(listener, (host.to_owned(), port), state.clone()));
        Ok(Self { settings, port: own, state, accepting })
    }

    /// Listens before the server of a test database.
    ///
    /// # Errors
    /// As [`start`](Self::start); invalid, when the server is not reached by TCP.
    pub async fn before(test: &TestDb) -> Result<Self> {
        let (host, port) = test.address()?;
        Self::start(&host, port, test.settings()).await
    }

    /// How to connect through the proxy.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts at the `nth` COMMIT from now on, once; 1 is the next.
    pub fn arm(&self, cut: Cut, nth: u64) {
        *self.state.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((cut, nth));
    }

    /// COMMITs seen.
    pub fn commits(&self) -> u64 {
        self.state.commits.load(Ordering::SeqCst)
    }

    /// Connections that were asked for, also those it refused.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Cuts made.
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// While it is a black hole, connections stay open and nothing passes either way.
    pub fn black_hole(&self, swallows: bool) {
        self.state.black_hole.store(swallows, Ordering::SeqCst);
    }

    /// While it is mute, what clients send arrives, and what the server answers is lost: those connections are of no more use.
    pub fn mute(&self, loses_answers: bool) {
        self.state.mute.store(loses_answers, Ordering::SeqCst);
    }

    /// Every piece takes so much longer, either way; whole milliseconds.
    pub fn slow(&self, by: Duration) {
        self.state.slow.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// While it refuses, new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::SeqCst);
    }
}

fn no_port(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "no port for the proxy").with_source(error)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({:?}, {} commits, {} cuts)", self.settings, self.commits(), self.cuts())
    }
}

async fn accept(listener: TcpListener, server: (String, u16), state: Arc<State>) {
    let mut connections = JoinSet::new(); // aborted with this task
    while let Ok((client, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        if state.refuses.load(Ordering::SeqCst) {
            continue;
        }
        if let Ok(upstream) = TcpStream::connect((server.0.as_str(), server.1)).await {
            connections.spawn(carry(client, upstream, state.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Whichever way ends first ends both; what was written still arrives.
async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let silent = OnceLock::<Tag>::new();
    let down = async {
        let (mut buffer, mut reply, mut lost) = (vec![0; 65536], ReplyWatch::default(), false);
        while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
            state.hole().await;
            lost |= state.mute.load(Ordering::SeqCst);
            if lost {
                continue;
            }
            if let Some(tag) = silent.get() {
                if reply.ends(tag, &buffer[..n]) {
                    return; // it has happened, and the client is not to know
                }
            } else if to_client.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up(from_client, to_server, &state, &silent) => {}
        () = down => {}
    }
}

async fn up(mut from: impl AsyncRead + Unpin, mut to: OwnedWriteHalf, state: &State, silent: &OnceLock<Tag>) {
    let mut watch = CommitWatch::default();
    while let Ok(Message { bytes, commits }) = watch.next(&mut from).await {
        state.hole().await;
        let cut = commits.and_then(|_| state.commit());
        if cut == Some(Cut::BeforeCommit) {
            return;
        }
        if let (Some(Cut::DropReply), Some(tag)) = (cut, commits) {
            let _ = silent.set(tag); // until the answer comes, which ends both ways
        }
        if to.write_all(&bytes).await.is_err() || cut == Some(Cut::AfterCommit) {
            return;
        }
    }
}

impl State {
    async fn hole(&self) {
        match self.slow.load(Ordering::SeqCst) {
            0 => {}
            slow => sleep(Duration::from_millis(slow)).await,
        }
        while self.black_hole.load(Ordering::SeqCst) {
            sleep(PAUSE).await;
        }
    }

    /// A COMMIT comes by; what to do about it.
    fn commit(&self) -> Option<Cut> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let (cut, left) = armed.as_mut()?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        let cut = *cut;
        *armed = None;
        self.cuts.fetch_add(1, Ordering::SeqCst);
        Some(cut)
    }
}
