//! The chaos test: instances of one service as processes, a server and a network that fail as a seed says, and a checker that reads what
//! all of them saw. How to run it and how to read it: `docs/chaos.md`.
#![forbid(unsafe_code)]

pub mod check;
pub mod clock;
pub mod database;
pub mod event;
pub mod instance;
pub mod layout;
pub mod limits;
pub mod plan;
pub mod run;
