//! A typed in-process cache over Redis, coherent across every instance of a service.
#![forbid(unsafe_code)]

mod clock;
mod coherence;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod key;
mod l2;
#[cfg(feature = "redis")]
mod redis;
mod rule;
mod wire;

pub use clock::{Clock, ManualClock};
pub use l2::memory::{Call, CallKind, Faults, InProcess, Plan};
