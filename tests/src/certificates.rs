//! Certificates for a test, made in its process: who issues them, and what was issued. Who trusts them is the test's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// Who issues certificates. Nobody trusts it who is not told to.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// Its private key.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Returns one that nobody has heard of yet.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::named(&format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Returns one of this name, which is not the only one to have it.
    ///
    /// # Panics
    /// As [`Authority::new`].
    #[must_use]
    #[track_caller]
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = made(KeyPair::generate());
        let pem = made(params.self_signed(&key)).pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues one for these names and addresses.
    ///
    /// # Panics
    /// When one is no name.
    #[must_use]
    #[track_caller]
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.signed(&params(names))
    }

    /// Issues one that is no longer valid.
    ///
    /// # Panics
    /// As [`Authority::issue`].
    #[must_use]
    #[track_caller]
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let mut params = params(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.signed(&params)
    }

    /// Issues one that is not valid yet.
    ///
    /// # Panics
    /// As [`Authority::issue`].
    #[must_use]
    #[track_caller]
    pub fn issue_for_later(&self, names: &[&str]) -> Issued {
        let mut params = params(names);
        params.not_before = date_time_ymd(3000, 1, 1);
        self.signed(&params)
    }

    #[track_caller]
    fn signed(&self, params: &CertificateParams) -> Issued {
        let key = made(KeyPair::generate());
        Issued { cert: made(params.signed_by(&key, &self.issuer)).pem(), key: key.serialize_pem() }
    }
}

#[track_caller]
fn params(names: &[&str]) -> CertificateParams {
    made(CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()))
}

#[track_caller]
fn made<T>(outcome: Result<T, rcgen::Error>) -> T {
    outcome.unwrap_or_else(|error| panic!("no certificate: {error}"))
}

impl Issued {
    /// Writes both into a folder, and returns the paths of certificate and key.
    ///
    /// # Panics
    /// When they cannot be written.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let files = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        for (path, text) in [(&files.0, &self.cert), (&files.1, &self.key)] {
            std::fs::write(path, text).unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
        }
        files
    }
}
