//! What `#[cached]` and `#[invalidates]` expand into: ordinary generic code, so that an expansion is a few lines. Not part of the API: only
//! the expansions of the same release may name it.
//!
//! Decisions about types are made by method resolution (`probes`): the same method stands in traits of several levels, and the first that
//! fits is taken. So an alias of `Result` is a `Result`.

mod done;
mod form;
mod handle;
mod invalidate;
mod kept;
mod name;
mod shape;
mod sharing;

use std::time::Duration;

pub use done::{Done, DoneProbe};
pub use form::{Fallible, Form, Kind, One, OneOrNone, Shaped, Sure};
pub use handle::{AsCache, Handle, given, installed};
pub use invalidate::{Targets, invalidate, invalidate_after};
pub use kept::{Kept, kept};
pub use name::{Name, place_of_group, self_of_group, type_name, type_name_of};
pub use shape::{Probe, Shape, Uncacheable};
pub use sharing::{ByClone, ByLeaderAlone, ByPath, Copied, Copies, ErrorProbe, ShareError, Sharing, Within, share_by};

use form::ValueOf;

use crate::cache::{Rules, Tagged, Tags, by_value};
use crate::rule::policy::Policy;

/// The traits whose methods decide, without names: `use ::cachetier::attribute::probes::*;`.
pub mod probes {
    pub use super::done::{DoneAlways as _, DoneIfOk as _, DoneIfSome as _};
    pub use super::shape::{
        IsCacheable as _, IsNotCacheable as _, ReturnsOption as _, ReturnsResult as _, ReturnsResultOption as _, ReturnsValue as _,
    };
    pub use super::sharing::{SharesByClone as _, SharesNothing as _, SharesWithin as _};
}

/// The policy and the tags of a call.
#[must_use]
pub fn rules(policy: Policy, tags: Vec<String>) -> Tagged<Vec<String>> {
    policy.tags(tags)
}

/// These rules, for values of which `cache` says that they are stored. Here and below the shape says what a value is: a closure need not.
pub fn cache_if<S, R, F>(_: &S, rules: R, cache: F) -> impl Rules<ValueOf<S::Form>> + use<S, R, F>
where
    S: Shaped,
    R: Rules<ValueOf<S::Form>>,
    F: Fn(&ValueOf<S::Form>) -> bool,
{
    by_value::cache_if(rules, cache)
}

/// These rules, for values that live for as long as `ttl` says.
pub fn ttl_with<S, R, F>(_: &S, rules: R, ttl: F) -> impl Rules<ValueOf<S::Form>> + use<S, R, F>
where
    S: Shaped,
    R: Rules<ValueOf<S::Form>>,
    F: Fn(&ValueOf<S::Form>) -> Duration,
{
    by_value::ttl_with(rules, ttl)
}

/// These rules, for values that also carry the tags which `tags` names.
pub fn tags_with<S, R, F, T>(_: &S, rules: R, tags: F) -> impl Rules<ValueOf<S::Form>> + use<S, R, F, T>
where
    S: Shaped,
    R: Rules<ValueOf<S::Form>>,
    F: Fn(&ValueOf<S::Form>) -> T,
    T: Tags,
{
    by_value::tags_with(rules, tags)
}

/// A tag or a key that an option names by an expression.
#[must_use]
pub fn text<T: AsRef<str> + ?Sized>(text: &T) -> String {
    text.as_ref().to_owned()
}

/// A duration that an option names: where it is none, the error stands at the option.
#[must_use]
pub const fn duration(duration: Duration) -> Duration {
    duration
}
