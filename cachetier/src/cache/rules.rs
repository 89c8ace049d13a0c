//! What a call says of the entry it may store: its policy and its tags. Asked only when something is stored.

use crate::rule::policy::Policy;

/// The life and the tags of what a call stores.
///
/// A [`Policy`] alone is one without tags; [`Policy::tags`] adds them.
pub trait Rules {
    /// The entry's life.
    fn policy(&self) -> &Policy;

    /// Hands each tag to `tag`.
    fn each_tag(&self, tag: &mut dyn FnMut(&str));
}

impl Rules for Policy {
    fn policy(&self) -> &Policy {
        self
    }

    fn each_tag(&self, _: &mut dyn FnMut(&str)) {}
}

/// A [`Policy`] with tags: see [`Policy::tags`].
#[derive(Clone, Copy, Debug)]
pub struct Tagged<T> {
    policy: Policy,
    tags: T,
}

impl Policy {
    /// Adds tags: many entries can carry one, and invalidating it invalidates them all. `tags` is whatever can be iterated by
    /// reference: `["users", "org:7"]`, a `Vec<String>`, a slice. Nothing of it is looked at when the call is a hit.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::Policy;
    /// let rules = Policy::ttl(Duration::from_secs(60)).tags(["users", "org:7"]);
    /// ```
    pub fn tags<T>(self, tags: T) -> Tagged<T> {
        Tagged { policy: self, tags }
    }
}

impl<T, S> Rules for Tagged<T>
where
    T: AsRef<[S]>,
    S: AsRef<str>,
{
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn each_tag(&self, tag: &mut dyn FnMut(&str)) {
        self.tags.as_ref().iter().for_each(|each| tag(each.as_ref()));
    }
}
