//! What to look for in a collection.

use mainspring_core::{Error, Result, limits};
use serde_json::Value;

/// How a value is compared. Values of different JSON types are unequal, and neither is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Eq,
    /// Not equal, or not there.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

impl Compare {
    fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "<>",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }
}

/// Which documents, and how many: all conditions hold for each. By id.
///
/// ```
/// use mainspring_consumer::{Compare, Find};
/// use serde_json::json;
///
/// let expensive = Find::containing(json!({"status": "open"})).and("total.net", Compare::Gt, json!(100)).limit(20);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "it describes what to find"]
pub struct Find {
    pub(crate) containing: Option<Value>,
    paths: Vec<String>,
    operators: Vec<&'static str>,
    values: Vec<Value>,
    after: Option<String>,
    limit: Option<u32>,
}

impl Find {
    /// All documents.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those that contain this: the same keys with the same values at least, at any depth (`@>` of Postgres). An index that
    /// [`Documents::index_sql`](super::Documents::index_sql) shows makes this fast.
    pub fn containing(value: Value) -> Self {
        Self { containing: Some(value), ..Self::default() }
    }

    /// Those whose value at `path`, keys with dots between them, compares like this.
    pub fn and(mut self, path: impl Into<String>, how: Compare, value: Value) -> Self {
        self.paths.push(path.into());
        self.operators.push(how.as_str());
        self.values.push(value);
        self
    }

    /// Those with a greater id: the next page behind the last document of one.
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// At most so many, 1 to 10,000. Defaults to 100.
    pub fn limit(mut self, documents: u32) -> Self {
        self.limit = Some(documents);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.paths.iter().try_for_each(|path| limits::check_id("find.path", path))?;
        if let Some(value) = &self.containing {
            limits::check_json("find.containing", value)?;
        }
        if let Some(id) = &self.after {
            limits::check_id("find.after", id)?;
        }
        match self.limit {
            Some(0) | Some(10_001..) => Err(Error::invalid("find.limit", "is not within 1 to 10000")),
            _ => self.values.iter().try_for_each(|value| limits::check_json("find.value", value)),
        }
    }

    /// The parameters from `$4` on.
    pub(crate) fn bind(&self, query: mainspring_pg::Query) -> mainspring_pg::Query {
        query
            .bind(self.paths.clone())
            .bind(self.operators.clone())
            .bind(self.values.clone())
            .bind(self.after.clone())
            .bind(i64::from(self.limit.unwrap_or(100)))
    }
}
