//! Whether a function of `#[invalidates]` has done what it was called for.

use std::marker::PhantomData;

/// Begins the question for a function that returns an `R`: `(&&&probe).done(returned)`.
#[derive(Debug)]
pub struct DoneProbe<R>(PhantomData<fn() -> R>);

impl<R> DoneProbe<R> {
    /// Begins the question for what was returned, whose type may have no name.
    #[must_use]
    pub fn of(_: &R) -> Self {
        Self(PhantomData)
    }
}

/// What was returned, while something follows it. It holds no more than there is: an error that cannot be sent to another thread does
/// not keep the call from it.
#[derive(Debug)]
pub struct Done<T, R> {
    brought: T,
    returned: fn(T) -> R,
}

impl<T, R> Done<T, R> {
    /// What was returned.
    #[must_use]
    pub fn returned(self) -> R {
        (self.returned)(self.brought)
    }
}

/// First level: a `Result` says so itself.
pub trait DoneIfOk<T, E> {
    /// What was done; what was returned if it was not.
    fn done(&self, returned: Result<T, E>) -> Result<Done<T, Result<T, E>>, Result<T, E>> {
        match returned {
            Ok(brought) => Ok(Done { brought, returned: Ok }),
            Err(error) => Err(Err(error)),
        }
    }
}

impl<T, E> DoneIfOk<T, E> for &&DoneProbe<Result<T, E>> {}

/// Second level: an `Option` as well.
pub trait DoneIfSome<T> {
    /// What was done; what was returned if it was not.
    fn done(&self, returned: Option<T>) -> Result<Done<T, Option<T>>, Option<T>> {
        returned.map(|brought| Done { brought, returned: Some }).ok_or(None)
    }
}

impl<T> DoneIfSome<T> for &DoneProbe<Option<T>> {}

/// Last level: whoever returned at all.
pub trait DoneAlways<T> {
    /// What was done.
    fn done(&self, returned: T) -> Result<Done<T, T>, T> {
        Ok(Done { brought: returned, returned: std::convert::identity })
    }
}

impl<T> DoneAlways<T> for DoneProbe<T> {}
