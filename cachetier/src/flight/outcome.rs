//! What a flight of the cache ends with, and what it notes at its begin.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::error::LoadError;
use crate::key::Prefixes;
use crate::l1::Entry;
use crate::rule::stamp::Stamp;
use crate::view::Noted;

/// What those who wait for a flight get.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The value, or the knowledge that there is none.
    Entry(Arc<Entry>),
    /// Nothing: whoever wants a value loads it.
    Nothing,
    /// The load failed.
    Failed(Failure),
}

/// Why a load failed, whatever its error's type.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Loader(Arc<dyn Any + Send + Sync>),
    Panicked(Arc<str>),
    TimedOut(Duration),
    /// It did not run: so many did, and so many waited.
    Overloaded(usize, usize),
}

impl Failure {
    /// The same failure as an error of type `E`; `None` if the loader's error is of another type.
    pub(crate) fn of_type<E: Send + Sync + 'static>(&self) -> Option<LoadError<E>> {
        Some(match self {
            Self::Loader(error) => LoadError::Loader(Arc::downcast(Arc::clone(error)).ok()?),
            Self::Panicked(message) => LoadError::Panicked(Arc::clone(message)),
            Self::TimedOut(limit) => LoadError::TimedOut(*limit),
            Self::Overloaded(running, waiting) => LoadError::Overloaded { running: *running, waiting: *waiting },
        })
    }
}

/// What a flight notes before it reads anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) noted: Noted,
    /// The implicit tags of its key: a bump of one detaches it.
    pub(crate) prefixes: Prefixes,
    /// The stamp of the value that it puts itself: the bump that announces this one does not detach it.
    pub(crate) writes: Option<Stamp>,
}
