//! What those who waited for a load get of its error. It stays the function's own type: cloned, in a form that can be shared, or not at
//! all.

use std::any::Any;
use std::error::Error;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::form::{Form, Shaped};
use crate::cache::{Failed, Failure, Heard, Telling};
use crate::error::SharedError;

/// Begins the question how an `E` can be shared: `(&&&probe).sharing()`.
#[derive(Debug)]
pub struct ErrorProbe<E>(PhantomData<fn() -> E>);

impl<E> ErrorProbe<E> {
    /// Begins the question for the error of a function.
    #[must_use]
    pub fn of<S: Shaped<Form: Form<Error = E>>>(_: &S) -> Self {
        Self(PhantomData)
    }
}

/// First level: an error that can be cloned.
pub trait SharesByClone {
    /// By a clone for each.
    fn sharing(&self) -> Copied<ByClone> {
        Copied(ByClone)
    }
}

impl<E: Clone + Send + Sync + 'static> SharesByClone for &&ErrorProbe<E> {}

/// Second level: a type that can hold any error, and so also a share of one of its own.
pub trait SharesWithin {
    /// By one that holds a share, for each.
    fn sharing(&self) -> Copied<Within> {
        Copied(Within)
    }
}

impl<E> SharesWithin for &ErrorProbe<E> where E: AsRef<dyn Error + Send + Sync> + From<SharedError<E>> + Send + Sync + 'static {}

/// Last level: every other error.
pub trait SharesNothing {
    /// Not at all.
    fn sharing(&self) -> ByLeaderAlone {
        ByLeaderAlone
    }
}

impl<E> SharesNothing for ErrorProbe<E> {}

/// How `share_error = ..` says.
#[must_use]
pub fn share_by<S, T: ShareError<S>>(named: T) -> S {
    named.sharing()
}

/// What `share_error = ..` may name: a function, or `none`. `S` is the way of sharing.
pub trait ShareError<S> {
    /// Returns the way.
    fn sharing(self) -> S;
}

impl<E, F: Fn(&E) -> E + Send + Sync + 'static> ShareError<Copied<ByPath<E>>> for F {
    fn sharing(self) -> Copied<ByPath<E>> {
        Copied(ByPath(Box::new(self)))
    }
}

/// `none`: method resolution cannot see that an error that can be cloned borrows something, and so cannot be kept for others.
impl ShareError<Self> for ByLeaderAlone {
    fn sharing(self) -> Self {
        self
    }
}

/// A way of sharing errors.
pub trait Sharing<E> {
    /// Returns the caller's own error, after `end` was called with what those who wait are to share; without it if they share nothing.
    fn share(&self, error: E, end: impl FnOnce(Option<Arc<dyn Any + Send + Sync>>)) -> E;

    /// The error of one who waited, if it is one that can be shared in this way.
    fn shared(&self, error: &Arc<dyn Any + Send + Sync>) -> Option<E>;
}

/// One error, and a copy of it for each who has to share it.
#[derive(Clone, Copy, Debug)]
pub struct Copied<C>(C);

/// How an error is copied.
pub trait Copies<E> {
    /// Returns a copy.
    fn copy(&self, error: &Arc<E>) -> E;
}

impl<E: Send + Sync + 'static, C: Copies<E>> Sharing<E> for Copied<C> {
    fn share(&self, error: E, end: impl FnOnce(Option<Arc<dyn Any + Send + Sync>>)) -> E {
        let error = Arc::new(error);
        end(Some(Arc::clone(&error) as Arc<dyn Any + Send + Sync>));
        // Where nobody waited, nobody holds it any more.
        Arc::try_unwrap(error).unwrap_or_else(|error| self.0.copy(&error))
    }

    fn shared(&self, error: &Arc<dyn Any + Send + Sync>) -> Option<E> {
        let error = Arc::downcast(Arc::clone(error)).ok()?;
        Some(self.0.copy(&error))
    }
}

/// By a clone.
#[derive(Clone, Copy, Debug)]
pub struct ByClone;

impl<E: Clone> Copies<E> for ByClone {
    fn copy(&self, error: &Arc<E>) -> E {
        E::clone(error)
    }
}

/// By an error that holds a [`SharedError`].
#[derive(Clone, Copy, Debug)]
pub struct Within;

impl<E: From<SharedError<E>>> Copies<E> for Within {
    fn copy(&self, error: &Arc<E>) -> E {
        SharedError::new(error).into()
    }
}

/// By a function.
pub struct ByPath<E>(Box<dyn Fn(&E) -> E + Send + Sync>);

impl<E> Copies<E> for ByPath<E> {
    fn copy(&self, error: &Arc<E>) -> E {
        (self.0)(error)
    }
}

impl<E> std::fmt::Debug for ByPath<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByPath").finish_non_exhaustive()
    }
}

/// The error is its caller's alone, whatever it is; each who waited loads for himself, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct ByLeaderAlone;

impl<E> Sharing<E> for ByLeaderAlone {
    fn share(&self, error: E, end: impl FnOnce(Option<Arc<dyn Any + Send + Sync>>)) -> E {
        end(None);
        error
    }

    fn shared(&self, _: &Arc<dyn Any + Send + Sync>) -> Option<E> {
        None
    }
}

/// How a cached function tells failures: as it would without a cache.
pub(super) struct AsItsOwn<S>(pub(super) S);

impl<S: Sharing<E>, E> Telling<E, E> for AsItsOwn<S> {
    /// It just runs.
    fn recursive(&self, _: &str) -> Option<E> {
        None
    }

    /// No fault of the cache's becomes the function's error.
    fn unproven(&self) -> Option<E> {
        None
    }

    /// No limit of the cache's is a reason to leave the function's work half done.
    fn stopped(&self, _: Duration) -> Option<E> {
        None
    }

    /// It has nothing to say that with.
    fn overloaded(&self, _: usize, _: usize) -> Option<E> {
        None
    }

    /// An error of its type is not made of what another instance says.
    fn hears_others(&self) -> bool {
        false
    }

    fn failed(&self, failed: Failed<E>, end: impl FnOnce(Option<Failure>)) -> E {
        match failed {
            Failed::Loader(error) => self.0.share(error, |shared| end(shared.map(Failure::Loader))),
            Failed::Panicked(panic) => {
                end(None);
                resume_unwind(panic)
            }
        }
    }

    fn heard(&self, failure: &Failure) -> Heard<E> {
        match failure {
            Failure::Loader(error) => self.0.shared(error).map_or(Heard::Again, Heard::Told),
            // Of many it waits for a place itself, for as long as that takes.
            Failure::Panicked(_) | Failure::Overloaded(..) | Failure::Elsewhere(_) => Heard::Again,
            Failure::TimedOut(_) => Heard::Alone,
        }
    }
}
