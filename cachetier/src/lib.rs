//! A typed in-process cache over Redis, coherent across every instance of a service.
#![forbid(unsafe_code)]

mod cache;
mod clock;
mod coherence;
mod config;
mod error;
mod flight;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod key;
mod l1;
mod l2;
mod lease;
mod observe;
#[cfg(feature = "redis")]
mod redis;
mod rule;
mod sync;
mod tasks;
mod view;
mod wire;

pub use cache::{CacheBuilder, Delivery, Removed, Rules, Tagged, Tags, TieredCache, Value};
pub use clock::{Clock, ManualClock};
pub use config::Eviction;
pub use error::{CacheError, ConfigError, KeyError, LoadError};
pub use l2::memory::{Call, CallKind, Faults, InProcess, Plan};
pub use observe::stats::Stats;
pub use rule::policy::Policy;
pub use rule::seq::{Era, Seq, Token};
pub use wire::codec::Codec;
