//! What the rules of a call come to once its value is there: how this one is stored, if it is.

use std::time::Duration;

use super::Rules;
use crate::key::TagHash;
use crate::rule::policy::Policy;

/// How one value is stored. It begins with the policy of its [rules](Rules), and without tags.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, Rules, Terms};
///
/// /// Answers of somebody else's service, stored for as long as that says.
/// struct AsTheySay;
///
/// impl Rules<(String, u64)> for AsTheySay {
///     fn policy(&self) -> &Policy {
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
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    namespace: &'a str,
    pub(super) policy: Policy,
    ttl: Option<Duration>,
    pub(super) tags: Vec<TagHash>,
    pub(super) stored: bool,
    pub(super) validator: Option<String>,
}

impl<'a> Terms<'a> {
    /// What the rules say of this value.
    pub(super) fn of<V>(namespace: &'a str, rules: &impl Rules<V>, value: Option<&V>) -> Self {
        let (policy, tags) = (*rules.policy(), Vec::new());
        let mut terms = Self { namespace, policy, ttl: None, tags, stored: true, validator: None };
        rules.adapt(value, &mut terms);
        terms
    }

    /// All has been said: tags stand once each, in the order in which they are written, and the last life counts.
    pub(super) fn settled(mut self) -> Self {
        self.tags.sort_unstable();
        self.tags.dedup();
        match self.ttl {
            Some(ttl) if ttl.is_zero() => self.stored = false,
            Some(ttl) => self.policy = self.policy.living(ttl),
            None => {}
        }
        self
    }

    /// The same, of nobody's namespace: all has been said.
    pub(super) fn owned(self) -> Terms<'static> {
        let Self { namespace: _, policy, ttl, tags, stored, validator } = self;
        Terms { namespace: "", policy, ttl, tags, stored, validator }
    }

    /// How long it lives, in the place of the policy's `ttl`, or of its `negative_ttl` if it is that there is none; shortened by the policy's
    /// jitter like those. No time at all means that it is not stored. Of two the later one counts.
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
        self.ttl = Some(ttl);
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
