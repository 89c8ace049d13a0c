//! Tests of the adapter against a real server, which each test starts for itself and ends by its handle.

mod connect;
mod holds;
mod lane;
mod large;
mod older;
mod refresh;
mod releases;
mod server;
mod store;
mod subscription;
mod usual;
mod walk;
