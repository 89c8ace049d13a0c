//! By which way a server is reached: every server of a run by the one that `CACHETIER_TESTS_OVER` names, unless its test names another.

use std::path::Path;

use crate::certificates::{Authority, Issued};

/// The variable: `tcp`, `tls`, `acl`, `sentinel` or `cluster`; a unix socket without it.
const VARIABLE: &str = "CACHETIER_TESTS_OVER";

/// The named user of a server that is reached as such.
const USER: (&str, &str) = ("service", "s3cret-of-tests");

/// What that user may do, in any namespace: `tests/it/rights.rs` says why.
const RIGHTS: &str = "~ct:* &ct:* -@all +del +eval +evalsha +get +getrange +info +mget +pexpire +ping +pttl +publish +rename +scan +select +set \
                      +setrange +strlen +subscribe +time +unlink";

/// By which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// A unix socket.
    #[default]
    Socket,
    /// A port of the loopback interface.
    Tcp,
    /// One behind TLS, where the server wants no certificate of its client.
    TlsWithoutCertificate,
    /// One behind TLS, where it does.
    Tls,
    /// A unix socket, as a named user who may do what a cache does and nothing else.
    Acl,
    /// A port; the server has replicas, and who does not stand before a proxy is told by Sentinels where it is.
    Sentinel,
    /// A port; the server is a node of a Cluster, and has nearly all slots.
    Cluster,
}

impl Over {
    /// The way of this run.
    ///
    /// # Panics
    /// When it is none that is known.
    #[must_use]
    pub fn chosen() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) | Ok("") => Self::Socket,
            Ok("tcp") => Self::Tcp,
            Ok("tls") => Self::Tls,
            Ok("acl") => Self::Acl,
            Ok("sentinel") => Self::Sentinel,
            Ok("cluster") => Self::Cluster,
            Ok(other) => panic!("{VARIABLE} is {other:?}, expected `tcp`, `tls`, `acl`, `sentinel` or `cluster`"),
        }
    }

    /// For a test that cannot be run by one of these ways: whether this run goes by one, which is then printed with the reason.
    #[must_use]
    pub fn is_none_of(ways: &[Self], why: &str) -> bool {
        let chosen = Self::chosen();
        if ways.contains(&chosen) {
            println!("skipped over {chosen:?}: {why}");
            return false;
        }
        true
    }

    pub(crate) fn has_port(self) -> bool {
        matches!(self, Self::Tcp | Self::Sentinel | Self::Cluster) || self.is_tls()
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsWithoutCertificate)
    }

    /// As whom a client comes by this way.
    pub(crate) fn login(self) -> Login<'static> {
        match self {
            Self::Acl => Login { user: USER.0, password: USER.1, database: 0 },
            _ => Login::default(),
        }
    }

    /// What the server is to be told for this way, beside where it listens: names and values of options.
    pub(crate) fn prepare(
        self,
        folder: &Path,
        identity: Option<&(String, Issued)>,
    ) -> std::io::Result<Vec<(&'static str, String)>> {
        let path = |name: &str| folder.join(name).display().to_string();
        match self {
            Self::Socket | Self::Tcp | Self::Sentinel | Self::Cluster => Ok(Vec::new()),
            Self::Acl => {
                let (name, password) = USER;
                let users = format!("user default on nopass ~* &* +@all\nuser {name} on >{password} {RIGHTS}\n");
                std::fs::write(folder.join("users.acl"), users)?;
                Ok(vec![("aclfile", path("users.acl"))])
            }
            Self::Tls | Self::TlsWithoutCertificate => {
                // Once for all processes of a server: a restarted one is the same.
                if !folder.join("ca.pem").exists() {
                    let authority = Authority::new();
                    authority.issue(&["client"]).write(folder, "client");
                    let own = || (authority.pem().to_owned(), authority.issue(&["127.0.0.1", "localhost"]));
                    let (trusted_by_clients, issued) = identity.cloned().unwrap_or_else(own);
                    issued.write(folder, "server");
                    // Of its clients, the server trusts those of its own authority.
                    std::fs::write(folder.join("clients.pem"), authority.pem())?;
                    std::fs::write(folder.join("ca.pem"), trusted_by_clients)?;
                }
                let clients = if self == Self::Tls { "yes" } else { "no" };
                Ok(vec![
                    ("tls-cert-file", path("server.pem")),
                    ("tls-key-file", path("server.key")),
                    ("tls-ca-cert-file", path("clients.pem")),
                    ("tls-auth-clients", clients.to_owned()),
                ])
            }
        }
    }

    /// What the address of a server behind TLS says of the client's files.
    pub(crate) fn query(self, folder: &Path) -> String {
        let path = |name: &str| folder.join(name).display().to_string();
        match self {
            Self::Tls => format!("ca={}&cert={}&key={}", path("ca.pem"), path("client.pem"), path("client.key")),
            _ => format!("ca={}", path("ca.pem")),
        }
    }
}

/// As whom a client comes, and to which database. Without a name it is nobody in particular.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) database: u32,
}

impl Login<'_> {
    /// What stands before the host.
    pub(crate) fn authority(&self) -> String {
        if self.password.is_empty() { String::new() } else { format!("{}:{}@", self.user, self.password) }
    }

    /// What stands behind the path of a socket.
    pub(crate) fn query(&self) -> String {
        let Self { user, password, database } = self;
        let mut query = Vec::new();
        if *database != 0 {
            query.push(format!("db={database}"));
        }
        query.extend((!user.is_empty()).then(|| format!("user={user}")));
        query.extend((!password.is_empty()).then(|| format!("pass={password}")));
        if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) }
    }

    /// The database as a path, none for the first.
    pub(crate) fn path(&self) -> String {
        if self.database == 0 { String::new() } else { self.database.to_string() }
    }
}
