//! TLS to a server: whom it trusts, as whom it comes, and in which words a handshake fails.
//! It knows nothing of Redis; what is sent over the stream is the client library's.
//!
//! The client library's own TLS is not used: it takes its cryptography from what the whole process has installed, and panics where that is
//! nothing, or two.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use ::redis::io::tcp::{TcpSettings, socket2::SockRef};
use rustls_native_certs::load_native_certs;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

use crate::sync::lock;

use super::answer::{
    BROKEN_OFF, DECLINED, EXPIRED, NO_TLS, NOT_YET, NOTHING_IN_COMMON, OTHER_NAME, UNKNOWN_ISSUER, WANTS_CERTIFICATE,
};
use super::url::BadUrl;

/// The files that an address names.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// The certificates that are trusted, instead of the system's.
    ca: Option<PathBuf>,
    /// The client's own certificate, with those between it and its issuer's, and its key.
    own: Option<(PathBuf, PathBuf)>,
}

const NAMELESS: BadUrl = BadUrl::new("an address for TLS whose host is neither a name of the DNS nor an IP address");

/// What they held.
#[derive(Clone, PartialEq, Eq)]
struct Read {
    ca: Option<Vec<u8>>,
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    /// Those that the query of an address names.
    pub(super) fn named<'a>(query: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Result<Self, BadUrl> {
        let (mut ca, mut cert, mut key) = (None, None, None);
        for (name, value) in query {
            let place = match &*name {
                "ca" => &mut ca,
                "cert" => &mut cert,
                "key" => &mut key,
                // Left aside, as in other addresses.
                "protocol" => continue,
                _ => return Err(BadUrl::new("an address for TLS with a parameter other than `ca`, `cert` and `key`")),
            };
            if value.is_empty() {
                return Err(BadUrl::told(format!("an address whose `{name}` names no file")));
            }
            if place.replace(PathBuf::from(&*value)).is_some() {
                return Err(BadUrl::told(format!("an address that has `{name}` twice")));
            }
        }
        let own = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => return Err(BadUrl::new("an address with `cert` and without `key`")),
            (None, Some(_)) => return Err(BadUrl::new("an address with `key` and without `cert`")),
        };
        Ok(Self { ca, own })
    }

    fn read(&self) -> Result<Read, BadUrl> {
        let file = |name: &str, path: &PathBuf| {
            std::fs::read(path).map_err(|error| BadUrl::told(format!("an address whose `{name}` cannot be read ({error})")))
        };
        let ca = self.ca.as_ref().map(|path| file("ca", path)).transpose()?;
        let own = self.own.as_ref().map(|(cert, key)| Ok((file("cert", cert)?, file("key", key)?))).transpose()?;
        Ok(Read { ca, own })
    }
}

impl Read {
    /// How a server is met with them: with certificates of the system where there are none.
    fn config(&self, system: &Arc<RootCertStore>) -> Result<ClientConfig, BadUrl> {
        let trusted = match &self.ca {
            Some(pem) => Arc::new(trusted(pem)?),
            None => Arc::clone(system),
        };
        // The process's choice if it has made one. None is made for it: it may want to, later.
        let provider = CryptoProvider::get_default().map_or_else(|| Arc::new(ring::default_provider()), Arc::clone);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| {
                BadUrl::new("an address for TLS, for which the process's cryptography has no version in common with rustls")
            })?
            .with_root_certificates(trusted);
        let mut config = match &self.own {
            Some((cert, key)) => {
                let chain = certificates("cert", cert)?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| BadUrl::new("an address in whose `key` is no private key, as PEM and not encrypted"))?;
                config.with_client_auth_cert(chain, key).map_err(|error| match error {
                    Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        BadUrl::new("an address whose `key` is not that of its `cert`")
                    }
                    _ => BadUrl::new("an address whose `cert` and `key` cannot be used: not of a kind that is known here"),
                })?
            }
            None => config.with_no_client_auth(),
        };
        // Connections are few and last: each looks at the server's certificate and shows its own anew.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadUrl> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| BadUrl::told(format!("an address whose `{name}` is broken: not PEM")))?;
    if found.is_empty() {
        return Err(BadUrl::told(format!("an address in whose `{name}` is no certificate, as PEM")));
    }
    Ok(found)
}

fn trusted(pem: &[u8]) -> Result<RootCertStore, BadUrl> {
    let mut trusted = RootCertStore::empty();
    for certificate in certificates("ca", pem)? {
        trusted.add(certificate).map_err(|_| BadUrl::new("an address in whose `ca` is a certificate that cannot be read"))?;
    }
    Ok(trusted)
}

/// The certificates that the system trusts: some may be broken, and one is enough.
fn trusted_by_the_system() -> Result<RootCertStore, BadUrl> {
    let mut trusted = RootCertStore::empty();
    let (added, _) = trusted.add_parsable_certificates(load_native_certs().certs);
    if added == 0 {
        return Err(BadUrl::new("an address for TLS without `ca`, where the system has no certificates that it trusts"));
    }
    Ok(trusted)
}

/// How the server of an address is met, or those that may stand in its place.
#[derive(Clone)]
pub(super) struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    /// Empty where the address names others.
    system: Arc<RootCertStore>,
    present: Mutex<Present>,
}

/// What connections are made with.
struct Present {
    read: Read,
    config: Arc<ClientConfig>,
    /// Whether the files hold something by now that cannot be used, and that was said.
    faulty: bool,
}

