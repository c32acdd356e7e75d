//! Async closures whose futures can be named, so that they can be required to be `Send` while they borrow. Every fitting
//! closure is one; nobody implements these by hand.

/// An async closure without arguments.
pub trait Body<R>: AsyncFn() -> R + Fn() -> <Self as Body<R>>::Fut {
    /// The future of one call.
    type Fut: Future<Output = R>;
}

impl<F, Fut, R> Body<R> for F
where
    F: AsyncFn() -> R + Fn() -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// An async closure of one argument.
pub trait BodyWith<A, R>: AsyncFn(A) -> R + Fn(A) -> <Self as BodyWith<A, R>>::Fut {
    /// The future of one call.
    type Fut: Future<Output = R>;
}

impl<F, A, Fut, R> BodyWith<A, R> for F
where
    F: AsyncFn(A) -> R + Fn(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// An async closure of two arguments.
pub trait BodyOf<A, B, R>: AsyncFn(A, B) -> R + Fn(A, B) -> <Self as BodyOf<A, B, R>>::Fut {
    /// The future of one call.
    type Fut: Future<Output = R>;
}

impl<F, A, B, Fut, R> BodyOf<A, B, R> for F
where
    F: AsyncFn(A, B) -> R + Fn(A, B) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}
