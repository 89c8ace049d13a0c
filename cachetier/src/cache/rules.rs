//! What a call says of the entry it may store: its policy and its tags. Asked only when something is stored.

use crate::rule::policy::Policy;

/// The life and the tags of what a call stores.
///
/// A [`Policy`] alone is one without tags; [`Policy::tags`] adds them. A type of one's own can say both for a kind of entries:
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, Rules, TieredCache};
///
/// struct OfOrg(u64);
///
/// impl Rules for OfOrg {
///     fn policy(&self) -> &Policy {
///         const POLICY: &Policy = &Policy::ttl(Duration::from_secs(300));
///         POLICY
///     }
///
///     fn each_tag(&self, tag: &mut dyn FnMut(&str)) {
///         tag(&format!("org:{}", self.0));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = TieredCache::builder("shop").build().await?;
/// cache.set("user:42", 1_u32, OfOrg(7)).await?;
/// cache.invalidate_tag("org:7").await?;
/// assert_eq!(cache.get::<u32>("user:42").await, None);
/// # Ok(())
/// # }
/// ```
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
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, Tagged};
///
/// const USERS: Tagged<[&str; 1]> = Policy::ttl(Duration::from_secs(300)).tags(["users"]);
/// ```
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
    #[must_use]
    pub const fn tags<T: Tags>(self, tags: T) -> Tagged<T> {
        Tagged { policy: self, tags }
    }
}

/// A list of tags.
///
/// ```
/// use cachetier::{Policy, Tags};
///
/// struct Orgs(Vec<u64>);
///
/// impl Tags for Orgs {
///     fn each(&self, tag: &mut dyn FnMut(&str)) {
///         for org in &self.0 {
///             tag(&format!("org:{org}"));
///         }
///     }
/// }
///
/// let rules = Policy::ttl(std::time::Duration::from_secs(60)).tags(Orgs(vec![7, 8]));
/// # drop(rules);
/// ```
pub trait Tags {
    /// Hands each tag to `tag`.
    fn each(&self, tag: &mut dyn FnMut(&str));
}

impl<S: AsRef<str>> Tags for [S] {
    fn each(&self, tag: &mut dyn FnMut(&str)) {
        for each in self {
            tag(each.as_ref());
        }
    }
}

impl<S: AsRef<str>, const N: usize> Tags for [S; N] {
    fn each(&self, tag: &mut dyn FnMut(&str)) {
        self.as_slice().each(tag);
    }
}

impl<S: AsRef<str>> Tags for Vec<S> {
    fn each(&self, tag: &mut dyn FnMut(&str)) {
        self.as_slice().each(tag);
    }
}

impl<T: Tags + ?Sized> Tags for &T {
    fn each(&self, tag: &mut dyn FnMut(&str)) {
        (**self).each(tag);
    }
}

impl<T: Tags> Rules for Tagged<T> {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn each_tag(&self, tag: &mut dyn FnMut(&str)) {
        self.tags.each(tag);
    }
}

impl<R: Rules + ?Sized> Rules for &R {
    fn policy(&self) -> &Policy {
        (**self).policy()
    }

    fn each_tag(&self, tag: &mut dyn FnMut(&str)) {
        (**self).each_tag(tag);
    }
}
