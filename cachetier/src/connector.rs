//! Connections that the user makes himself: through a tunnel, by another TLS, as a user whose password changes.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

/// Where a connection is to lead: see [`CacheBuilder::connector`](crate::CacheBuilder::connector).
///
/// ```
/// # use cachetier::Endpoint;
/// fn may_be_asked(of: &Endpoint) -> bool {
///     matches!(of, Endpoint::Tcp { host, .. } if host.ends_with(".internal"))
/// }
/// # let _ = may_be_asked;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A port of a host.
    #[non_exhaustive]
    Tcp {
        /// Its name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket of this machine.
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A connection that was made in the place of the cache, and as whom to use it: see [`CacheBuilder::connector`](crate::CacheBuilder::connector).
///
/// ```
/// use cachetier::Connected;
///
/// let (ours, _theirs) = tokio::io::duplex(1_024);
/// let connected = Connected::over(ours).login("app", "a password of today");
/// assert_eq!(format!("{connected:?}"), "Connected(..)");
/// ```
pub struct Connected {
    pub(crate) stream: Box<dyn Stream>,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
}

impl Connected {
    /// A connection over this stream: the handshakes of whatever it goes through are done, and nothing of Redis has been sent.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self { stream: Box::new(stream), login: None }
    }

    /// As this user, by this password: in the place of what the address says. An empty name stands for the user that needs none.
    ///
    /// ```
    /// # use cachetier::Connected;
    /// # let (stream, _) = tokio::io::duplex(1);
    /// let connected = Connected::over(stream).login("app", "a password of today");
    /// ```
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some((user.into(), password.into()));
        self
    }
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connected(..)")
    }
}

/// What is read from and written to.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send>>;

/// Makes connections as its user says.
#[derive(Clone)]
pub(crate) struct Connector(Arc<dyn Fn(Endpoint) -> Connecting + Send + Sync>);

/// Ends with its owner.
struct Ends<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Ends<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connector {
    pub(crate) fn new<F, Fut>(connect: F) -> Self
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Connected>> + Send + 'static,
    {
        Self(Arc::new(move |to| Box::pin(connect(to))))
    }

    pub(crate) fn connect(&self, to: Endpoint) -> impl Future<Output = io::Result<Connected>> + Send + 'static {
        let connect = self.clone();
        async move { (connect.0)(to).await }
    }
}

/// Runs what is the user's code in part, and may panic, in a task of its own.
///
/// Cancel safety: dropped, it ends that task.
pub(crate) async fn guarded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let mut task = Ends(tokio::spawn(work));
    (&mut task.0).await.map_err(|_| io::Error::other("the connector panicked"))
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_connector_that_panics_is_an_error_and_one_that_is_dropped_ends() {
        let to = || Endpoint::Tcp { host: "here".to_owned(), port: 1 };
        let panics = Connector::new(|_| async { panic!("unlucky") });
        assert!(guarded(panics.connect(to())).await.is_err_and(|error| error.to_string().contains("panicked")));

        let alive = Arc::new(());
        let (held, metrics) = (Arc::clone(&alive), tokio::runtime::Handle::current().metrics());
        let hangs = Connector::new(move |_| {
            let held = Arc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Err(io::ErrorKind::Other.into())
            }
        });
        let before = metrics.num_alive_tasks();
        assert!(tokio::time::timeout(Duration::from_millis(10), guarded(hangs.connect(to()))).await.is_err());
        tokio::task::yield_now().await;
        assert_eq!((metrics.num_alive_tasks(), Arc::strong_count(&alive)), (before, 2), "only the connector itself holds it");
    }
}
