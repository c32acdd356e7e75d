//! Which executions are meant.

use mainspring::{
    Attribute, AttributeBound, Attributes, Compare, ExecutionFilter, ExecutionId, ExecutionStatus, Timestamp,
};

use crate::{
    Context, Result,
    words::{Moment, PageArgs},
};

/// What executions have in common; all of it holds.
#[derive(clap::Args)]
pub(crate) struct FilterArgs {
    /// Only of this flow or workflow.
    #[arg(long, value_name = "ID")]
    flow: Option<String>,
    /// Only of this version of it; that of a workflow at `2` is `fn-2`.
    #[arg(long, value_name = "VERSION", requires = "flow")]
    flow_version: Option<String>,
    /// Only with this status: pending, running, waiting, cancelling, completed, failed or cancelled.
    #[arg(long)]
    status: Option<String>,
    /// Only created since this time, or since so long ago.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only created before this time, or longer ago.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Only with this search attribute, or within a bound of it: also `<`, `<=`, `>` and `>=`. May be said several times.
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
}

impl FilterArgs {
    /// Whether nothing is said at all.
    pub(super) fn is_empty(&self) -> bool {
        let times = self.since.is_none() && self.until.is_none();
        self.flow.is_none() && self.status.is_none() && self.attributes.is_empty() && times
    }

    /// The filter.
    ///
    /// # Errors
    /// Invalid, naming the option.
    pub(super) async fn filter(&self, context: &Context) -> Result<ExecutionFilter> {
        let (mut attributes, mut bounds) = (Attributes::new(), Vec::new());
        for text in &self.attributes {
            match attribute(text)? {
                (name, None, value) => drop(attributes.insert(name, value)),
                (name, Some(compare), value) => bounds.push(AttributeBound { name, compare, value }),
            }
        }
        Ok(ExecutionFilter {
            tenant: context.tenant(),
            flow_id: self.flow.clone(),
            flow_version: self.flow_version.clone(),
            status: self.status.as_deref().map(str::parse).transpose()?,
            since: context.time_of(self.since).await?,
            until: context.time_of(self.until).await?,
            attributes,
            bounds,
            ..ExecutionFilter::default()
        })
    }

    /// The same once for each status that something can be done about: `possible`, or the one that was asked for.
    pub(super) async fn filters(
        &self,
        context: &Context,
        possible: impl Fn(ExecutionStatus) -> bool,
    ) -> Result<Vec<ExecutionFilter>> {
        let filter = self.filter(context).await?;
        let asked: Vec<ExecutionStatus> = match filter.status {
            Some(status) => vec![status],
            None => ExecutionStatus::ALL.into_iter().filter(|status| possible(*status)).collect(),
        };
        let with = |status| ExecutionFilter { status: Some(status), ..filter.clone() };
        Ok(asked.into_iter().map(with).collect())
    }
}

/// `name=value`, or `name<value` and the like: a number or a truth when it looks like one, else text.
fn attribute(text: &str) -> Result<(String, Option<Compare>, Attribute)> {
    let bad = || mainspring::Error::invalid("attribute", "is not like name=value or name<value");
    let (name, rest) = text.split_at(text.find(['=', '<', '>']).ok_or_else(bad)?);
    let signs = [
        ("<=", Some(Compare::AtMost)),
        (">=", Some(Compare::AtLeast)),
        ("<", Some(Compare::Less)),
        (">", Some(Compare::Greater)),
        ("=", None),
    ];
    let split = |(sign, compare)| Some((compare, rest.strip_prefix(sign)?));
    let (compare, value) = signs.into_iter().find_map(split).ok_or_else(bad)?;
    let typed = serde_json::from_str::<Attribute>(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), compare, typed))
}

impl PageArgs {
    pub(super) fn apply(&self, mut filter: ExecutionFilter) -> Result<ExecutionFilter> {
        filter.limit = self.limit;
        filter.after = match self.cursor::<Timestamp, String>()? {
            Some((time, id)) => Some((time, ExecutionId::new(id)?)),
            None => None,
        };
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_says_how_it_compares() {
        for (text, name, compare, value) in [
            ("a=1", "a", None, Attribute::from(1)),
            ("a==1", "a", None, "=1".into()),
            ("a<2.5", "a", Some(Compare::Less), 2.5.into()),
            ("a<=b=c", "a", Some(Compare::AtMost), "b=c".into()),
            ("due>=2026-01-01T00:00:00Z", "due", Some(Compare::AtLeast), "2026-01-01T00:00:00Z".into()),
            ("a>true", "a", Some(Compare::Greater), true.into()),
        ] {
            assert_eq!(attribute(text).unwrap(), (name.to_owned(), compare, value), "{text}");
        }
        assert!(attribute("a").is_err());
    }
}
