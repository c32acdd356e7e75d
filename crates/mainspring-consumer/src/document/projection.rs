//! Documents that are kept by events: one for each stream, or wherever an event belongs.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_core::{BoxFuture, DocumentRules, Error, RecordedEvent, Result, limits};
use mainspring_pg::{Db, Query, row::get};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    handler::{BoxError, Projector},
    projection::Projection,
};

/// How often a batch reads its documents again because somebody else changed them.
const ATTEMPTS: u32 = 10;

type Ids = Box<dyn Fn(&RecordedEvent) -> Vec<String> + Send + Sync>;
type Evolve<T> = Box<dyn Fn(Option<T>, &RecordedEvent) -> Option<T> + Send + Sync>;

/// A [`Projection`] into a collection of documents of its name; read it with [`Documents`](crate::Documents).
///
/// ```
/// use mainspring_consumer::{Consumer, DocumentProjection, Documents};
/// use mainspring_core::{Append, EventStore, NewEvent};
/// # use mainspring_events::PgEventStore;
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Serialize, Deserialize, Default)]
/// struct Cart { total: i64 }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
/// # let test = mainspring_testing::TestDb::new().await; let db = test.db();
/// let carts = DocumentProjection::of_streams("carts", |cart: Option<Cart>, event| {
///     let mut cart = cart.unwrap_or_default();
///     cart.total += event.event.data["price"].as_i64().unwrap_or(0);
///     (event.event.event_type != "Discarded").then_some(cart) // `None` deletes the document
/// });
/// # let price = |n: i64| NewEvent::new("Added", json!({"price": n}));
/// # PgEventStore::new(&db).append(Append::to("cart-1", vec![price(20), price(22)])).await?;
/// Consumer::new(&db, "shop").projector("carts", carts).run_to_end().await?;
/// assert_eq!(Documents::<Cart>::new(&db, "carts")?.get("cart-1").await?.unwrap().data.total, 42);
/// # Ok(()) }
/// ```
pub struct DocumentProjection<T> {
    name: String,
    version: u32,
    event_types: Vec<String>,
    ids: Option<Ids>,
    evolve: Evolve<T>,
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> DocumentProjection<T> {
    /// One document for each stream, under its name. `evolve` answers the document after an event, or `None` to delete it.
    pub fn of_streams(
        name: impl Into<String>,
        evolve: impl Fn(Option<T>, &RecordedEvent) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), version: 1, event_types: Vec::new(), ids: None, evolve: Box::new(evolve) }
    }

    /// Documents under the ids that an event belongs to; none leaves the event out, several change each of them.
    pub fn by<I: Into<String>, L: IntoIterator<Item = I>>(
        name: impl Into<String>,
        ids: impl Fn(&RecordedEvent) -> L + Send + Sync + 'static,
        evolve: impl Fn(Option<T>, &RecordedEvent) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        let ids: Ids = Box::new(move |event| ids(event).into_iter().map(Into::into).collect());
        Self { ids: Some(ids), ..Self::of_streams(name, evolve) }
    }

    /// Another version has documents of its own. Defaults to 1.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Only events of these types. Defaults to all.
    #[must_use]
    pub fn event_types<N: Into<String>>(mut self, types: impl IntoIterator<Item = N>) -> Self {
        self.event_types = types.into_iter().map(Into::into).collect();
        self
    }

    fn number(&self) -> i32 {
        i32::try_from(self.version).unwrap_or(i32::MAX)
    }

    /// Takes in `events`. `in_order`: they come in the order of the log, so that a document which has seen a later one has
    /// seen them all.
    async fn take(&self, tx: &Db<'_>, events: &[RecordedEvent], in_order: bool) -> Result<()> {
        let mut open: BTreeMap<(String, String), Vec<&RecordedEvent>> = BTreeMap::new();
        for event in events {
            if !self.wants(event) {
                continue;
            }
            for id in DocumentRules::ids(self, event) {
                limits::check_id("document.id", &id)?;
                let its = open.entry((event.tenant.clone(), id)).or_default();
                // The same id twice is one document.
                if its.last().is_none_or(|last| !std::ptr::eq(*last, event)) {
                    its.push(event);
                }
            }
        }
        // In one stream events are in order whoever appends them.
        let in_order = in_order || self.ids.is_none();
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(());
            }
            let round = self.fold(&open, self.read(tx, &open).await?, in_order)?;
            let wanted: BTreeSet<Id> = round.keys().cloned().collect();
            open.retain(|key, _| wanted.contains(key));
            for key in self.write(tx, round).await? {
                open.remove(&key);
            }
        }
        let name = &self.name;
        Err(Error::conflict(format!("documents of `{name}` were changed by somebody else again and again")))
    }

    async fn read(
        &self,
        tx: &Db<'_>,
        open: &BTreeMap<Id, Vec<&RecordedEvent>>,
    ) -> Result<BTreeMap<Id, Stored>> {
        let (tenants, ids): (Vec<String>, Vec<String>) = open.keys().cloned().unzip();
        let query = Query::new(READ).bind(self.name.clone()).bind(self.number()).bind(tenants).bind(ids);
        let rows = tx.run(query).await?;
        let stored = rows.iter().map(|row| {
            let stored = Stored { revision: get(row, 2)?, position: get(row, 3)?, data: get(row, 4)? };
            Ok(((get(row, 0)?, get(row, 1)?), stored))
        });
        stored.collect()
    }

    fn fold(
        &self,
        open: &BTreeMap<Id, Vec<&RecordedEvent>>,
        mut stored: BTreeMap<Id, Stored>,
        in_order: bool,
    ) -> Result<Round> {
        let mut round = Round::default();
        for (key, events) in open {
            let before = stored.remove(key);
            let (revision, seen) =
                before.as_ref().map_or((0, 0), |stored| (stored.revision, stored.position));
            let mut document: Option<T> = before
                .map(|stored| read(stored.data))
                .transpose()
                .map_err(|error| Error::internal(format!("document `{}`", key.1)).with_source(error))?;
            let news = events.iter().filter(|event| !in_order || event.global_position > seen);
            let mut last = None;
            for event in news {
                document = (self.evolve)(document, event);
                last = Some(event.global_position);
            }
            let Some(last) = last else { continue };
            match document {
                Some(document) => {
                    let data = written(&document)?;
                    limits::check_json("document", &data)?;
                    round.puts.push((key.clone(), revision, seen.max(last), data));
                }
                None if revision > 0 => round.deletes.push((key.clone(), revision)),
                None => {}
            }
        }
        Ok(round)
    }

    /// The documents that were written. Those that are missing were changed meanwhile.
    async fn write(&self, tx: &Db<'_>, round: Round) -> Result<Vec<Id>> {
        let mut written = Vec::new();
        if !round.puts.is_empty() {
            let mut query = Query::new(PUT).bind(self.name.clone()).bind(self.number());
            let (tenants, ids): (Vec<_>, Vec<_>) = round.puts.iter().map(|(key, ..)| key.clone()).unzip();
            query = query.bind(tenants).bind(ids);
            query = query.bind(round.puts.iter().map(|(_, revision, ..)| revision + 1).collect::<Vec<i64>>());
            query = query.bind(round.puts.iter().map(|(.., position, _)| *position).collect::<Vec<i64>>());
            query = query.bind(round.puts.into_iter().map(|(.., data)| data).collect::<Vec<Value>>());
            written.extend(tx.run(query).await?);
        }
        for ((tenant, id), revision) in round.deletes {
            let query = Query::new(DELETE).bind(self.name.clone()).bind(self.number());
            written.extend(tx.run(query.bind(tenant).bind(id).bind(revision)).await?);
        }
        written.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }
}

