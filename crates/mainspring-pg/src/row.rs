//! Between a driver's row and our words. What cannot be read is an error that names the column and the row, never a panic.

use std::time::{Duration, SystemTime};

use mainspring_core::{Error, Result, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio_postgres::{Row, types::FromSql};

/// One column.
///
/// # Errors
/// Internal, naming the column and the row by its first one.
pub fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|e| unreadable(row, index).with_source(e))
}

/// The error of a column that holds what it should not.
pub fn unreadable(row: &Row, index: usize) -> Error {
    let first = row.try_get::<_, &str>(0).unwrap_or("?");
    let column = row.columns().get(index).map_or("?", |column| column.name());
    Error::internal(format!("{column} of the row `{first}` cannot be read"))
}

/// A time, or none.
///
/// # Errors
/// As [`get`].
pub fn time(row: &Row, index: usize) -> Result<Option<Timestamp>> {
    Ok(get::<Option<SystemTime>>(row, index)?.map(Timestamp::from))
}

/// Whole microseconds, as statements take durations; at most those of a `bigint`.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A count, stored as `integer`.
///
/// # Errors
/// As [`get`], and when it is negative.
pub fn count(row: &Row, index: usize) -> Result<u32> {
    u32::try_from(get::<i32>(row, index)?).map_err(|e| unreadable(row, index).with_source(e))
}

/// A JSON object; one that is absent is empty.
///
/// # Errors
/// As [`get`], and when it is JSON of another kind.
pub fn object(row: &Row, index: usize) -> Result<Map<String, Value>> {
    match get::<Option<Value>>(row, index)? {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(unreadable(row, index)),
    }
}

/// A value stored as JSON, or none.
///
/// # Errors
/// As [`get`], and when the JSON is of another type.
pub fn typed<T: DeserializeOwned>(row: &Row, index: usize) -> Result<Option<T>> {
    let value: Option<Value> = get(row, index)?;
    value.map(serde_json::from_value).transpose().map_err(|e| unreadable(row, index).with_source(e))
}

/// A value to be stored as JSON. Our own types always become JSON; what could not would be stored as absent.
pub fn to_json<T: Serialize>(value: Option<&T>) -> Option<Value> {
    value.and_then(|value| serde_json::to_value(value).ok())
}
