//! A TCP proxy between driver and server that breaks at the worst moment.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_pg::Settings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::ground;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The bytes with this text never reach the server; the connection is cut.
    CutBefore(&'static str),
    /// The bytes with this text reach the server, the answer is lost.
    CutAfter(&'static str),
    /// The bytes with this text reach the server, the answer is lost, and the connection stays open and silent.
    MuteAfter(&'static str),
}

pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    fault: Mutex<Fault>,
    closed: AtomicBool,
    distrusts: AtomicBool,
    distrusted: AtomicU32,
    hole: AtomicBool,
    delay_ms: AtomicU32,
    accepted: AtomicU32,
    muted_below: AtomicU32,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            fault: Mutex::new(Fault::None),
            closed: AtomicBool::new(false),
            distrusts: AtomicBool::new(false),
            distrusted: AtomicU32::new(0),
            hole: AtomicBool::new(false),
            delay_ms: AtomicU32::new(0),
            accepted: AtomicU32::new(0),
            muted_below: AtomicU32::new(0),
        });
        let config: tokio_postgres::Config = ground::url().parse().unwrap();
        let target = config.get_ports().first().copied().unwrap_or(5432);
        let host = match config.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            _ => "127.0.0.1".into(),
        };
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.closed.load(Ordering::SeqCst) {
                    continue;
                }
                if shared.distrusts.load(Ordering::SeqCst) {
                    shared.distrusted.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(distrust(client));
                    continue;
                }
                let server = TcpStream::connect((host.as_str(), target)).await.unwrap();
                tokio::spawn(carry(client, server, shared.clone()));
            }
        });
        Self { port, state }
    }

    pub(crate) fn settings(&self) -> Settings {
        let port = self.port.to_string();
        let settings = ground::settings().with("host", "127.0.0.1").unwrap().with("port", &port).unwrap();
        settings.with("sslmode", "disable").unwrap()
    }

    /// Happens once, to whoever sends the text first.
    pub(crate) fn arm(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// The next cut also refuses every later connection.
    pub(crate) fn close_for_new(&self, closed: bool) {
        self.state.closed.store(closed, Ordering::SeqCst);
    }

    /// Answers every new connection as the server does when the password is wrong.
    pub(crate) fn distrust_new(&self, distrusts: bool) {
        self.state.distrusts.store(distrusts, Ordering::SeqCst);
    }

    /// How many were answered so.
    pub(crate) fn distrusted(&self) -> u32 {
        self.state.distrusted.load(Ordering::SeqCst)
    }

    /// Swallows everything, keeps all connections open.
    pub(crate) fn black_hole(&self, hole: bool) {
        self.state.hole.store(hole, Ordering::SeqCst);
    }

    /// The connections of now stay open and silent for ever; new ones work.
    pub(crate) fn mute(&self) {
        self.state.muted_below.store(self.state.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Each way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(u32::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

async fn distrust(mut client: TcpStream) {
    let fields = b"SFATAL\0C28P01\0Mpassword authentication failed\0\0";
    let mut answer = vec![b'E'];
    answer.extend_from_slice(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
    answer.extend_from_slice(fields);
    let asked = client.read(&mut [0; 1024]).await;
    if asked.is_ok() && client.write_all(&answer).await.is_ok() {
        drop(client.shutdown().await);
    }
}

async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let number = state.accepted.fetch_add(1, Ordering::SeqCst);
    let dead = || state.hole.load(Ordering::SeqCst) || number < state.muted_below.load(Ordering::SeqCst);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let muted = AtomicBool::new(false);
    let up = async {
        let mut buffer = vec![0; 65536];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            let fault = {
                let mut armed = state.fault.lock().unwrap();
                match *armed {
                    Fault::CutBefore(needle) | Fault::CutAfter(needle) | Fault::MuteAfter(needle)
                        if text.contains(needle) =>
                    {
                        std::mem::replace(&mut *armed, Fault::None)
                    }
                    _ => Fault::None,
                }
            };
            if matches!(fault, Fault::CutBefore(_)) {
                return;
            }
            if matches!(fault, Fault::CutAfter(_) | Fault::MuteAfter(_)) {
                muted.store(true, Ordering::SeqCst);
            }
            pause(&state).await;
            if !dead() && to_server.write_all(&buffer[..n]).await.is_err() {
                return;
            }
            if matches!(fault, Fault::CutAfter(_)) {
                // The server acts on it, and its answer goes nowhere.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 65536];
        while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
            pause(&state).await;
            let silent = muted.load(Ordering::SeqCst) || dead();
            if !silent && to_client.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { biased; () = up => {}, () = down => {} }
}

async fn pause(state: &State) {
    let delay = state.delay_ms.load(Ordering::SeqCst);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay.into())).await;
    }
}