impl Tls {
    /// Reads the files.
    pub(super) fn open(host: &str, files: Files) -> Result<Self, BadUrl> {
        ServerName::try_from(host).map_err(|_| NAMELESS)?;
        let system = Arc::new(if files.ca.is_some() { RootCertStore::empty() } else { trusted_by_the_system()? });
        let read = files.read()?;
        let config = Arc::new(read.config(&system)?);
        let present = Mutex::new(Present { read, config, faulty: false });
        Ok(Self(Arc::new(Shared { files, system, present })))
    }

    /// Makes a connection, with what the files hold by now.
    /// Cancel safety: a dropped call leaves no connection behind.
    ///
    /// While the handshake waits for the server `shaking` is set.
    pub(super) async fn connect(&self, (host, port): (&str, u16), tcp: &TcpSettings, shaking: &AtomicBool) -> io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| io::Error::other(NAMELESS))?;
        let shared = Arc::clone(&self.0);
        // Cancel safety: the reading goes on, and what is read is kept for the next. In another thread, as a file may be on a network.
        if let Ok(Some(reason)) = tokio::task::spawn_blocking(move || shared.renew()).await {
            tracing::warn!(%reason, "renewed certificates cannot be used: those before are kept");
        }
        let config = Arc::clone(&lock(&self.0.present).config);
        let stream = reach(host, port, tcp).await?;
        shaking.store(true, Ordering::Relaxed);
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        shaking.store(false, Ordering::Relaxed);
        shaken.map(|stream| Stream(Box::new(stream))).map_err(told)
    }
}

impl Shared {
    /// Reads the files again: certificates are renewed while a process runs. What cannot be used leaves those before in their place;
    /// why is returned, once for as long as it is so.
    fn renew(&self) -> Option<BadUrl> {
        let read = self.files.read();
        let mut present = lock(&self.present);
        let renewed = match read {
            Ok(read) if read == present.read => {
                present.faulty = false;
                return None;
            }
            Ok(read) => read.config(&self.system).map(|config| Present { read, config: Arc::new(config), faulty: false }),
            Err(why) => Err(why),
        };
        match renewed {
            Ok(renewed) => *present = renewed,
            Err(why) => return (!std::mem::replace(&mut present.faulty, true)).then_some(why),
        }
        None
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Connects to whichever address of the host answers first, as the client library does without TLS.
async fn reach(host: &str, port: u16, settings: &TcpSettings) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for address in tokio::net::lookup_host((host, port)).await? {
        tries.spawn(TcpStream::connect(address));
    }
    let mut why = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(stream)) => return configured(stream, settings),
            Ok(Err(error)) => why = error,
            Err(ended) => why = io::Error::other(ended),
        }
    }
    Err(why)
}

fn configured(stream: TcpStream, settings: &TcpSettings) -> io::Result<TcpStream> {
    stream.set_nodelay(settings.nodelay())?;
    let socket = SockRef::from(&stream);
    if let Some(keepalive) = settings.keepalive() {
        socket.set_tcp_keepalive(keepalive)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(settings.user_timeout())?;
    Ok(stream)
}

/// A stream whose errors say what it was that TLS has found.
pub(super) struct Stream(Box<TlsStream<TcpStream>>);

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer).map_err(told)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.0).poll_write(cx, bytes);
        written.map_err(|error| self.parting_word(cx, error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.0).poll_flush(cx);
        flushed.map_err(|error| self.parting_word(cx, error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx).map_err(told)
    }
}

impl Stream {
    /// Why the server has closed a connection that can be written to no longer. It looks at a client's certificate when the client is done with
    /// the handshake and has sent its first command: its reason may be here and not read yet.
    fn parting_word(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut bytes = [0; 64];
        match Pin::new(&mut *self.0).poll_read(cx, &mut ReadBuf::new(&mut bytes)) {
            Poll::Ready(Err(why)) if rustls_error(&why).is_some() => told(why),
            _ => error,
        }
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The error in words that `answer` knows. One of TLS ends the connection, which the client library asks its kind for.
fn told(error: io::Error) -> io::Error {
    let Some(of_tls) = rustls_error(&error) else { return error };
    let broken = |text: String| io::Error::new(io::ErrorKind::ConnectionReset, text);
    match of_tls {
        Error::InvalidCertificate(why) => match why {
            // By another's key who has the name of one that is trusted.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => broken(UNKNOWN_ISSUER.to_owned()),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                broken(format!("{OTHER_NAME} ({of_tls})"))
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => broken(EXPIRED.to_owned()),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => broken(NOT_YET.to_owned()),
            _ => broken(format!("TLS: {of_tls}")),
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => broken(WANTS_CERTIFICATE.to_owned()),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => broken(format!("{DECLINED} ({of_tls})")),
            // So it is before TLS 1.3 as well, where a client has no certificate.
            AlertDescription::HandshakeFailure => broken(BROKEN_OFF.to_owned()),
            AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
                broken(format!("{NOTHING_IN_COMMON} ({of_tls})"))
            }
            _ => broken(format!("TLS: {of_tls}")),
        },
        Error::PeerIncompatible(_) => broken(format!("{NOTHING_IN_COMMON} ({of_tls})")),
        // Not the error's own text, which quotes what it stumbled over.
        Error::InvalidMessage(_) => broken(NO_TLS.to_owned()),
        _ => broken(format!("TLS: {of_tls}")),
    }
}
