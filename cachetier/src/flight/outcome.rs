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
    /// It was another instance's, which says so of it.
    Elsewhere(Arc<str>),
}

impl Failure {
    /// The same failure as an error of type `E`; `None` if the loader's error is of another type.
    pub(crate) fn of_type<E: Send + Sync + 'static>(&self) -> Option<LoadError<E>> {
        Some(match self {
            Self::Loader(error) => LoadError::Loader(Arc::downcast(Arc::clone(error)).ok()?),
            Self::Panicked(message) => LoadError::Panicked(Arc::clone(message)),
            Self::TimedOut(limit) => LoadError::TimedOut(*limit),
            Self::Overloaded(running, waiting) => LoadError::Overloaded { running: *running, waiting: *waiting },
            Self::Elsewhere(why) => LoadError::Elsewhere(Arc::clone(why)),
        })
    }

    /// What other instances are told of it, if they are: that a load was not begun is no reason for them not to begin one. Of an error whose
    /// type nobody knows here, only that there was one.
    pub(crate) fn why(&self) -> Option<String> {
        Some(match self {
            Self::Loader(error) => text(&**error).unwrap_or_else(|| "the loader failed".to_owned()),
            Self::Panicked(message) => format!("the loader panicked: {message}"),
            Self::TimedOut(limit) => format!("the loader took longer than {limit:?}"),
            Self::Overloaded(..) | Self::Elsewhere(_) => return None,
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

/// What an error says, if it is a text or a box.
fn text(error: &(dyn Any + Send + Sync)) -> Option<String> {
    let boxed = || error.downcast_ref::<Box<dyn std::error::Error + Send + Sync>>().map(ToString::to_string);
    let owned = || error.downcast_ref::<String>().cloned();
    error.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(owned).or_else(boxed)
}
