//! The lane as seen from an instance: what it does to the instance's copies and loads, who follows it, what waits to be told.

pub(crate) mod courier;
pub(crate) mod follower;
pub(crate) mod holds;
pub(crate) mod instance;
pub(crate) mod journal;
pub(crate) mod outbox;
pub(crate) mod own;
pub(crate) mod renewal;
pub(crate) mod together;
pub(crate) mod waits;
