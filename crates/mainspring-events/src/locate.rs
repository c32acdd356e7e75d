//! Where events are that were written by a commit whose answer was lost.

use mainspring_core::{Append, Error, ErrorKind, Result};
use mainspring_pg::{Db, Query, Row};

use crate::{Decided, write::column};

const LOCATE: &str = "SELECT e.global_position
  FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS w(partition, tenant, stream, position, n)
    JOIN {events} e ON e.partition = w.partition AND e.stream = w.stream AND e.tenant = w.tenant
      AND e.stream_position = w.position
  ORDER BY w.n";

/// What [`events_query`](crate::events_query) of the same appends answered, read again.
///
/// # Errors
/// Commit unknown, when it cannot be read: the events are there all the same.
pub async fn locate<'a>(
    db: &Db<'_>,
    decided: impl IntoIterator<Item = (&'a Append, &'a Decided)>,
) -> Result<Vec<Row>> {
    let mut events = Vec::new();
    for (append, decided) in decided {
        if let Decided::Moved(appended) = decided {
            events.extend((appended.first..=appended.last).map(|position| (append, position)));
        }
    }
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let query = Query::new(LOCATE)
        .bind(column(&events, |(append, _)| append.partition.clone()))
        .bind(column(&events, |(append, _)| append.tenant.clone()))
        .bind(column(&events, |(append, _)| append.stream.clone()))
        .bind(column(&events, |(_, position)| *position));
    db.run(query).await.map_err(|error| {
        Error::new(ErrorKind::CommitUnknown, "committed, but where the events are cannot be read")
            .with_source(error)
    })
}
