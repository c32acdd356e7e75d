//! The same for many items, a few at a time; and which of two was first.

use std::future::IntoFuture;

use futures_util::{StreamExt, TryStreamExt, stream};
use mainspring_core::BoxFuture;

use super::{BodyOf, Cx, WorkflowResult};

/// Which of two was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first of the two.
    Left(A),
    /// The second of the two.
    Right(B),
}

type Each<'a, T, E> = BoxFuture<'a, WorkflowResult<T, E>>;

/// A map over items; await it.
#[must_use = "nothing is done until this is awaited"]
pub struct MapItems<'a, T, E> {
    each: Box<dyn Iterator<Item = Each<'a, T, E>> + Send + 'a>,
    items: usize,
    concurrency: usize,
}

impl<'a, T: 'a, E: 'a> MapItems<'a, T, E> {
    pub(crate) fn new<A, F>(cx: Cx, name: &str, items: &'a [A], each: F) -> Self
    where
        A: Sync,
        F: BodyOf<Cx, &'a A, WorkflowResult<T, E>, Fut: Send + 'a> + Send + Sync + 'a,
    {
        let key = cx.key(name);
        let begin = move |(n, item): (usize, &'a A)| -> Each<'a, T, E> {
            Box::pin(each(cx.within(&format!("{key}[{n}]")), item))
        };
        let each = Box::new(items.iter().enumerate().map(begin));
        Self { each, items: items.len(), concurrency: usize::MAX }
    }

    /// At most so many items at a time, at least 1. Defaults to all of them.
    pub fn concurrency(mut self, items: usize) -> Self {
        self.concurrency = items.max(1);
        self
    }
}

impl<'a, T: Send + 'a, E: Send + 'a> IntoFuture for MapItems<'a, T, E> {
    type Output = WorkflowResult<Vec<T>, E>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    /// All results, or the error of the first item that has one; what is under way then is dropped.
    fn into_future(self) -> Self::IntoFuture {
        let window = self.concurrency.min(self.items.max(1));
        Box::pin(stream::iter(self.each).buffered(window).try_collect())
    }
}
