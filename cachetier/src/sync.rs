//! Locks, in one place, so that the flight registry can run under a scheduler that tries its interleavings.

#[cfg(cachetier_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(cachetier_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Locks, also after a panic elsewhere: nothing guarded here is left half done by one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
