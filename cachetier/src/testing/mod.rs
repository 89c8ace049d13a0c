//! What the tests of a service need beside a shared tier in the process: several instances, counted loads, something to load from.
//! Faults are scripted at the tier itself: [`InProcess`](crate::InProcess).
//!
//! The page [Testing a service that uses cachetier](https://github.com/cachetier/cachetier/blob/main/docs/testing.md) leads through it.
//! Everything here is for tests: what cannot be done is a panic that says why, as a failed assertion is.
//!
//! ```
//! use std::time::Duration;
//! use cachetier::Policy;
//! use cachetier::testing::{Group, Source, assert_loads};
//!
//! # // In a test: `#[tokio::test(start_paused = true)]`.
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (group, users) = (Group::new(2).await, Source::from([("user:1", "Ada".to_owned())]));
//! let policy = Policy::ttl(Duration::from_secs(60));
//! let read = async |i| group.instance(i).get_or_load("user:1", policy, || users.load("user:1")).await;
//!
//! // Two instances, one load.
//! assert_loads!(group, 1, { assert_eq!([read(0).await?, read(1).await?], ["Ada", "Ada"]) });
//!
//! // Nobody can reach the shared tier: copies are served, and what is invalidated is told later.
//! group.outage().await;
//! users.set("user:1", "Grace".to_owned());
//! group.instance(0).invalidate("user:1").await?;
//! assert_eq!([read(0).await?, read(1).await?], ["Grace", "Ada"]);
//!
//! group.recover().await;
//! assert_eq!([read(0).await?, read(1).await?], ["Grace", "Grace"]);
//! # Ok(())
//! # }
//! ```

mod builder;
mod group;
mod loads;
mod member;
mod source;
#[cfg(test)]
#[cfg(feature = "postcard")]
mod tests;

pub use crate::l2::memory::watch::{Event, What};

pub use builder::GroupBuilder;
pub use group::Group;
pub use loads::{Counted, Loads, Tally, assert_loads};
pub use source::{Source, SourceError};

use std::time::Duration;

/// For how much of tokio's time anything here waits at most.
const LIMIT: Duration = Duration::from_secs(10);

/// Ends a test that asked for what cannot be.
#[expect(clippy::panic, reason = "what cannot be done is a test that has failed")]
#[track_caller]
fn fail(why: impl std::fmt::Display) -> ! {
    panic!("{why}")
}
