//! The forms that a function's return may have: whether it can fail, and whether it may bring nothing.

use std::convert::Infallible;
use std::marker::PhantomData;

/// What a function brings when it does not fail.
pub trait Kind {
    /// What is cached.
    type Value;
    /// What is brought.
    type Brought;

    /// Made of a value, or of none; `None` if none cannot be brought.
    fn brought(value: Option<Self::Value>) -> Option<Self::Brought>;

    /// The value in it.
    fn value(brought: &Self::Brought) -> Option<&Self::Value>;
}

/// A value.
#[derive(Debug)]
pub struct One<T>(PhantomData<fn() -> T>);

impl<T> Kind for One<T> {
    type Value = T;
    type Brought = T;

    fn brought(value: Option<T>) -> Option<T> {
        value
    }

    fn value(brought: &T) -> Option<&T> {
        Some(brought)
    }
}

/// A value, or the knowledge that there is none.
#[derive(Debug)]
pub struct OneOrNone<T>(PhantomData<fn() -> T>);

impl<T> Kind for OneOrNone<T> {
    type Value = T;
    type Brought = Option<T>;

    fn brought(value: Option<T>) -> Option<Option<T>> {
        Some(value)
    }

    fn value(brought: &Option<T>) -> Option<&T> {
        brought.as_ref()
    }
}

/// What a function returns.
pub trait Form {
    /// What it brings.
    type Kind: Kind;
    /// What it fails with.
    type Error;
    /// Its return type.
    type Returned;

    /// Returned by a function that has brought something, or failed.
    fn returned(result: ResultOf<Self>) -> Self::Returned;

    /// What was returned, as a result.
    fn result(returned: Self::Returned) -> ResultOf<Self>;
}

pub(super) type Brought<K> = <K as Kind>::Brought;
pub(super) type ResultOf<F> = Result<Brought<<F as Form>::Kind>, <F as Form>::Error>;
pub(super) type ValueOf<F> = <<F as Form>::Kind as Kind>::Value;

/// It cannot fail.
#[derive(Debug)]
pub struct Sure<K>(PhantomData<fn() -> K>);

impl<K: Kind> Form for Sure<K> {
    type Kind = K;
    type Error = Infallible;
    type Returned = K::Brought;

    fn returned(result: Result<K::Brought, Infallible>) -> K::Brought {
        match result {
            Ok(brought) => brought,
            Err(never) => match never {},
        }
    }

    fn result(returned: K::Brought) -> Result<K::Brought, Infallible> {
        Ok(returned)
    }
}

/// It may fail.
#[derive(Debug)]
pub struct Fallible<K, E>(PhantomData<fn() -> (K, E)>);

impl<K: Kind, E> Form for Fallible<K, E> {
    type Kind = K;
    type Error = E;
    type Returned = Result<K::Brought, E>;

    fn returned(result: Result<K::Brought, E>) -> Result<K::Brought, E> {
        result
    }

    fn result(returned: Result<K::Brought, E>) -> Result<K::Brought, E> {
        returned
    }
}

/// Something of a form.
pub trait Shaped {
    /// The form.
    type Form: Form;
}
