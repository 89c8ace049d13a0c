//! How a load that failed is told, to the caller whose loader it was and to those who waited. The way of a miss is one for all verbs; what
//! differs between them is said here and nowhere else.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::error::LoadError;
use crate::flight::outcome::Failure;

/// Why a loader brought nothing.
pub(crate) enum Failed<E> {
    /// It says so itself.
    Loader(E),
    /// It panicked, with this.
    Panicked(Box<dyn Any + Send>),
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

/// A way of telling failures: what a loader fails with is an `E`, what a caller gets instead of a value a `T`.
///
/// The two are parameters because associated types would show in the futures, where the compiler cannot prove them to be `Send` if an
/// error names a lifetime, be it `'static`.
pub(crate) trait Telling<E, T> {
    /// What a caller is told that asks for a key from within the load of that key; `None` lets it load, for itself alone.
    fn recursive(&self, key: &str) -> Option<T>;

    /// What a caller is told instead of a load, where nothing can be proven and its policy would rather fail; `None` lets it load.
    fn unproven(&self) -> Option<T>;

    /// What a caller is told whose loader is stopped at the load limit. With `None` it goes on, for its caller alone; the flight ends in
    /// either case.
    fn stopped(&self, limit: Duration) -> Option<T>;

    /// What a caller is told whose loader does not run because so many do, and so many wait; `None` lets it wait for as long as it takes.
    fn overloaded(&self, running: usize, waiting: usize) -> Option<T>;

    /// Whether somebody who waited can be told that a load of another instance has failed.
    fn hears_others(&self) -> bool;

    /// Ends the flight of a loader that failed, by `end`, and returns what its caller is told. `end` is called once at most: with what
    /// those who wait are told, or with `None`, which leaves the flight to the first of them; so does not calling it.
    fn failed(&self, failed: Failed<E>, end: impl FnOnce(Option<Failure>)) -> T;

    /// What somebody who waited makes of it.
    fn heard(&self, failure: &Failure) -> Heard<T>;
}

/// As a [`LoadError`], the same for all: the way of the verbs.
pub(super) struct AsLoadError;

impl<E: Send + Sync + 'static> Telling<E, LoadError<E>> for AsLoadError {
    fn recursive(&self, key: &str) -> Option<LoadError<E>> {
        Some(LoadError::Recursive(key.into()))
    }

    fn unproven(&self) -> Option<LoadError<E>> {
        Some(LoadError::Unproven)
    }

    fn stopped(&self, limit: Duration) -> Option<LoadError<E>> {
        Some(LoadError::TimedOut(limit))
    }

    fn overloaded(&self, running: usize, waiting: usize) -> Option<LoadError<E>> {
        Some(LoadError::Overloaded { running, waiting })
    }

    fn hears_others(&self) -> bool {
        true
    }

    fn failed(&self, failed: Failed<E>, end: impl FnOnce(Option<Failure>)) -> LoadError<E> {
        let (failure, error) = match failed {
            Failed::Loader(error) => {
                let error = Arc::new(error);
                (Failure::Loader(Arc::clone(&error) as Arc<dyn Any + Send + Sync>), LoadError::Loader(error))
            }
            Failed::Panicked(panic) => {
                let message = message(&*panic);
                (Failure::Panicked(Arc::clone(&message)), LoadError::Panicked(message))
            }
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
