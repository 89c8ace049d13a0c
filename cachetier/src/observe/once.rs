//! Saying a thing once, not at each call.

use std::any::TypeId;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Something worth a log line the first time.
#[derive(Debug, Default)]
pub(crate) struct Once(AtomicBool);

impl Once {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// True for the first caller only.
    pub(crate) fn first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// The same, once for each type: there are as many as the program has.
#[derive(Debug, Default)]
pub(crate) struct OnceByType(Mutex<HashSet<TypeId>>);

impl OnceByType {
    /// True for the first caller with that type only.
    pub(crate) fn first(&self, kind: TypeId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind)
    }

    /// Whether anybody was the first with that type.
    pub(crate) fn has(&self, kind: TypeId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&kind)
    }
}
