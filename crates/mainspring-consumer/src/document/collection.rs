//! A collection as its readers and writers see it.

use std::{marker::PhantomData, time::SystemTime};

use mainspring_core::{Error, Expect, Result, Timestamp, limits};
use mainspring_pg::{Db, Query, Row, TxRef, row::get};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{find::Find, live};

/// A document as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<T> {
    /// Its id.
    pub id: String,
    /// Grows by one with every write, from 1.
    pub revision: i64,
    /// What it says.
    pub data: T,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// The documents of one collection and tenant, as values of `T`.
///
/// ```
/// use mainspring_consumer::{Compare, Documents, Find};
/// use mainspring_core::Expect;
/// use serde_json::{Value, json};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
/// # let test = mainspring_testing::TestDb::new().await; let db = test.db();
/// let carts = Documents::<Value>::new(&db, "carts")?;
/// assert_eq!(carts.put("cart-1", &json!({"owner": "ada", "total": 42})).await?, 1);
/// assert_eq!(carts.put_if("cart-1", &json!({"owner": "ada", "total": 43}), Expect::Revision(1)).await?, 2);
/// assert!(carts.put_if("cart-1", &json!({}), Expect::Revision(1)).await.unwrap_err().is_conflict());
///
/// let found = carts.find(Find::containing(json!({"owner": "ada"})).and("total", Compare::Gt, json!(40))).await?;
/// assert_eq!(found[0].data["total"], 43);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Documents<'t, T> {
    db: Db<'t>,
    collection: String,
    tenant: String,
    version: Option<i32>,
    of: PhantomData<fn() -> T>,
}

impl<'t, T: Serialize + DeserializeOwned> Documents<'t, T> {
    /// The collection of this name: that of the projection of the same name, in its active version, or the application's own.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn new(db: &Db<'t>, collection: impl Into<String>) -> Result<Self> {
        let collection = collection.into();
        limits::check_name("collection", &collection)?;
        Ok(Self { db: db.clone(), collection, tenant: String::new(), version: None, of: PhantomData })
    }

    /// The documents of this tenant instead of nobody's.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn of_tenant(mut self, tenant: impl Into<String>) -> Result<Self> {
        self.tenant = tenant.into();
        if !self.tenant.is_empty() {
            limits::check_id("tenant", &self.tenant)?;
        }
        Ok(self)
    }

    /// Those of this version of the projection, whether it is active or not.
    #[must_use]
    pub fn of_version(mut self, version: u32) -> Self {
        self.version = Some(i32::try_from(version).unwrap_or(i32::MAX));
        self
    }

    /// The same, standing on your transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> Documents<'u, T> {
        Documents {
            db: self.db.on(tx),
            collection: self.collection.clone(),
            tenant: self.tenant.clone(),
            version: self.version,
            of: PhantomData,
        }
    }

    fn query(&self, sql: &'static str) -> Query {
        Query::new(sql).bind(self.collection.clone()).bind(self.version).bind(self.tenant.clone())
    }

    /// One document.
    ///
    /// # Errors
    /// Internal, when what is stored is no `T`.
    pub async fn get(&self, id: &str) -> Result<Option<Document<T>>> {
        Ok(self.get_many(&[id]).await?.pop())
    }

    /// Those of `ids` that exist, by id.
    ///
    /// # Errors
    /// Internal, when what is stored is no `T`.
    pub async fn get_many(&self, ids: &[&str]) -> Result<Vec<Document<T>>> {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        self.db.run(self.query(GET).bind(ids)).await?.iter().map(from_row).collect()
    }

    /// Those that match, by id.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit; Internal, when what is stored is no `T`.
    pub async fn find(&self, find: Find) -> Result<Vec<Document<T>>> {
        find.check()?;
        let query = match &find.containing {
            None => find.bind(self.query(FIND)),
            Some(value) => find.bind(self.query(FIND_CONTAINING)).bind(value.clone()),
        };
        self.db.run(query).await?.iter().map(from_row).collect()
    }

    /// How many there are.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn count(&self) -> Result<u64> {
        let rows = self.db.run(self.query(COUNT)).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Creates or replaces one; its revision.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub async fn put(&self, id: &str, data: &T) -> Result<i64> {
        self.write(id, data, None).await
    }

    /// Creates or replaces one that is as expected; its revision.
    ///
    /// # Errors
    /// Conflict when it is not; invalid, naming the field and the limit.
    pub async fn put_if(&self, id: &str, data: &T, expect: Expect) -> Result<i64> {
        self.write(id, data, Some(expect)).await
    }

    async fn write(&self, id: &str, data: &T, expect: Option<Expect>) -> Result<i64> {
        limits::check_id("document.id", id)?;
        let data = serde_json::to_value(data)
            .map_err(|error| Error::invalid("document", "it cannot be written as JSON").with_source(error))?;
        limits::check_json("document", &data)?;
        let (creates, revision) = match expect {
            None => (true, None),
            Some(Expect::New) => (true, Some(0)),
            Some(Expect::Revision(revision)) => (false, Some(revision)),
        };
        let query = self.query(PUT).bind(id.to_owned()).bind(data).bind(creates).bind(revision);
        match self.db.run(query).await?.first() {
            Some(row) => get(row, 0),
            None => {
                let name = &self.collection;
                Err(Error::conflict(format!("document `{id}` of `{name}` is not at the expected revision")))
            }
        }
    }

    /// Deletes one, if it is at this revision when one is given; whether it was there.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn delete(&self, id: &str, revision: Option<i64>) -> Result<bool> {
        let query = self.query(DELETE).bind(id.to_owned()).bind(revision);
        Ok(!self.db.run(query).await?.is_empty())
    }

    /// The statement that makes [`Find::containing`] fast in this collection, for your own migrations. It costs every write.
    pub fn index_sql(&self) -> String {
        let quoted = self.collection.replace('\'', "''");
        let table = self.db.names().table("documents");
        format!("CREATE INDEX ON {table} USING gin (data jsonb_path_ops) WHERE collection = '{quoted}'")
    }
}

