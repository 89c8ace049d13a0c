//! The ground of the integration tests: real servers with an owner, alone, beside Sentinels or in a Cluster; a proxy before them that loses and delays,
//! worlds of caches in one process, a gate to hold tasks at, one helper that polls.
//! What is tested, and against which caches, is the tests' own.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "whatever fails here is a test that has failed")]

mod bus;
mod certificates;
mod client;
mod cluster;
mod eventually;
mod faketime;
mod gate;
mod log;
mod over;
mod process;
mod proxy;
mod reach;
mod sentinel;
mod server;
mod spread;
mod tiers;
mod world;

pub use certificates::{Authority, Issued};
pub use client::{Client, Reply};
pub use cluster::Cluster;
pub use eventually::{eventually, eventually_async, under_way};
pub use gate::Gate;
pub use log::Log;
pub use over::Over;
pub use process::Owned;
pub use proxy::{Flow, Flows, Proxy, Which};
pub use reach::Reach;
pub use sentinel::Sentinels;
pub use server::{RedisServer, ServerBuilder};
pub use spread::{PARTS, beside_k, lanes_in_cluster, name_in_cluster, name_of_part, one_of_each_part, part_of, parts};
pub use tiers::{Oops, Origin, Tier, over_each, over_shared};
pub use world::{Database, End, Failed, Loader, PANIC, World};
