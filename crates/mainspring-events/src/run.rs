//! Runs appends: in a transaction of their own, or in the caller's.

use mainspring_core::{Append, Appended, Error, RecordedEvent, Result, Timestamp, trace};
use mainspring_pg::{
    Db, Query, Row, is_transient,
    row::{get, time},
};

use tracing::Instrument;

use crate::{
    PgEventStore,
    append::{Appending, Decided, events_query, place},
    locate::locate,
    read::of,
    spans,
};

/// How often an append is run before a deadlock or a serialization failure is its caller's.
const ATTEMPTS: u32 = 5;

const GUARD: &str = "SELECT 1";

const WHY: &str = "SELECT s.archived_at IS NOT NULL, coalesce(CASE WHEN s.stream_position >= s.live_from THEN s.stream_position END, 0),
    $1 = 'streams' OR EXISTS (SELECT FROM {event_partitions} p WHERE p.partition = $1 AND p.tenant = '')
  FROM (SELECT) one LEFT JOIN {streams} s ON s.partition = $1 AND s.tenant = $2 AND s.stream = $3";

impl PgEventStore<'_> {
    /// Checks `appends` and makes all of them durable, or none.
    pub(crate) async fn append_now(&self, mut appends: Vec<Append>) -> Result<Vec<Appended>> {
        appends.iter().try_for_each(Append::check)?;
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        let events = appends.iter_mut().flat_map(|append| &mut append.events);
        trace::stamp(events.map(|event| &mut event.metadata));
        if self.db().in_transaction() {
            return self.append_within(&appends).await;
        }
        if let Some(group) = self.group() {
            return group.append_together(appends).await;
        }
        let mut attempt = 1;
        loop {
            match self.append_alone(&appends).await {
                Err(error) if attempt < ATTEMPTS && is_transient(&error) => {
                    tracing::debug!(attempt, error = error.code(), "append runs again");
                    mainspring_pg::backoff(attempt).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn append_alone(&self, appends: &[Append]) -> Result<Vec<Appended>> {
        let appending = Appending::of(appends.iter().collect())?;
        let (mut flight, answers) = if self.inline().is_empty() {
            self.db().begin(appending.queries()).await?
        } else {
            self.db().begin_plain(appending.queries()).await?
        };
        let (mut decided, at) = appending.decide(&answers)?;
        if let Some(n) = refused(&decided) {
            flight.rollback().await?;
            return Err(self.why(&appends[n], &decided[n]).await);
        }
        let Some(query) = events_query(appends.iter().zip(&decided)) else {
            flight.rollback().await?;
            return finished(decided);
        };
        if self.inline().is_empty() {
            let rows = match flight.commit(vec![query]).await? {
                Some(rows) => rows.into_iter().next().unwrap_or_default(),
                None => locate(self.db(), appends.iter().zip(&decided)).await?,
            };
            place(&rows, &mut decided)?;
        } else {
            let rows = flight.run(vec![query]).await?;
            let rows = rows.first().map_or(&[][..], Vec::as_slice);
            place(rows, &mut decided)?;
            let events = recorded(appends, &decided, rows)?;
            if let Err(error) = self.apply_inline(&flight.db()?, &events).await {
                flight.rollback().await?;
                return Err(error);
            }
            // Fails when a statement of a projection did and its failure was ignored.
            flight.commit(vec![Query::new(GUARD)]).await?;
        }
        if let Some(at) = at {
            self.db().clock().observe(at);
        }
        finished(decided)
    }

    /// In the caller's transaction. What is refused leaves nothing behind.
    async fn append_within(&self, appends: &[Append]) -> Result<Vec<Appended>> {
        let db = self.db();
        if appends.len() == 1 && self.inline().is_empty() {
            return self.write_within(appends).await;
        }
        db.exec("SAVEPOINT mainspring_append", &[]).await?;
        let result = self.write_within(appends).await;
        let end = match &result {
            Ok(_) => "RELEASE SAVEPOINT mainspring_append",
            Err(_) => "ROLLBACK TO SAVEPOINT mainspring_append",
        };
        db.exec(end, &[]).await?;
        result
    }

    async fn write_within(&self, appends: &[Append]) -> Result<Vec<Appended>> {
        let appending = Appending::of(appends.iter().collect())?;
        let answers = self.db().together(appending.queries()).await?;
        let (mut decided, _) = appending.decide(&answers)?;
        if let Some(n) = refused(&decided) {
            return Err(self.why(&appends[n], &decided[n]).await);
        }
        if let Some(query) = events_query(appends.iter().zip(&decided)) {
            let rows = self.db().run(query).await?;
            place(&rows, &mut decided)?;
            if !self.inline().is_empty() {
                self.apply_inline(self.db(), &recorded(appends, &decided, &rows)?).await?;
            }
        }
        finished(decided)
    }

    /// Applies every inline projection, in order, to events that were written in the transaction `db` stands in.
    ///
    /// # Errors
    /// Of the first projection that failed.
    pub async fn apply_inline(&self, db: &Db<'_>, events: &[RecordedEvent]) -> Result<()> {
        self.apply_each(db, events).instrument(spans::project(events)).await
    }

    async fn apply_each(&self, db: &Db<'_>, events: &[RecordedEvent]) -> Result<()> {
        for projection in self.inline() {
            let types = projection.event_types();
            if types.is_empty() {
                projection.apply(db, events).await?;
                continue;
            }
            let wanted = events.iter().filter(|event| types.contains(&event.event.event_type));
            let wanted: Vec<RecordedEvent> = wanted.cloned().collect();
            if !wanted.is_empty() {
                projection.apply(db, &wanted).await?;
            }
        }
        Ok(())
    }

    async fn why(&self, append: &Append, decided: &Decided) -> Error {
        match decided {
            Decided::Overlaps(recorded) => append.overlaps(*recorded),
            _ => self.refusal(append).await,
        }
    }

    /// Why an append was refused, with where its stream really stands.
    pub async fn refusal(&self, append: &Append) -> Error {
        let why = async {
            let rows = self.db().run(of(WHY, &append.stream_id())).await?;
            let row = rows.first().ok_or_else(|| Error::internal("no row about a stream"))?;
            Ok::<_, Error>((get::<bool>(row, 0)?, get::<i64>(row, 1)?, get::<bool>(row, 2)?))
        };
        match why.await {
            Ok((.., false)) => Error::not_found("partition", &append.partition),
            Ok((true, ..)) => append.archived(),
            Ok((_, current, _)) => append.conflict(current),
            Err(error) => error,
        }
    }
}

fn refused(decided: &[Decided]) -> Option<usize> {
    decided.iter().position(|one| matches!(one, Decided::Refused | Decided::Overlaps(_)))
}

fn finished(decided: Vec<Decided>) -> Result<Vec<Appended>> {
    decided
        .into_iter()
        .map(|one| match one {
            Decided::Moved(appended) | Decided::Done(appended) => Ok(appended),
            Decided::Refused | Decided::Overlaps(_) => Err(Error::internal("a refused append was committed")),
        })
        .collect()
}

/// The events that were written, as readers will see them. `rows` are those of [`events_query`].
///
/// # Errors
/// Internal, when a row cannot be read.
pub fn recorded<A: std::borrow::Borrow<Append>>(
    appends: &[A],
    decided: &[Decided],
    rows: &[Row],
) -> Result<Vec<RecordedEvent>> {
    let mut rows = rows.iter();
    let mut events = Vec::new();
    for (append, decided) in appends.iter().zip(decided) {
        let append = append.borrow();
        let Decided::Moved(appended) = decided else { continue };
        for (position, event) in (appended.first..).zip(&append.events) {
            let row = rows.next().ok_or_else(|| Error::internal("an event was written without an answer"))?;
            let created_at: Timestamp =
                time(row, 1)?.ok_or_else(|| Error::internal("an event without a time"))?;
            events.push(RecordedEvent {
                partition: append.partition.clone(),
                tenant: append.tenant.clone(),
                stream: append.stream.clone(),
                position,
                global_position: get(row, 0)?,
                event: event.clone(),
                created_at,
            });
        }
    }
    Ok(events)
}
