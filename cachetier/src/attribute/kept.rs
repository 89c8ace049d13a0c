//! Arguments that a function borrows, for a body that outlives its call.

use std::borrow::Borrow;

/// What was borrowed, owned.
#[derive(Debug)]
pub struct Kept<T: ToOwned + ?Sized>(T::Owned);

/// Makes it one's own.
pub fn kept<T: ToOwned + ?Sized>(borrowed: &T) -> Kept<T> {
    Kept(borrowed.to_owned())
}

impl<T: ToOwned + ?Sized> Kept<T> {
    /// As it was borrowed.
    pub fn lent(&self) -> &T {
        self.0.borrow()
    }
}
