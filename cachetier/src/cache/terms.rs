//! What the rules of a call come to once its value is there: how this one is stored, if it is.

use std::time::Duration;

use super::Rules;
use super::answer::Answer;
use crate::error::KeyError;
use crate::key::{TagHash, check_key};
use crate::l1::Entry;
use crate::rule::policy::{Content, Policy};
use crate::wire::codec::Codec;

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
    /// What is wrong with the first tag that cannot be used.
    pub(super) unusable: Option<KeyError>,
    pub(super) stored: bool,
    pub(super) validator: Option<String>,
    /// Whether it is another value than the one it takes the place of, for all that is known.
    pub(super) changed: bool,
}

impl<'a> Terms<'a> {
    /// What the rules say of this value.
    pub(super) fn of<V>(namespace: &'a str, rules: &impl Rules<V>, value: Option<&V>) -> Self {
        let (policy, tags) = (*rules.policy(), Vec::new());
        let mut terms = Self { namespace, policy, ttl: None, tags, unusable: None, stored: true, validator: None, changed: true };
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

    /// With what the value says that this one takes the place of, if it is at hand: what is learned from it, and whether it has changed.
    pub(super) fn following<A: Answer>(mut self, answer: &A, before: Option<&Entry>, codec: Option<Codec>) -> Self {
        if self.policy.learns() || self.policy.announces() {
            let known = before.and_then(|entry| Some((entry, is_same(answer, entry, codec)?)));
            self.changed = known.is_none_or(|(_, same)| !same);
            if answer.value().is_some() {
                let ttl = known.map(|(entry, _)| entry.facts.loaded_at.until(entry.facts.stale_from));
                self.policy = self.policy.learning(ttl, self.changed);
            }
        }
        self
    }

    /// The same, of nobody's namespace: all has been said.
    pub(super) fn owned(self) -> Terms<'static> {
        Terms { namespace: "", ..self }
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

    /// Adds a tag, of 1 to 4,096 bytes: a value with another one, or with more than 32, is returned and not stored.
    ///
    /// ```
    /// # use cachetier::*;
    /// fn adapt(terms: &mut Terms<'_>) {
    ///     terms.tag("org:7");
    /// }
    /// # let _ = adapt;
    /// ```
    pub fn tag(&mut self, tag: &str) {
        match check_key(tag) {
            Ok(()) => self.tags.push(TagHash::of(self.namespace, tag)),
            Err(error) => self.unusable = self.unusable.take().or(Some(error)),
        }
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

/// Whether a load has brought what was there before. What cannot be encoded cannot be compared.
fn is_same<A: Answer>(answer: &A, before: &Entry, codec: Option<Codec>) -> Option<bool> {
    if answer.unmodified().is_some() {
        return Some(true);
    }
    let Some(value) = answer.value() else { return Some(before.facts.content == Content::Nothing) };
    let encoded = |value: &A::Value| {
        let mut bytes = Vec::new();
        codec.filter(|_| answer.bytes().is_none())?.encode(value, &mut bytes).ok()?;
        Some(bytes)
    };
    Some(encoded(before.value::<A::Value>()?)? == encoded(value)?)
}