type Id = (String, String);

struct Stored {
    revision: i64,
    position: i64,
    data: Value,
}

/// What one round wants to write.
#[derive(Default)]
struct Round {
    puts: Vec<(Id, i64, i64, Value)>,
    deletes: Vec<(Id, i64)>,
}

impl Round {
    fn keys(&self) -> impl Iterator<Item = &Id> {
        self.puts.iter().map(|(key, ..)| key).chain(self.deletes.iter().map(|(key, _)| key))
    }
}

fn read<T: DeserializeOwned>(data: Value) -> Result<T> {
    serde_json::from_value(data).map_err(|error| Error::internal("it cannot be read").with_source(error))
}

fn written(document: &impl Serialize) -> Result<Value> {
    serde_json::to_value(document)
        .map_err(|error| Error::invalid("document", "it cannot be written as JSON").with_source(error))
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> DocumentRules for DocumentProjection<T> {
    fn wants(&self, event: &RecordedEvent) -> bool {
        self.event_types.is_empty() || self.event_types.contains(&event.event.event_type)
    }

    fn ids(&self, event: &RecordedEvent) -> Vec<String> {
        self.ids.as_ref().map_or_else(|| vec![event.stream.clone()], |ids| ids(event))
    }

    fn evolve(&self, document: Option<Value>, event: &RecordedEvent) -> Result<Option<Value>> {
        let document = document.map(read).transpose()?;
        (self.evolve)(document, event).map(|document| written(&document)).transpose()
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Projector for DocumentProjection<T> {
    fn event_types(&self) -> Vec<String> {
        self.event_types.clone()
    }

    fn apply<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(self.take(tx, events, true).await?) })
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Projection for DocumentProjection<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn clear<'a>(&'a self, tx: &'a Db<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(tx.exec(CLEAR, &[&self.name, &self.number()]).await.map(drop)?) })
    }

    fn apply_inline<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(self.take(tx, events, false).await?) })
    }
}

const READ: &str = "SELECT u.tenant, u.id, d.revision, d.position, d.data
  FROM unnest($3::text[], $4::text[]) AS u(tenant, id) CROSS JOIN LATERAL (
    SELECT d.revision, d.position, d.data FROM {documents} d
    WHERE d.collection = $1 AND d.version = $2::integer AND d.tenant = u.tenant AND d.id = u.id OFFSET 0) d";

/// A new document conflicts with one that somebody made meanwhile, which is at revision 1 and not 0.
const PUT: &str = "INSERT INTO {documents} AS d
    (collection, version, tenant, id, revision, position, data, created_at, updated_at)
  SELECT $1, $2::integer, u.tenant, u.id, u.revision, u.position, u.data, c.at, c.at
  FROM (SELECT {now}() AS at OFFSET 0) c,
    unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::jsonb[]) AS u(tenant, id, revision, position, data)
  ON CONFLICT (collection, version, tenant, id) DO UPDATE
    SET revision = excluded.revision, position = excluded.position, data = excluded.data,
      updated_at = excluded.updated_at
    WHERE d.revision = excluded.revision - 1
  RETURNING d.tenant, d.id";

const DELETE: &str =
    "DELETE FROM {documents} WHERE collection = $1 AND version = $2::integer AND tenant = $3 AND id = $4
    AND revision = $5 RETURNING tenant, id";

const CLEAR: &str = "DELETE FROM {documents} WHERE collection = $1 AND version = $2::integer";
