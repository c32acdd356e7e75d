//! Pages of what is listed: so many, from a cursor on.

use mainspring_core::{Error, Result};
use serde::Serialize;

/// The most of one page.
const LARGEST: u32 = 1_000;

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    Ascending,
    /// The newest first.
    Descending,
}

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paging {
    /// At most so many, 1 to 1,000. Defaults to 20 runs and steps, 100 of everything else.
    pub limit: Option<u32>,
    /// The [`cursor`](Page::cursor) of the page before. Defaults to the first page.
    pub cursor: Option<String>,
    /// Defaults to the newest first for runs and steps, the oldest first for everything else.
    pub order: Option<Order>,
}

impl Paging {
    /// So many at a time.
    pub fn limit(limit: u32) -> Self {
        Self { limit: Some(limit), ..Self::default() }
    }

    /// The page after the one with this cursor.
    #[must_use]
    pub fn after(mut self, cursor: Option<String>) -> Self {
        self.cursor = cursor;
        self
    }

    /// In this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// How many.
    ///
    /// # Errors
    /// Invalid when out of range.
    pub(crate) fn size(&self, default: u32) -> Result<usize> {
        match self.limit.unwrap_or(default) {
            limit @ 1..=LARGEST => Ok(usize::try_from(limit).unwrap_or(0)),
            limit => Err(Error::invalid("limit", format!("{limit} is not within 1 to {LARGEST}"))),
        }
    }

    /// Where the page before ended.
    ///
    /// # Errors
    /// Invalid when it is no cursor of such a list.
    pub(crate) fn cursor_as<T>(&self, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let problem =
            || Error::invalid("cursor", format!("`{}` is none of this list", cursor.escape_debug()));
        read(cursor).map(Some).ok_or_else(problem)
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// What is on it.
    pub data: Vec<T>,
    /// Where the next page begins; `None` for an empty page.
    pub cursor: Option<String>,
    /// Whether there is more.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// A page of `size` of what was found, of which there may be more.
    pub(crate) fn of(mut data: Vec<T>, size: usize, cursor: impl Fn(&T) -> String) -> Self {
        let has_more = data.len() > size;
        data.truncate(size);
        Self { cursor: data.last().map(cursor), data, has_more }
    }
}

/// How much of what is read one wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolve {
    /// All of it.
    #[default]
    All,
    /// Without input, output, event data and metadata, which saves reading them.
    None,
}

/// A page of what is in memory, each with its number in the order of creation.
pub(crate) fn page_of<T>(mut all: Vec<(u64, T)>, paging: &Paging, default: (u32, Order)) -> Result<Page<T>> {
    let size = paging.size(default.0)?;
    let after = paging.cursor_as(|text| text.parse::<u64>().ok())?;
    all.sort_by_key(|(number, _)| *number);
    if paging.order.unwrap_or(default.1) == Order::Descending {
        all.retain(|(number, _)| after.is_none_or(|after| *number < after));
        all.reverse();
    } else {
        all.retain(|(number, _)| after.is_none_or(|after| *number > after));
    }
    let page = Page::of(all, size, |(number, _)| number.to_string());
    let data = page.data.into_iter().map(|(_, entity)| entity).collect();
    Ok(Page { data, cursor: page.cursor, has_more: page.has_more })
}
