//! What the rules of a call come to once its value is there: how this one is stored, if it is.

use std::time::Duration;

use super::Rules;
use crate::key::TagHash;
use crate::rule::policy::Policy;

/// How values of the type `V` are stored, each by what it is. Every [`Rules`] are that, and say the same of all values;
/// [`Policy::ttl_with`], [`Policy::tags_with`] and [`Policy::cache_if`] look at the value. A type of one's own can do so for a kind of
/// entries:
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, RulesFor, Terms, TieredCache};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Order {
///     customer: u64,
///     open: bool,
/// }
///
/// struct Orders;
///
/// impl RulesFor<Order> for Orders {
///     fn base(&self) -> &Policy {
///         const HOUR: &Policy = &Policy::ttl(Duration::from_secs(3_600));
///         HOUR
///     }
///
///     fn adapt(&self, order: Option<&Order>, terms: &mut Terms<'_>) {
///         let Some(order) = order else { return };
///         terms.tag(&format!("customer:{}", order.customer));
///         if order.open {
///             terms.ttl(Duration::from_secs(10));
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = TieredCache::builder("shop").build().await?;
/// cache.set("order:1", Order { customer: 7, open: true }, Orders).await?;
/// cache.invalidate_tag("customer:7").await?;
/// assert!(cache.get::<Order>("order:1").await.is_none());
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how a `{V}` is stored",
    label = "expected a `Policy`, with tags or without",
    note = "closures given to `ttl_with`, `tags_with` and `cache_if` take a reference to the very type that is cached"
)]
pub trait RulesFor<V> {
    /// The policy that copies are read by, and what is stored unless [`adapt`](RulesFor::adapt) says otherwise.
    fn base(&self) -> &Policy;

    /// Says how this value is stored; `None` where it is that there is none. Asked only when something is stored.
    fn adapt(&self, value: Option<&V>, terms: &mut Terms<'_>);
}

impl<V, R: Rules> RulesFor<V> for R {
    fn base(&self) -> &Policy {
        self.policy()
    }

    fn adapt(&self, _: Option<&V>, terms: &mut Terms<'_>) {
        self.each_tag(&mut |tag| terms.tag(tag));
    }
}

/// How one value is stored. It begins with the policy of its [rules](RulesFor) and without tags.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, RulesFor, Terms};
///
/// /// Answers of somebody else's service, stored for as long as that says.
/// struct AsTheySay;
///
/// impl RulesFor<(String, u64)> for AsTheySay {
///     fn base(&self) -> &Policy {
///         const MINUTE: &Policy = &Policy::ttl(Duration::from_secs(60));
///         MINUTE
///     }
///
///     fn adapt(&self, answer: Option<&(String, u64)>, terms: &mut Terms<'_>) {
///         match answer {
///             Some((_, seconds)) => terms.ttl(Duration::from_secs(*seconds)),
///             None => terms.not_stored(),
///         }
///         terms.tag("theirs");
///     }
/// }
/// # let _ = AsTheySay;
/// ```
#[derive(Debug)]
pub struct Terms<'a> {
    namespace: &'a str,
    pub(super) policy: Policy,
    pub(super) tags: Vec<TagHash>,
    pub(super) stored: bool,
    pub(super) validator: Option<String>,
}

impl<'a> Terms<'a> {
    /// What the rules say of this value.
    pub(super) fn of<V>(namespace: &'a str, rules: &impl RulesFor<V>, value: Option<&V>) -> Self {
        let mut terms = Self { namespace, policy: *rules.base(), tags: Vec::new(), stored: true, validator: None };
        rules.adapt(value, &mut terms);
        terms
    }

    /// Tags, each once, in the order in which they are written.
    pub(super) fn in_order(mut self) -> Self {
        self.tags.sort_unstable();
        self.tags.dedup();
        self
    }

    /// How long it lives, in the place of the policy's `ttl`, or of its `negative_ttl` if it is that there is none; shortened by the policy's
    /// jitter like those. No time at all means that it is not stored.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// fn adapt(terms: &mut Terms<'_>) {
    ///     terms.ttl(Duration::from_secs(5));
    /// }
    /// # let _ = adapt;
    /// ```
    pub fn ttl(&mut self, ttl: Duration) {
        if ttl.is_zero() {
            self.not_stored();
        } else {
            self.policy = self.policy.living(ttl);
        }
    }

    /// Adds a tag.
    ///
    /// ```
    /// # use cachetier::*;
    /// fn adapt(terms: &mut Terms<'_>) {
    ///     terms.tag("org:7");
    /// }
    /// # let _ = adapt;
    /// ```
    pub fn tag(&mut self, tag: &str) {
        self.tags.push(TagHash::of(self.namespace, tag));
    }

    /// The value is returned to those who asked for it, and kept in neither tier.
    ///
    /// ```
    /// # use cachetier::*;
    /// fn adapt(terms: &mut Terms<'_>) {
    ///     terms.not_stored();
    /// }
    /// # let _ = adapt;
    /// ```
    pub fn not_stored(&mut self) {
        self.stored = false;
    }
}
