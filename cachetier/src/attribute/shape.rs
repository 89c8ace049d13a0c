//! The shape of a function's return type: what of it is a value to be cached, what says that there is none, what is an error; and a call
//! of a function of that shape.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;

use super::form::{Brought, Fallible, Form, Kind, One, OneOrNone, Shaped, Sure, ValueOf};
use super::handle::Handle;
use super::sharing::{AsItsOwn, Sharing};
use crate::cache::{Answer, Entry, Maybe, Rules, Value};
use crate::installed::{scoped, within};

/// Begins the question what an `R` is: `(&&&&probe).shape()`.
#[derive(Debug)]
pub struct Probe<R>(PhantomData<fn() -> R>);

impl<R> Probe<R> {
    /// Begins the question.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "only expansions make one")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

macro_rules! levels {
    ($($(#[doc = $doc:literal])+ $level:ident<$($type:ident),+>: $probe:ty => $form:ty;)+) => {$(
        $(#[doc = $doc])+
        pub trait $level<$($type),+> {
            /// The shape.
            fn shape(&self) -> Shape<$form> {
                Shape(PhantomData)
            }
        }

        impl<$($type),+> $level<$($type),+> for $probe {}
    )+};
}

// Without bounds: what a value must be able to is asked where it is needed, so that an error names the type and not this.
levels! {
    /// First level.
    ReturnsResultOption<T, E>: &&&Probe<Result<Option<T>, E>> => Fallible<OneOrNone<T>, E>;
    /// Second level.
    ReturnsResult<T, E>: &&Probe<Result<T, E>> => Fallible<One<T>, E>;
    /// Third level.
    ReturnsOption<T>: &Probe<Option<T>> => Sure<OneOrNone<T>>;
    /// Last level: everything else.
    ReturnsValue<T>: Probe<T> => Sure<One<T>>;
}

/// A function of the form `F`.
#[derive(Debug)]
pub struct Shape<F>(PhantomData<fn() -> F>);

impl<F: Form> Shape<F> {
    /// Answers a call from this instance's own copy. It allocates nothing.
    #[must_use]
    #[inline]
    pub fn hit<K: AsRef<[u8]> + ?Sized>(&self, cache: &Handle<'_>, key: &K) -> Option<F::Returned>
    where
        ValueOf<F>: Value,
    {
        let Found(brought) = cache.cache()?.hit_of::<Found<F::Kind>>(key.as_ref())?;
        Some(F::returned(Ok(brought)))
    }

    /// Answers a call that was no hit: by the shared tier, by another call's load, or by `body`, which is the function's body. Without a
    /// cache the body just runs.
    ///
    /// Boxed, so that a hit does not carry its state, and callers' futures stay small.
    ///
    /// Cancel safety: dropped while the body runs, it drops the body, and somebody who waits runs theirs.
    pub fn load<K, R, S, B>(
        self,
        cache: Handle<'static>,
        key: K,
        rules: R,
        sharing: S,
        body: B,
    ) -> Pin<Box<impl Future<Output = F::Returned>>>
    where
        ValueOf<F>: Value,
        K: Deref<Target = str>,
        R: Rules<ValueOf<F>>,
        S: Sharing<F::Error>,
        B: Future<Output = F::Returned>,
    {
        Box::pin(async move {
            let Some(cache) = cache.cache() else { return body.await };
            let load = async move |_| F::result(body.await).map(Found::<F::Kind>);
            let result = cache.miss_of(AsItsOwn(sharing), &key, rules, load).await;
            F::returned(result.map(|Found(brought)| brought))
        })
    }
}

impl<F: Form> Shape<F> {
    /// As [`Shape::load`], with a body that may be kept: what is due is loaded behind the caller's back. `body` is called at once where its
    /// future is to be kept.
    ///
    /// Cancel safety as for [`Shape::load`]; what goes on behind the caller's back goes on.
    pub fn refresh<K, R, S, C, B>(
        self,
        cache: Handle<'static>,
        key: K,
        rules: R,
        sharing: S,
        body: C,
    ) -> Pin<Box<impl Future<Output = F::Returned>>>
    where
        F: 'static,
        F::Kind: 'static,
        F::Error: Send + Sync,
        ValueOf<F>: Value,
        Brought<F::Kind>: Send + Sync,
        K: Deref<Target = str>,
        R: Rules<ValueOf<F>> + Send + Sync + 'static,
        S: Sharing<F::Error> + Send + Sync + 'static,
        C: FnOnce() -> B,
        B: Future<Output = F::Returned> + Send + 'static,
    {
        Box::pin(async move {
            let Some(cache) = cache.cache() else { return body().await };
            let load = || {
                // Wherever it goes on, what it calls uses the same cache.
                let body = within(scoped(), body());
                async move { F::result(body.await).map(Found::<F::Kind>) }
            };
            let result = cache.miss_or_refresh_of(AsItsOwn(sharing), &key, rules, load).await;
            F::returned(result.map(|Found(brought)| brought))
        })
    }
}

impl<F: Form> Shaped for Shape<F> {
    type Form = F;
}

impl<F: Form> Shaped for Uncacheable<F> {
    type Form = F;
}

/// Asks whether what a function brings can be cached: `(&&shape).checked()`. First level: it can.
pub trait IsCacheable<F> {
    /// The shape itself.
    fn checked(&self) -> Shape<F> {
        Shape(PhantomData)
    }
}

impl<F: Form<Kind: Kind<Value: Value>>> IsCacheable<F> for &Shape<F> {}

/// Last level: it cannot, which this call says, and none of those that follow.
pub trait IsNotCacheable<F: Form> {
    /// Something to go on with, for the compiler.
    fn checked(&self) -> Uncacheable<F>
    where
        ValueOf<F>: Value,
    {
        Uncacheable(PhantomData)
    }
}

impl<F: Form> IsNotCacheable<F> for Shape<F> {}

/// Takes the place of a [`Shape`] in a program that does not compile, so that one mistake is not told at each call.
#[derive(Debug)]
pub struct Uncacheable<F>(PhantomData<fn() -> F>);

impl<F: Form> Uncacheable<F> {
    /// As [`Shape::hit`].
    #[must_use]
    pub fn hit<K: AsRef<[u8]> + ?Sized>(&self, _: &Handle<'_>, _: &K) -> Option<F::Returned> {
        None
    }

    /// As [`Shape::load`].
    pub fn load<K, R, S, B>(self, _: Handle<'static>, _: K, _: R, _: S, body: B) -> Pin<Box<impl Future<Output = F::Returned>>>
    where
        B: Future<Output = F::Returned>,
    {
        Box::pin(body)
    }

    /// As [`Shape::refresh`].
    pub fn refresh<K, R, S, C, B>(
        self,
        _: Handle<'static>,
        _: K,
        _: R,
        _: S,
        body: C,
    ) -> Pin<Box<impl Future<Output = F::Returned>>>
    where
        C: FnOnce() -> B,
        B: Future<Output = F::Returned>,
    {
        Box::pin(async move { body().await })
    }
}

/// What was found, as the cache answers with it.
struct Found<K: Kind>(K::Brought);

impl<K: Kind<Value: Value>> Answer for Found<K> {
    type Value = K::Value;

    fn of(entry: &Entry) -> Option<Self> {
        let Maybe(value) = Maybe::of(entry)?;
        K::brought(value).map(Self)
    }

    fn from(value: Option<K::Value>) -> Option<Self> {
        K::brought(value).map(Self)
    }

    fn value(&self) -> Option<&K::Value> {
        K::value(&self.0)
    }
}
