//! The settings of a group: numbers and closures in, a group with its tier and its clock out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Group, fail};
use crate::cache::CacheBuilder;
use crate::clock::Clock;
use crate::l2::memory::InProcess;

/// The namespace of a group that is given none.
const NAMESPACE: &str = "test";

/// The most instances of a group.
const MOST: usize = 64;

/// What is done to the builder of each instance.
pub(super) type Configure = Arc<dyn Fn(CacheBuilder) -> CacheBuilder + Send + Sync>;

/// The settings of a [`Group`] to be.
///
/// ```
/// use std::time::Duration;
/// use cachetier::testing::Group;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let group = Group::builder()
///     .instances(3)
///     .namespace("shop")
///     .prove_for(Duration::from_secs(2))
///     .configure(|builder| builder.load_limit(Duration::from_secs(2)))
///     .build()
///     .await;
/// assert_eq!(group.len(), 3);
/// # }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct GroupBuilder {
    of: Settings,
    proof: Option<Duration>,
}

/// What a group is made of.
pub(super) struct Settings {
    pub(super) instances: usize,
    pub(super) namespace: String,
    pub(super) configure: Configure,
}

impl GroupBuilder {
    pub(super) fn new() -> Self {
        let of = Settings { instances: 2, namespace: NAMESPACE.to_owned(), configure: Arc::new(|builder| builder) };
        Self { of, proof: None }
    }

    /// How many instances. Defaults to two; 64 at most.
    pub fn instances(mut self, instances: usize) -> Self {
        self.of.instances = instances;
        self
    }

    /// The namespace of all of them. Defaults to `test`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.of.namespace = namespace.into();
        self
    }

    /// Makes a check prove for so long only that no message was missed, as [`InProcess::prove_for`] does. Defaults to for ever, since
    /// nothing is lost within a process unless a script loses it. Set it to the `max_staleness` of the caches where messages are lost.
    pub fn prove_for(mut self, proof: Duration) -> Self {
        self.proof = Some(proof);
        self
    }

    /// What is to be otherwise than by default in each instance, those that are started again included. Clock and tier are the group's.
    /// Defaults to nothing.
    pub fn configure(mut self, configure: impl Fn(CacheBuilder) -> CacheBuilder + Send + Sync + 'static) -> Self {
        self.of.configure = Arc::new(configure);
        self
    }

    /// Builds the instances, one after the other.
    ///
    /// Cancel safety: dropped, it leaves no task.
    ///
    /// # Panics
    ///
    /// With settings that cannot be used, with more than 64 instances or none, and outside of a tokio runtime.
    pub async fn build(self) -> Group {
        let Self { of, proof } = self;
        if of.instances == 0 || of.instances > MOST {
            fail(format_args!("a group of {} instances, expected 1 to {MOST}", of.instances));
        }
        let (clock, hand) = Clock::manual();
        let tier = InProcess::with_clock(clock.clone());
        if let Some(proof) = proof {
            tier.prove_for(proof);
        }
        Group::over(tier, (clock, hand), of).await
    }
}

impl fmt::Debug for GroupBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder")
            .field("instances", &self.of.instances)
            .field("namespace", &self.of.namespace)
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}
