//! The carrier: tickets are counters, calls are published.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use futures_util::future::try_join_all;
use mainspring_core::{BoxFuture, Error, Result};
use mainspring_pg::{Carrier, Heard, Hint};
use redis::{RedisResult, Script};

use crate::{
    health::{Counts, RedisHealth, RedisSettings, settings, warning},
    line::{Line, failed},
    listener::{self, LOOK, TICKETS},
    options::RedisOptions,
    wire::{Reach, Wire},
};

/// Forgets what is no counter of ours, else each script would fail on it for ever.
macro_rules! sound {
    ($script:literal) => {
        concat!(
            "local held = redis.pcall('GET', KEYS[1])
if held and not (type(held) == 'string' and #held < 16 and held:match('^%d+$')) then
  redis.call('DEL', KEYS[1])
  held = false
end
",
            $script
        )
    };
}

/// Adds up tickets, which are never less than none, and says so. A queue nobody pushes to is forgotten after a day.
const ADD: &str = sound!(
    "local n = tonumber(ARGV[1])
if n ~= 0 then
  if redis.call('INCRBY', KEYS[1], n) <= 0 then redis.call('DEL', KEYS[1]) else redis.call('EXPIRE', KEYS[1], 86400) end
end
for i = 3, #ARGV do redis.call('PUBLISH', ARGV[2], ARGV[i]) end"
);

const TAKE: &str = sound!(
    "local n = math.min(tonumber(held or 0), tonumber(ARGV[1]))
if n > 0 then redis.call('DECRBY', KEYS[1], n) end
return n"
);

/// Redis as the carrier of hints; see the crate. A clone shares the connection.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) line: Line,
    pub(crate) counts: Counts,
    options: RedisOptions,
    add: Script,
    take: Script,
}

impl Inner {
    pub(crate) fn channel(&self) -> String {
        format!("{}hints", self.options.prefix)
    }

    fn tickets(&self, queue: &str) -> String {
        format!("{}tickets:{queue}", self.options.prefix)
    }
}

impl Redis {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// Invalid, naming the option.
    pub fn new(options: RedisOptions) -> Result<Self> {
        options.check()?;
        let wrong = |error| Error::invalid("redis", "cannot be used").with_source(error);
        let line = Line::new(Reach::new(&options).map_err(wrong)?, options.deadline);
        let (add, take) = (Script::new(ADD), Script::new(TAKE));
        Ok(Self(Arc::new(Inner { line, counts: Counts::default(), options, add, take })))
    }

    /// How it is, as this process knows it.
    pub fn health(&self) -> RedisHealth {
        self.0.counts.health(self.0.line.is_up())
    }

    /// Why Redis may throw away what it was given, if it may. Nothing is lost then, but messages wait for the next poll. It is
    /// also logged whenever this process begins to listen.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn eviction_policy_warning(&self) -> Result<Option<String>> {
        let reach = &self.0.line.reach;
        let mut wire = reach.node(reach.config()).await.map_err(failed)?;
        warning(&mut wire).await
    }

    /// How the server keeps what it is given; `None` when it does not say so.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn settings(&self) -> Result<Option<RedisSettings>> {
        let reach = &self.0.line.reach;
        let mut wire = reach.node(reach.config()).await.map_err(failed)?;
        settings(&mut wire).await
    }

    async fn add(&self, hints: &[Hint]) -> Result<()> {
        self.0
            .line
            .ask(async |wire| try_join_all(hints.iter().map(|hint| self.0.tell(&wire, hint))).await)
            .await?;
        Ok(())
    }

    async fn take_up_to(&self, queue: &str, most: u32) -> Result<u32> {
        let mut call = self.0.take.key(self.0.tickets(queue));
        call.arg(most);
        self.0.line.ask(async |mut wire| call.invoke_async(&mut wire).await).await
    }
}

impl Inner {
    async fn tell(&self, wire: &Wire, hint: &Hint) -> RedisResult<()> {
        let mut call = self.add.key(self.tickets(&hint.name));
        call.arg(hint.tickets).arg(self.channel());
        if hint.look {
            call.arg(format!("{LOOK}{}", hint.name));
        }
        if hint.tickets > 0 {
            call.arg(format!("{TICKETS}{}", hint.name));
        }
        call.invoke_async(&mut wire.clone()).await
    }
}

impl Carrier for Redis {
    fn send(&self, hints: Vec<Hint>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let sent = self.add(&hints).await;
            let counter = if sent.is_ok() { &self.0.counts.sent } else { &self.0.counts.lost };
            counter.fetch_add(hints.len() as u64, Ordering::Relaxed);
            sent
        })
    }

    fn listen(&self, heard: Heard) -> BoxFuture<'static, ()> {
        Box::pin(listener::run(Arc::clone(&self.0), heard))
    }

    fn take<'a>(&'a self, queue: &'a str, most: u32) -> BoxFuture<'a, Result<u32>> {
        Box::pin(async move {
            let taken = self.take_up_to(queue, most).await?;
            self.0.counts.taken.fetch_add(u64::from(taken), Ordering::Relaxed);
            Ok(taken)
        })
    }

    fn is_up(&self) -> bool {
        self.0.line.is_up() && self.0.counts.listening.load(Ordering::Relaxed)
    }

    fn ghosts(&self, tickets: u32) {
        self.0.counts.ghosts.fetch_add(u64::from(tickets), Ordering::Relaxed);
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.0.options).finish()
    }
}
