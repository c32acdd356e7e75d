//! Which projections there are, which version of each is read, and how a version is built.
//!
//! ```text
//! register ──► active, when it is the first version; else inactive ──activate──► active (the others become inactive)
//!                    └───────────── rebuild ──► building ──► active ──────────────┘
//! ```
//! A rebuild is an ordinary processor that begins at the beginning. Of an inline projection it takes in, in the end, what is
//! committed and not yet settled while no writer of events can hold the lock of the projection's name: from there on the
//! writers keep it themselves. So each event is taken in once, by one of the two.

use std::sync::Arc;

use mainspring_core::{
    BoxFuture, Error, EventQuery, EventStore, RecordedEvent, Result, Timestamp, event::EXECUTIONS, limits,
};
use mainspring_events::PgEventStore;
use mainspring_pg::{
    Db, Flight, Query, Row,
    row::{count, get, time},
};
use serde_json::Value;

use crate::{
    consumer::Consumer,
    handler::{BoxError, Projector},
    processor::Processor,
    projection::{Projection, ours},
};

/// Who keeps a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Each append, in its own transaction; see [`Inline`](crate::Inline).
    Inline,
    /// A consumer.
    Async,
}

impl Kept {
    fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Async => "async",
        }
    }
}

/// Whether a version of a projection is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectionStatus {
    /// Read, and kept up to date.
    Active,
    /// Being built from the log.
    Building,
    /// Neither read nor kept inline.
    Inactive,
}

/// A version of a projection, as it is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectionState {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Who keeps it.
    pub kept: Kept,
    /// Whether it is read and written.
    pub status: ProjectionStatus,
    /// Whatever the application wants to remember about it.
    pub definition: Value,
    /// When anything of this last changed.
    pub updated_at: Timestamp,
}

/// The registry of projections.
#[derive(Clone)]
pub struct Projections<'t> {
    db: Db<'t>,
}

impl<'t> Projections<'t> {
    /// The registry.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// Registers a version, or replaces the definition of one that is there; whether it is new. The first version of a name
    /// is active, others are not until they are [activated](Self::activate) or [built](Self::rebuild).
    ///
    /// # Errors
    /// Invalid, naming the field and the limit; conflict when it is there and kept otherwise.
    pub async fn register(&self, name: &str, version: u32, kept: Kept, definition: Value) -> Result<bool> {
        limits::check_name("projection.name", name)?;
        limits::check_json("projection.definition", &definition)?;
        let number = number(version)?;
        let row = self.db.opt(REGISTER, &[&name, &number, &kept.as_str(), &definition]).await?;
        match row {
            Some(row) => get(&row, 0),
            None => Err(Error::conflict(format!(
                "projection `{name}` version {version} is not {}",
                kept.as_str()
            ))),
        }
    }

    /// Makes a version the one that is read, and every other of its name inactive, at once; whether it is registered.
    ///
    /// # Errors
    /// Conflict while it is being built.
    pub async fn activate(&self, name: &str, version: u32) -> Result<bool> {
        let number = number(version)?;
        match self.status(name, number).await? {
            None => Ok(false),
            Some(ProjectionStatus::Building) => Err(building(name, version)),
            Some(_) => self.db.together(activation(name, number)).await.map(|_| true),
        }
    }

    /// Makes a version inactive; whether it is registered.
    ///
    /// # Errors
    /// Conflict while it is being built.
    pub async fn deactivate(&self, name: &str, version: u32) -> Result<bool> {
        let number = number(version)?;
        match self.status(name, number).await? {
            None => Ok(false),
            Some(ProjectionStatus::Building) => Err(building(name, version)),
            Some(_) => {
                let off = Query::new(SET).bind(name.to_owned()).bind(number).bind("inactive");
                self.db.together(vec![lock(name), off]).await.map(|_| true)
            }
        }
    }

    async fn status(&self, name: &str, number: i32) -> Result<Option<ProjectionStatus>> {
        let row = self.db.opt(STATUS, &[&name, &number]).await?;
        row.map(|row| status(&row, 0)).transpose()
    }

    /// All versions of all projections, by name and version.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn list(&self) -> Result<Vec<ProjectionState>> {
        self.db.all(LIST, &[]).await?.iter().map(from_row).collect()
    }
}

