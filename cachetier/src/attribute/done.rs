//! Whether a function of `#[invalidates]` has done what it was called for.

use std::marker::PhantomData;

/// Begins the question for a function that returns an `R`: `(&&&probe).done(&returned)`.
#[derive(Debug)]
pub struct DoneProbe<R>(PhantomData<fn() -> R>);

impl<R> DoneProbe<R> {
    /// Begins the question.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "only expansions make one")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// First level: a `Result` says so itself.
pub trait DoneIfOk<T, E> {
    /// Whether it is done.
    fn done(&self, returned: &Result<T, E>) -> bool {
        returned.is_ok()
    }
}

impl<T, E> DoneIfOk<T, E> for &&DoneProbe<Result<T, E>> {}

/// Second level: an `Option` as well.
pub trait DoneIfSome<T> {
    /// Whether it is done.
    fn done(&self, returned: &Option<T>) -> bool {
        returned.is_some()
    }
}

impl<T> DoneIfSome<T> for &DoneProbe<Option<T>> {}

/// Last level: whoever returned at all.
pub trait DoneAlways<T> {
    /// Whether it is done.
    fn done(&self, _: &T) -> bool {
        true
    }
}

impl<T> DoneAlways<T> for DoneProbe<T> {}
