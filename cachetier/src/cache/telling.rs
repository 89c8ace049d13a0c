//! How a load that failed is told, to the caller whose loader it was and to those who waited. The way of a miss is one for all verbs; what
//! differs between them is said here and nowhere else.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::error::LoadError;
use crate::flight::outcome::Failure;

/// Why a loader brought nothing. `S` is what stopping it at the load limit leaves: a type without values where it is not stopped.
pub(crate) enum Failed<E, S> {
    /// It says so itself.
    Loader(E),
    /// It panicked, with this.
    Panicked(Box<dyn Any + Send>),
    /// It was dropped at the load limit.
    Stopped(S),
}

/// What the failure of a load is to somebody who waited for it.
pub(crate) enum Heard<T> {
    /// His own answer.
    Told(T),
    /// Nothing he can use: he waits or loads like somebody who comes now.
    Again,
    /// That he has waited long enough: he loads for himself, and keeps nothing.
    Alone,
}

/// A way of telling failures.
pub(crate) trait Telling {
    /// What the loader fails with.
    type Error;
    /// What a caller gets instead of a value.
    type Told;
    /// What stopping a loader at the load limit leaves.
    type Stopped;

    /// Whether a loader is stopped when the load limit is over. It goes on otherwise, for its caller alone; the flight ends in either
    /// case.
    fn at_limit(limit: Duration) -> Option<Self::Stopped>;

    /// What a caller is told that asks for a key from within the load of that key; `None` lets it load, for itself alone.
    fn recursive(&self, key: &str) -> Option<Self::Told>;

    /// Ends the flight of a loader that failed, by `end`, and returns what its caller is told. `end` is called once at most: with what
    /// those who wait are told, or with `None`, which leaves the flight to the first of them; so does not calling it.
    fn failed(&self, failed: Failed<Self::Error, Self::Stopped>, end: impl FnOnce(Option<Failure>)) -> Self::Told;

    /// What somebody who waited makes of it.
    fn heard(&self, failure: &Failure) -> Heard<Self::Told>;
}

/// As a [`LoadError`], the same for all: the way of the verbs.
pub(super) struct AsLoadError<E>(PhantomData<fn() -> E>);

impl<E> AsLoadError<E> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E: Send + Sync + 'static> Telling for AsLoadError<E> {
    type Error = E;
    type Told = LoadError<E>;
    type Stopped = Duration;

    fn at_limit(limit: Duration) -> Option<Duration> {
        Some(limit)
    }

    fn recursive(&self, key: &str) -> Option<LoadError<E>> {
        Some(LoadError::Recursive(key.into()))
    }

    fn failed(&self, failed: Failed<E, Duration>, end: impl FnOnce(Option<Failure>)) -> LoadError<E> {
        let (failure, error) = match failed {
            Failed::Loader(error) => {
                let error = Arc::new(error);
                (Failure::Loader(Arc::clone(&error) as Arc<dyn Any + Send + Sync>), LoadError::Loader(error))
            }
            Failed::Panicked(panic) => {
                let message = message(&*panic);
                (Failure::Panicked(Arc::clone(&message)), LoadError::Panicked(message))
            }
            Failed::Stopped(limit) => (Failure::TimedOut(limit), LoadError::TimedOut(limit)),
        };
        end(Some(failure));
        error
    }

    fn heard(&self, failure: &Failure) -> Heard<LoadError<E>> {
        failure.of_type().map_or(Heard::Again, Heard::Told)
    }
}

fn message(panic: &(dyn Any + Send)) -> Arc<str> {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").into()
}
