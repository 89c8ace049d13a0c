//! placeholder
use crate::case::Case;
/// placeholder
#[must_use]
pub fn cases() -> Vec<Case<crate::front::Front>> { vec![] }
