//! The values that are cached: a small struct whose body has the size that is asked for.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The sizes of the bodies, in bytes, and how they are shown.
pub const SIZES: [(&str, usize); 3] = [("100 B", 100), ("1 KiB", 1_024), ("10 KiB", 10_240)];

/// A value whose size can be chosen; served as `Arc<Self>`, so that a hit copies nothing of it.
pub trait Body: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Returns a value whose body takes `bytes`.
    fn of(bytes: usize) -> Arc<Self>;
}

/// A value with a body of text: what a codec copies in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// A number, as values have.
    pub id: u64,
    /// A short text.
    pub title: String,
    /// What takes the space.
    pub body: String,
}

impl Body for Page {
    fn of(bytes: usize) -> Arc<Self> {
        Arc::new(Self { id: 42, title: "a title".to_owned(), body: "x".repeat(bytes) })
    }
}

/// A value with a body of single elements: serde hands them over one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// A number, as values have.
    pub id: u64,
    /// What takes the space.
    pub body: Vec<u8>,
}

impl Body for List {
    fn of(bytes: usize) -> Arc<Self> {
        Arc::new(Self { id: 42, body: vec![7; bytes] })
    }
}
