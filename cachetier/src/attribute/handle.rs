//! The cache of a call: named by `cache = ..`, or the installed one.

use std::rc::Rc;
use std::sync::{Arc, LazyLock, OnceLock};

use crate::cache::TieredCache;
use crate::installed::{installed_for_all, scoped};
use crate::observe::once::Once;

/// The cache of a call, if there is one. A hit only borrows it.
#[derive(Debug)]
pub struct Handle<'a>(Held<'a>);

#[derive(Debug)]
enum Held<'a> {
    Borrowed(&'a TieredCache),
    Owned(TieredCache),
    Nothing,
}

impl Handle<'_> {
    pub(super) fn cache(&self) -> Option<&TieredCache> {
        match &self.0 {
            Held::Borrowed(cache) => Some(cache),
            Held::Owned(cache) => Some(cache),
            Held::Nothing => None,
        }
    }

    /// Lets go of what it borrows: after a miss the arguments belong to the function's body.
    #[must_use]
    pub fn into_owned(self) -> Handle<'static> {
        Handle(match self.0 {
            Held::Borrowed(cache) => Held::Owned(cache.clone()),
            Held::Owned(cache) => Held::Owned(cache),
            Held::Nothing => Held::Nothing,
        })
    }
}

/// The cache that `cache = ..` names.
#[must_use]
pub fn given<C: AsCache + ?Sized>(cache: &C) -> Handle<'_> {
    Handle(cache.as_cache().map_or(Held::Nothing, Held::Borrowed))
}

/// The cache of the scope, else the installed one. That there is none is said once.
#[must_use]
pub fn installed() -> Handle<'static> {
    if let Some(cache) = scoped() {
        return Handle(Held::Owned(cache));
    }
    if let Some(cache) = installed_for_all() {
        return Handle(Held::Borrowed(cache));
    }
    say_once_that_there_is_none();
    Handle(Held::Nothing)
}

#[cold]
fn say_once_that_there_is_none() {
    static TOLD: Once = Once::new();
    if TOLD.first() {
        tracing::warn!(
            "a `#[cached]` or `#[invalidates]` function was called and no cache is installed: until there is one, such functions \
             just run, uncached, and invalidate nothing; call `cachetier::install`, or name a cache with `cache = ..`"
        );
    }
}

/// What `cache = ..` may name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a cache",
    label = "expected a `TieredCache`",
    note = "`cache = ..` takes a `TieredCache`, or a reference, `Arc`, `Rc`, `Box`, `LazyLock`, `OnceLock`, `OnceCell` or `Option` of one"
)]
pub trait AsCache {
    /// The cache; `None` where there is none, or none yet: the function then just runs.
    fn as_cache(&self) -> Option<&TieredCache>;
}

impl AsCache for TieredCache {
    fn as_cache(&self) -> Option<&TieredCache> {
        Some(self)
    }
}

macro_rules! as_what_it_points_to {
    ($($pointer:ty),+) => {$(
        impl<C: AsCache + ?Sized> AsCache for $pointer {
            fn as_cache(&self) -> Option<&TieredCache> {
                (**self).as_cache()
            }
        }
    )+};
}

as_what_it_points_to!(&C, &mut C, Arc<C>, Rc<C>, Box<C>);

impl<C: AsCache, F: FnOnce() -> C> AsCache for LazyLock<C, F> {
    fn as_cache(&self) -> Option<&TieredCache> {
        (**self).as_cache()
    }
}

impl<C: AsCache> AsCache for Option<C> {
    fn as_cache(&self) -> Option<&TieredCache> {
        self.as_ref().and_then(C::as_cache)
    }
}

macro_rules! as_what_it_will_hold {
    ($($cell:ty),+) => {$(
        impl<C: AsCache> AsCache for $cell {
            fn as_cache(&self) -> Option<&TieredCache> {
                let cache = self.get().and_then(C::as_cache);
                if cache.is_none() {
                    say_once_that_there_is_none();
                }
                cache
            }
        }
    )+};
}

as_what_it_will_hold!(OnceLock<C>, tokio::sync::OnceCell<C>);
