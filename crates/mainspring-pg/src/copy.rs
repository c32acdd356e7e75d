//! COPY: many rows into one table, faster than any INSERT.

use std::pin::pin;

use mainspring_core::{Error, Result};
use tokio::time::timeout;
use tokio_postgres::{
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

use crate::{db::Db, error::failed, error::label};

/// The type of a column in a [`copy_in`](Db::copy_in).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyType {
    /// `text`
    Text,
    /// `bigint`
    BigInt,
    /// `integer`
    Integer,
    /// `smallint`
    SmallInt,
    /// `boolean`
    Bool,
    /// `jsonb`
    Json,
    /// `timestamptz`
    Time,
}

impl CopyType {
    fn oid(self) -> Type {
        match self {
            Self::Text => Type::TEXT,
            Self::BigInt => Type::INT8,
            Self::Integer => Type::INT4,
            Self::SmallInt => Type::INT2,
            Self::Bool => Type::BOOL,
            Self::Json => Type::JSONB,
            Self::Time => Type::TIMESTAMPTZ,
        }
    }
}

/// The values of one row, in the order of the columns.
pub type CopyRow = Vec<Box<dyn ToSql + Sync + Send>>;

impl Db<'_> {
    /// Runs `COPY {table} (…) FROM STDIN (FORMAT binary)` with these rows, inside a transaction; how many there were.
    ///
    /// # Errors
    /// Internal on the pool; else as [`run`](Self::run).
    pub async fn copy_in(&self, sql: &'static str, columns: &[CopyType], rows: Vec<CopyRow>) -> Result<u64> {
        let client = self.client().ok_or_else(|| Error::internal("rows are copied inside a transaction"))?;
        let text = self.names().render(sql);
        let types: Vec<Type> = columns.iter().map(|column| column.oid()).collect();
        let work = async {
            let sink = client.copy_in(&*text).await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
            for row in &rows {
                let values: Vec<&(dyn ToSql + Sync)> =
                    row.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
                writer.as_mut().write(&values).await?;
            }
            writer.finish().await
        };
        match timeout(self.shared.deadlines.statement, work).await {
            Ok(done) => done.map_err(|error| failed(label(sql), error)),
            Err(_) => Err(Error::new(
                mainspring_core::ErrorKind::Busy,
                format!("{}: no answer within {:?}", label(sql), self.shared.deadlines.statement),
            )),
        }
    }
}