impl Projections<'static> {
    /// Builds a projection from the beginning of the log, and then makes this version the one that is read.
    ///
    /// Of a version that is read already, what it has is deleted first and readers see how it grows. Of a new version nobody
    /// reads anything until all of it is there. When it fails or its process dies, the same call goes on where it was.
    /// Programs that append must know the new version (as [`Inline`](crate::Inline)) before an inline projection is built.
    ///
    /// A projection that is kept by a consumer goes on from where this ends, as the processor of its name and version;
    /// while such a processor runs, this is refused.
    ///
    /// # Errors
    /// Conflict when a processor or another rebuild of it runs; what the projection answers.
    pub async fn rebuild<P: Projection + ?Sized>(&self, kept: Kept, projection: Arc<P>) -> Result<()> {
        let (name, number) = (projection.name().to_owned(), number(projection.version())?);
        limits::check_name("projection.name", &name)?;
        self.begin(kept, &name, number, &*projection).await?;
        let projector = Building { projection: projection.clone(), kept };
        let processor = Processor::projector(name.clone(), projector).version(projection.version());
        Consumer::new(&self.db, "rebuild").batch_size(500).processor(processor).run_to_end().await?;
        self.end(kept, &name, number, &*projection).await
    }

    async fn begin<P: Projection + ?Sized>(
        &self,
        kept: Kept,
        name: &str,
        number: i32,
        projection: &P,
    ) -> Result<()> {
        let begun = Query::new(STATUS).bind(name.to_owned()).bind(number);
        let held = Query::new(HELD).bind(name.to_owned()).bind(number);
        let (flight, rows) = self.db.begin_plain(vec![lock(name), begun, held]).await?;
        let before = rows.get(1).and_then(|rows| rows.first()).map(|row| status(row, 0)).transpose()?;
        if rows.get(2).is_some_and(|rows| !rows.is_empty()) {
            flight.rollback().await?;
            return Err(Error::conflict(format!("projection `{name}` is kept by a processor that runs")));
        }
        if before == Some(ProjectionStatus::Building) {
            return flight.rollback().await;
        }
        let cleared = match flight.db() {
            Ok(tx) => projection.clear(&tx).await.map_err(ours),
            Err(error) => Err(error),
        };
        if let Err(error) = cleared {
            flight.rollback().await?;
            return Err(error);
        }
        let build = Query::new(BUILD).bind(name.to_owned()).bind(number).bind(kept.as_str());
        let anew = Query::new(ANEW).bind(name.to_owned()).bind(number);
        flight.commit(vec![build, anew]).await.map(drop)
    }

    /// Hands over: of an inline projection to the writers of events, with everything that is committed taken in.
    async fn end<P: Projection + ?Sized>(
        &self,
        kept: Kept,
        name: &str,
        number: i32,
        projection: &P,
    ) -> Result<()> {
        let place = Query::new(PLACE).bind(name.to_owned()).bind(number);
        let (flight, rows) = self.db.begin_plain(vec![lock(name), place]).await?;
        let mut last = activation(name, number);
        if kept == Kept::Inline {
            let place = rows.get(1).and_then(|rows| rows.first()).map(|row| get(row, 0)).transpose()?;
            let rest = match place {
                Some(position) => catch_up(&flight, position, projection).await,
                None => Err(Error::conflict(format!("another rebuild of projection `{name}` runs"))),
            };
            if let Err(error) = rest {
                flight.rollback().await?;
                return Err(error);
            }
            last.push(Query::new(FORGET).bind(name.to_owned()).bind(number));
        }
        flight.commit(last).await.map(drop)
    }
}

/// Takes in everything that is committed beyond `position`, settled or not: what is not committed now is by writers who will
/// keep the projection themselves.
async fn catch_up<P: Projection + ?Sized>(flight: &Flight, mut position: i64, projection: &P) -> Result<()> {
    let tx = flight.db()?;
    let log = PgEventStore::new(&tx);
    loop {
        let types = projection.event_types();
        let query =
            EventQuery { event_types: types, after_position: Some(position), ..EventQuery::default() };
        let events = log.query(query).await?;
        let Some(last) = events.last() else { return Ok(()) };
        position = last.global_position;
        let events: Vec<RecordedEvent> = events.into_iter().filter(is_not_of_a_history).collect();
        if !events.is_empty() {
            projection.apply(&tx, &events).await.map_err(ours)?;
        }
    }
}

/// The histories of executions do not pass by inline projections.
fn is_not_of_a_history(event: &RecordedEvent) -> bool {
    event.partition != EXECUTIONS
}

/// A projection while it is built: it sees what it would have seen.
struct Building<P: ?Sized> {
    projection: Arc<P>,
    kept: Kept,
}

