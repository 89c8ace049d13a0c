//! What a call says of the entry it may store: its policy and its tags, and what the value itself decides.

use super::terms::Terms;
use crate::rule::policy::Policy;

/// How values of the type `V` are stored: what a call says of the entry it may store. A [`Policy`] alone is that, without tags;
/// [`Policy::tags`] adds them; [`Policy::ttl_with`], [`Policy::tags_with`] and [`Policy::cache_if`] look at the value. By reference they serve
/// many calls. A type of one's own can say all of it for a kind of entries:
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, Rules, Terms, TieredCache};
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
/// impl Rules<Order> for Orders {
///     fn policy(&self) -> &Policy {
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
pub trait Rules<V> {
    /// The policy that copies are read by, and by which is stored what [`adapt`](Rules::adapt) says nothing of.
    fn policy(&self) -> &Policy;

    /// Says how this value is stored; `None` where it is that there is none. Asked when a value has been loaded or is put, and not by a hit. A
    /// panic is that of the load.
    fn adapt(&self, value: Option<&V>, terms: &mut Terms<'_>);
}

impl<V> Rules<V> for Policy {
    fn policy(&self) -> &Policy {
        self
    }

    fn adapt(&self, _: Option<&V>, _: &mut Terms<'_>) {}
}

impl<V, R: Rules<V> + ?Sized> Rules<V> for &R {
    fn policy(&self) -> &Policy {
        (**self).policy()
    }

    fn adapt(&self, value: Option<&V>, terms: &mut Terms<'_>) {
        (**self).adapt(value, terms);
    }
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
    /// At most 32, each of 1 to 4,096 bytes: what carries others is returned to who asked and not stored (counted, logged once), and an error of `set`.
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

impl<V, T: Tags> Rules<V> for Tagged<T> {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn adapt(&self, _: Option<&V>, terms: &mut Terms<'_>) {
        self.tags.each(&mut |tag| terms.tag(tag));
    }
}
