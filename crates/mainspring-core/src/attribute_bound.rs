//! Bounds of search attributes: less than, at most, at least, greater than.

use std::{
    cmp::Ordering,
    ops::{Bound, RangeBounds},
};

use crate::{Attribute, Attributes, Error, ExecutionFilter, Result, check_attributes, limits};

/// How a value compares to that of a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `>`
    Greater,
}

impl Compare {
    /// The least and the greatest sign that the comparison of a value with the bound may have: -1, 0 or 1.
    pub fn signs(self) -> (i32, i32) {
        match self {
            Self::Less => (-1, -1),
            Self::AtMost => (-1, 0),
            Self::AtLeast => (0, 1),
            Self::Greater => (1, 1),
        }
    }
}

/// What a search attribute has to be: a number compared to a number, or a text to a text, byte by byte; times as
/// [`Timestamp`](crate::Timestamp) writes them by their time. Another type, or none, is never within.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeBound {
    /// The attribute.
    pub name: String,
    /// How it compares.
    pub compare: Compare,
    /// To what.
    pub value: Attribute,
}

impl AttributeBound {
    /// The bounds of a range, at most two.
    pub fn of<T: Into<Attribute> + Clone>(name: &str, range: impl RangeBounds<T>) -> Vec<Self> {
        let bound = |compare, value: &T| Self { name: name.to_owned(), compare, value: value.clone().into() };
        let least = match range.start_bound() {
            Bound::Included(value) => Some(bound(Compare::AtLeast, value)),
            Bound::Excluded(value) => Some(bound(Compare::Greater, value)),
            Bound::Unbounded => None,
        };
        let most = match range.end_bound() {
            Bound::Included(value) => Some(bound(Compare::AtMost, value)),
            Bound::Excluded(value) => Some(bound(Compare::Less, value)),
            Bound::Unbounded => None,
        };
        least.into_iter().chain(most).collect()
    }

    /// Whether it holds for these.
    pub fn holds(&self, attributes: &Attributes) -> bool {
        let found = attributes.get(&self.name).and_then(|found| compare(found, &self.value));
        let (least, most) = self.compare.signs();
        found.is_some_and(|ordering| (least..=most).contains(&(ordering as i32)))
    }
}

impl ExecutionFilter {
    /// Only with this search attribute in a range besides, such as `filter.within("total", 10..=20)`, or
    /// `filter.within("due", ..Timestamp::MIN)`; see [`AttributeBound`].
    #[must_use]
    pub fn within<T: Into<Attribute> + Clone>(mut self, name: &str, range: impl RangeBounds<T>) -> Self {
        self.bounds.extend(AttributeBound::of(name, range));
        self
    }

    /// Checks the search attributes and their bounds.
    ///
    /// # Errors
    /// Invalid, naming the attribute.
    pub fn check(&self) -> Result<()> {
        check_attributes(&self.attributes)?;
        check_bounds(&self.bounds)
    }
}

/// Checks names and values.
///
/// # Errors
/// Invalid: more than 32 of them, a name or value that is none, a truth, which nothing is less than.
fn check_bounds(bounds: &[AttributeBound]) -> Result<()> {
    if bounds.len() > limits::MAX_ATTRIBUTES {
        let problem = format!("{} are over {}", bounds.len(), limits::MAX_ATTRIBUTES);
        return Err(Error::invalid("filter.bounds", problem));
    }
    for AttributeBound { name, value, .. } in bounds {
        if let Attribute::Bool(_) = value {
            return Err(Error::invalid(&format!("filter.bounds.{name}"), "is neither a number nor a text"));
        }
        check_attributes(&[(name.clone(), value.clone())].into())?;
    }
    Ok(())
}

/// `None` for those of two types.
fn compare(one: &Attribute, other: &Attribute) -> Option<Ordering> {
    match (one, other) {
        (Attribute::Integer(one), Attribute::Integer(other)) => Some(one.cmp(other)),
        (Attribute::Text(one), Attribute::Text(other)) => Some(sortable(one).cmp(sortable(other))),
        (one, other) => number(one)?.partial_cmp(&number(other)?),
    }
}

fn number(attribute: &Attribute) -> Option<f64> {
    match attribute {
        #[allow(clippy::cast_precision_loss, reason = "it is compared to one that has no more precision")]
        Attribute::Integer(number) => Some(*number as f64),
        Attribute::Number(number) => Some(*number),
        Attribute::Bool(_) | Attribute::Text(_) => None,
    }
}

/// A text as it is compared: a time without its `Z`, behind which its fraction would sort wrongly.
pub fn sortable(text: &str) -> &str {
    let is_time = |text: &&str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let fits = |(byte, pattern): (u8, u8)| match pattern {
            b'0' => byte.is_ascii_digit(),
            _ => byte == pattern,
        };
        let pattern = b"0000-00-00T00:00:00";
        whole.len() == pattern.len()
            && whole.bytes().zip(pattern.iter().copied()).all(fits)
            && !fraction.is_empty()
            && fraction.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.strip_suffix('Z').filter(is_time).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_one_type_is_within() {
        let holds = |value: Attribute, bounds: &[AttributeBound]| {
            let attributes = Attributes::from([("a".to_owned(), value)]);
            bounds.iter().all(|bound| bound.holds(&attributes))
        };
        let tens = AttributeBound::of("a", 10..20);
        assert!(holds(10.into(), &tens) && holds(19.5.into(), &tens) && holds(10.0.into(), &tens));
        assert!(!holds(20.into(), &tens) && !holds(9.99.into(), &tens));
        assert!(!holds("15".into(), &tens) && !holds(true.into(), &tens));
        assert!(!AttributeBound::of("b", 10..)[0].holds(&Attributes::from([("a".to_owned(), 15.into())])));
        let above = AttributeBound::of("a", (Bound::Excluded(10), Bound::Unbounded));
        assert!(!holds(10.into(), &above) && holds(10.5.into(), &above));
        let names = AttributeBound::of("a", "b"..="d");
        assert!(holds("b".into(), &names) && holds("d".into(), &names));
        assert!(!holds("da".into(), &names) && !holds("B".into(), &names));
        let exact = AttributeBound::of("a", i64::MAX..);
        assert!(holds(i64::MAX.into(), &exact) && !holds((i64::MAX - 1).into(), &exact));
    }

    #[test]
    fn times_are_compared_by_their_time() {
        for (text, key) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00"),
            ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.5"),
            ("2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.Z"),
            ("2026-01-01Z", "2026-01-01Z"),
            ("XYZ", "XYZ"),
        ] {
            assert_eq!(sortable(text), key);
        }
        assert!("2026-01-01T00:00:00.5Z" < "2026-01-01T00:00:00Z");
        assert!(sortable("2026-01-01T00:00:00.5Z") > sortable("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn what_nothing_can_be_within_is_refused() {
        let refused = |value: Attribute| {
            let bound = AttributeBound { name: "a".to_owned(), compare: Compare::Less, value };
            check_bounds(&[bound]).unwrap_err().is_invalid()
        };
        assert!(refused(true.into()) && refused(f64::NAN.into()) && refused("x".repeat(256).into()));
        let many: Vec<_> = (0..17).flat_map(|n| AttributeBound::of(&n.to_string(), n..n)).collect();
        assert!(check_bounds(&many).unwrap_err().is_invalid());
    }
}
