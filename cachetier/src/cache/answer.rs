//! What a caller can be answered with: a value, or also the knowledge that there is none.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::terms::Terms;
use crate::l1::Entry;
use crate::rule::policy::Content;

/// What can be cached. Implemented for every type that can: serde's traits, `Clone` for a hit, and nothing borrowed.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct User {
///     name: String,
/// }
///
/// fn is_value<V: cachetier::Value>() {}
/// is_value::<User>();
/// // A hit then clones a pointer.
/// is_value::<std::sync::Arc<User>>();
/// ```
///
/// A value is dropped wherever the last hold on it goes, within the cache's own locks included: its `Drop`, should it have one, must not
/// call the cache, nor wait for somebody who does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be cached",
    label = "a value that is cached is written, read back and cloned",
    note = "derive `serde::Serialize`, `serde::Deserialize` and `Clone` for it, and let it borrow nothing"
)]
pub trait Value: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Value for V {}

/// An answer of the cache or of a loader.
pub(crate) trait Answer: Sized {
    type Value: Value;

    /// The answer that the entry is, if the caller can be answered with it.
    fn of(entry: &Entry) -> Option<Self>;

    /// The answer made of a decoded value, or of none.
    fn from(value: Option<Self::Value>) -> Option<Self>;

    fn value(&self) -> Option<&Self::Value>;

    /// Whether the loader may be shown what is stale.
    const SEES_STALE: bool = false;

    /// What was stale, and is found to be current: the value.
    fn unmodified(&self) -> Option<&Arc<Entry>> {
        None
    }

    /// How many bytes it counts as where it is not encoded, if it knows.
    fn bytes(&self) -> Option<usize> {
        None
    }

    /// What it says itself of how it is stored.
    fn adapt(&self, _: &mut Terms<'_>) {}

    fn content(&self) -> Content {
        if self.value().is_some() { Content::Value } else { Content::Nothing }
    }
}

/// A value.
pub(crate) struct Just<V>(pub(crate) V);

impl<V: Value> Answer for Just<V> {
    type Value = V;

    fn of(entry: &Entry) -> Option<Self> {
        match entry.facts.content {
            Content::Value => entry.value::<V>().cloned().map(Self),
            // Whatever stands in the value's place: it is none, also where it is of the same type.
            Content::Nothing | Content::Failure => None,
        }
    }

    fn from(value: Option<V>) -> Option<Self> {
        value.map(Self)
    }

    fn value(&self) -> Option<&V> {
        Some(&self.0)
    }
}

/// A value, or the knowledge that there is none.
pub(crate) struct Maybe<V>(pub(crate) Option<V>);

impl<V: Value> Answer for Maybe<V> {
    type Value = V;

    fn of(entry: &Entry) -> Option<Self> {
        match entry.facts.content {
            Content::Value => entry.value::<V>().cloned().map(|value| Self(Some(value))),
            Content::Nothing => Some(Self(None)),
            Content::Failure => None,
        }
    }

    fn from(value: Option<V>) -> Option<Self> {
        Some(Self(value))
    }

    fn value(&self) -> Option<&V> {
        self.0.as_ref()
    }
}
