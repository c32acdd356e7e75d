//! One array parameter, encoded as it is filled: the rows of a batch are borrowed, and nothing of them is copied twice.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A column of a batch, to be bound where a statement says `$n::text[]`, `bigint[]`, `integer[]` or `jsonb[]`.
///
/// ```
/// # use mainspring_pg::{Column, Query};
/// let ids = ["a", "b"];
/// let query = Query::new("DELETE FROM {jobs} WHERE id = ANY ($1::text[])").bind(Column::text(ids.into_iter().map(Some)));
/// ```
#[derive(Debug, Clone)]
pub struct Column {
    element: Type,
    array: Type,
    rows: usize,
    nulls: bool,
    /// The elements, each with its length in front, as the protocol wants them.
    body: Vec<u8>,
}

impl Column {
    /// `text[]`
    pub fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Self {
        Self::of(Type::TEXT, Type::TEXT_ARRAY, values, |body, text| {
            body.extend_from_slice(text.as_bytes());
        })
    }

    /// `bigint[]`
    pub fn bigint(values: impl Iterator<Item = i64>) -> Self {
        Self::of(Type::INT8, Type::INT8_ARRAY, values.map(Some), |body, n| {
            body.extend_from_slice(&n.to_be_bytes());
        })
    }

    /// `integer[]`; what does not fit is the greatest that does.
    pub fn integer(values: impl Iterator<Item = u32>) -> Self {
        Self::of(Type::INT4, Type::INT4_ARRAY, values.map(Some), |body, n| {
            body.extend_from_slice(&i32::try_from(n).unwrap_or(i32::MAX).to_be_bytes());
        })
    }

    /// `bytea[]`
    pub fn bytea<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        Self::of(Type::BYTEA, Type::BYTEA_ARRAY, values.map(Some), |body, bytes| {
            body.extend_from_slice(bytes);
        })
    }

    /// `jsonb[]`. What cannot be JSON becomes `null`; our own types always can.
    pub fn json<T: Serialize>(values: impl Iterator<Item = T>) -> Self {
        Self::of(Type::JSONB, Type::JSONB_ARRAY, values.map(Some), |body, value| {
            body.push(1); // the version of the format
            let begin = body.len();
            if serde_json::to_writer(&mut *body, &value).is_err() {
                body.truncate(begin);
                body.extend_from_slice(b"null");
            }
        })
    }

    fn of<T>(
        element: Type,
        array: Type,
        values: impl Iterator<Item = Option<T>>,
        write: impl Fn(&mut Vec<u8>, T),
    ) -> Self {
        let mut column = Self { element, array, rows: 0, nulls: false, body: Vec::new() };
        for value in values {
            column.rows += 1;
            let at = column.body.len();
            column.body.extend_from_slice(&(-1_i32).to_be_bytes());
            let Some(value) = value else {
                column.nulls = true;
                continue;
            };
            write(&mut column.body, value);
            let length = i32::try_from(column.body.len() - at - 4).unwrap_or(i32::MAX);
            if let Some(prefix) = column.body.get_mut(at..at + 4) {
                prefix.copy_from_slice(&length.to_be_bytes());
            }
        }
        column
    }
}

impl ToSql for Column {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *ty != self.array {
            return Err(format!("a column of {} was bound to {ty}", self.element).into());
        }
        out.put_i32(1); // dimensions
        out.put_i32(i32::from(self.nulls));
        out.put_u32(self.element.oid());
        out.put_i32(i32::try_from(self.rows)?);
        out.put_i32(1); // the first one is number 1
        out.put_slice(&self.body);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::TEXT_ARRAY | Type::INT8_ARRAY | Type::INT4_ARRAY | Type::BYTEA_ARRAY | Type::JSONB_ARRAY
        )
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The same bytes as the driver's own encoding of a vector.
    fn same(column: &Column, vector: &dyn ToSql, ty: &Type) {
        let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
        column.to_sql_checked(ty, &mut ours).unwrap();
        vector.to_sql_checked(ty, &mut theirs).unwrap();
        assert_eq!(ours, theirs, "{ty}");
    }

    #[test]
    fn a_column_is_encoded_like_a_vector() {
        let texts = [Some("a"), None, Some(""), Some("überall")];
        same(&Column::text(texts.into_iter()), &texts.to_vec(), &Type::TEXT_ARRAY);
        same(&Column::text(std::iter::empty()), &Vec::<String>::new(), &Type::TEXT_ARRAY);
        let numbers = vec![i64::MIN, -1, 0, i64::MAX];
        same(&Column::bigint(numbers.iter().copied()), &numbers, &Type::INT8_ARRAY);
        same(&Column::integer([0, 7, u32::MAX].into_iter()), &vec![0, 7, i32::MAX], &Type::INT4_ARRAY);
        let bytes: Vec<&[u8]> = vec![b"a\0b", b"", b"\xff"];
        same(&Column::bytea(bytes.iter().copied()), &bytes, &Type::BYTEA_ARRAY);
        let values: Vec<Value> = vec![json!({"a": [1, "x"]}), json!(null), json!("s")];
        same(&Column::json(values.iter()), &values, &Type::JSONB_ARRAY);
    }

    #[test]
    fn a_column_is_refused_where_it_does_not_belong() {
        let mut out = BytesMut::new();
        let error = Column::bigint([1].into_iter())
            .to_sql_checked(&Type::TEXT_ARRAY, &mut out)
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains("int8"), "{error}");
        assert!(Column::bigint([1].into_iter()).to_sql_checked(&Type::INT8, &mut out).is_err());
    }
}