impl<P: Projection + ?Sized> Projector for Building<P> {
    fn event_types(&self) -> Vec<String> {
        self.projection.event_types()
    }

    fn init<'a>(&'a self, tx: &'a Db<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        self.projection.init(tx)
    }

    fn apply<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        if self.kept == Kept::Async || events.iter().all(is_not_of_a_history) {
            return self.projection.apply(tx, events);
        }
        Box::pin(async move {
            let events: Vec<_> = events.iter().filter(|event| is_not_of_a_history(event)).cloned().collect();
            self.projection.apply(tx, &events).await
        })
    }
}

fn number(version: u32) -> Result<i32> {
    i32::try_from(version)
        .ok()
        .filter(|version| (1..=1_000_000).contains(version))
        .ok_or_else(|| Error::invalid("projection.version", format!("{version} is not within 1 to 1000000")))
}

fn building(name: &str, version: u32) -> Error {
    Error::conflict(format!("projection `{name}` version {version} is being built"))
}

/// Waits until no transaction that keeps the projection inline is under way, and keeps others out.
fn lock(name: &str) -> Query {
    Query::new(LOCK).bind(name.to_owned())
}

/// Two statements, since only one version may be active at any moment.
fn activation(name: &str, number: i32) -> Vec<Query> {
    vec![
        lock(name),
        Query::new(OTHERS).bind(name.to_owned()).bind(number),
        Query::new(SET).bind(name.to_owned()).bind(number).bind("active"),
    ]
}

fn status(row: &Row, index: usize) -> Result<ProjectionStatus> {
    match get::<&str>(row, index)? {
        "active" => Ok(ProjectionStatus::Active),
        "building" => Ok(ProjectionStatus::Building),
        "inactive" => Ok(ProjectionStatus::Inactive),
        _ => Err(mainspring_pg::row::unreadable(row, index)),
    }
}

fn from_row(row: &Row) -> Result<ProjectionState> {
    Ok(ProjectionState {
        name: get(row, 0)?,
        version: count(row, 1)?,
        kept: if get::<&str>(row, 2)? == "inline" { Kept::Inline } else { Kept::Async },
        status: status(row, 3)?,
        definition: get(row, 4)?,
        updated_at: time(row, 5)?.ok_or_else(|| Error::internal("a projection has no time"))?,
    })
}

const LOCK: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('{projections}'), pg_catalog.hashtext($1))";

const REGISTER: &str = "INSERT INTO {projections} AS p (name, version, kind, status, definition, created_at, updated_at)
  SELECT $1::text, $2::integer, $3::text,
    CASE WHEN EXISTS (SELECT FROM {projections} o WHERE o.name = $1) THEN 'inactive' ELSE 'active' END, $4::jsonb, c.at, c.at
  FROM (SELECT {now}() AS at OFFSET 0) c
  ON CONFLICT (name, version) DO UPDATE SET definition = excluded.definition, updated_at = excluded.updated_at
    WHERE p.kind = excluded.kind
  RETURNING p.xmax = 0";

const STATUS: &str = "SELECT status FROM {projections} WHERE name = $1 AND version = $2";

const OTHERS: &str = "UPDATE {projections} SET status = 'inactive', updated_at = {now}()
  WHERE name = $1 AND version <> $2 AND status = 'active'";

const SET: &str =
    "UPDATE {projections} SET status = $3::text, updated_at = {now}() WHERE name = $1 AND version = $2";

const LIST: &str =
    "SELECT name, version, kind, status, definition, updated_at FROM {projections} ORDER BY name, version";

const BUILD: &str = "INSERT INTO {projections} (name, version, kind, status, definition, created_at, updated_at)
  SELECT $1::text, $2::integer, $3::text, 'building', '{}', c.at, c.at FROM (SELECT {now}() AS at OFFSET 0) c
  ON CONFLICT (name, version) DO UPDATE SET status = 'building', kind = excluded.kind, updated_at = excluded.updated_at";

/// A processor of this name that runs, or is in the middle of a transaction.
const HELD: &str = "SELECT id FROM {processors} WHERE name = $1 AND version = $2 AND expires_at > {now}()";

const ANEW: &str = "DELETE FROM {processors} WHERE name = $1 AND version = $2";

const PLACE: &str = "SELECT position FROM {processors}
  WHERE name = $1 AND version = $2 AND partition = '*' AND tenant = '*' AND holder IS NULL FOR UPDATE";

const FORGET: &str = "DELETE FROM {processors} WHERE name = $1 AND version = $2";
