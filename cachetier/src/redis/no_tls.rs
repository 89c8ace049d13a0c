//! Takes the place of `tls.rs` where that is not built in: there is no such address, and so no such connection.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::AtomicBool;

use ::redis::io::tcp::TcpSettings;
use tokio::net::TcpStream;

use super::url::BadUrl;

#[derive(Clone, Copy, Debug)]
pub(super) enum Files {}

#[derive(Clone, Debug)]
pub(super) enum Tls {}

impl Files {
    pub(super) fn named<'a>(_: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Result<Self, BadUrl> {
        Err(BadUrl::new("an address for TLS, for which the feature `tls` of cachetier must be turned on"))
    }
}

impl Tls {
    pub(super) fn open(_: &str, files: Files) -> Result<Self, BadUrl> {
        match files {}
    }

    #[expect(clippy::unused_async, reason = "as the one whose place it takes")]
    pub(super) async fn connect(&self, _: (&str, u16), _: &TcpSettings, _: &AtomicBool) -> io::Result<TcpStream> {
        match *self {}
    }
}