fn from_row<T: DeserializeOwned>(row: &Row) -> Result<Document<T>> {
    let id: String = get(row, 0)?;
    let data = serde_json::from_value(get::<Value>(row, 2)?)
        .map_err(|error| Error::internal(format!("document `{id}` cannot be read")).with_source(error))?;
    Ok(Document {
        id,
        revision: get(row, 1)?,
        data,
        created_at: get::<SystemTime>(row, 3)?.into(),
        updated_at: get::<SystemTime>(row, 4)?.into(),
    })
}

macro_rules! find {
    ($containing:literal) => {
        concat!(
            "SELECT d.id, d.revision, d.data, d.created_at, d.updated_at FROM ",
            live!(
                ", {documents} d
  WHERE d.collection = $1 AND d.version = v.version AND d.tenant = $3 AND ($7::text IS NULL OR d.id > $7)
    AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[], $6::jsonb[]) AS f(path, operator, value),
        LATERAL (SELECT d.data #> string_to_array(f.path, '.') AS it OFFSET 0) x
      WHERE NOT CASE f.operator
        WHEN '=' THEN coalesce(x.it = f.value, false)
        WHEN '<>' THEN coalesce(x.it <> f.value, true)
        ELSE coalesce(jsonb_typeof(x.it) = jsonb_typeof(f.value) AND CASE f.operator
          WHEN '<' THEN x.it < f.value WHEN '<=' THEN x.it <= f.value
          WHEN '>' THEN x.it > f.value ELSE x.it >= f.value END, false) END) "
            ),
            $containing,
            " ORDER BY d.id LIMIT $8"
        )
    };
}

const FIND: &str = find!("");
const FIND_CONTAINING: &str = find!("AND d.data @> $9::jsonb");

const GET: &str = concat!(
    "SELECT d.id, d.revision, d.data, d.created_at, d.updated_at FROM ",
    live!(
        ", unnest($4::text[]) AS u(id) CROSS JOIN LATERAL (SELECT * FROM {documents} d
    WHERE d.collection = $1 AND d.version = v.version AND d.tenant = $3 AND d.id = u.id OFFSET 0) d ORDER BY d.id"
    )
);

const COUNT: &str = concat!(
    "SELECT count(*) FROM ",
    live!(", {documents} d WHERE d.collection = $1 AND d.version = v.version AND d.tenant = $3")
);

const PUT: &str = concat!(
    "INSERT INTO {documents} AS d (collection, version, tenant, id, revision, position, data, created_at, updated_at)
  SELECT $1, v.version, $3, $4::text, 1, 0, $5::jsonb, c.at, c.at FROM (SELECT {now}() AS at OFFSET 0) c, ",
    live!(
        " WHERE $6::boolean OR EXISTS (SELECT FROM {documents} o
    WHERE o.collection = $1 AND o.version = v.version AND o.tenant = $3 AND o.id = $4)
  ON CONFLICT (collection, version, tenant, id) DO UPDATE
    SET revision = d.revision + 1, data = excluded.data, updated_at = excluded.updated_at
    WHERE $7::bigint IS NULL OR d.revision = $7
  RETURNING d.revision"
    )
);

const DELETE: &str = concat!(
    "DELETE FROM {documents} d USING ",
    live!(
        " WHERE d.collection = $1 AND d.version = v.version AND d.tenant = $3 AND d.id = $4
    AND ($5::bigint IS NULL OR d.revision = $5) RETURNING d.id"
    )
);
