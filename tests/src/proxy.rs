//! A forwarder in front of a server, whose connections a test delays, holds, cuts and loses, all of them or some, each direction by itself.
//! It owns no server, and knows of the protocol only how a subscription begins and where a message ends.

mod frames;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::client::Address;
use crate::over::Login;
use crate::reach;
use crate::server::RedisServer;
use wire::{Ends, Instead, Wire};

/// How many connections one proxy holds at once; more are refused.
const MOST_WIRES: usize = 256;

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They are passed on.
    #[default]
    Pass,
    /// They are passed on after so long.
    Delay(Duration),
    /// They are kept, and passed on late: when another flow is ordered, be the sender gone by then or not.
    Hold,
    /// They are lost. What has lost a byte passes nothing on any more: nothing arrives behind a gap.
    Swallow,
    /// So many are passed on, then the whole connection breaks.
    CutAfter(usize),
    /// One message in so many is lost, and everything else is passed on.
    LoseMessages {
        /// In how many.
        every: u32,
    },
    /// One message in so many is passed on behind the reply that follows it.
    LateMessages {
        /// In how many.
        every: u32,
    },
    /// The receiver is told that there will be no more, the sender is not, and what it sends is lost.
    HalfClose,
    /// The whole connection breaks.
    Cut,
}

/// What becomes of both directions of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// From the client to the server.
    pub up: Flow,
    /// From the server to the client.
    pub down: Flow,
}

impl Flows {
    /// The same for both directions.
    #[must_use]
    pub const fn both(flow: Flow) -> Self {
        Self { up: flow, down: flow }
    }

    /// The server loses the connection and the client does not hear of it.
    #[must_use]
    pub const fn half_open() -> Self {
        Self { up: Flow::HalfClose, down: Flow::Swallow }
    }
}

/// Which connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// Those that have sent a `SUBSCRIBE`.
    Subscribed,
    /// The others.
    Plain,
}

/// A proxy in front of one server. It reads what passes, so a server behind TLS is reached by its socket; before a node of a Cluster it says that there is no
/// other node than that, at its own address. Dropping it breaks its connections and ends its thread.
#[derive(Debug)]
pub struct Proxy {
    listens: Address,
    login: Login<'static>,
    shared: Arc<Shared>,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: Address,
    in_cluster: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    refuses: bool,
    plain: Flows,
    subscribed: Flows,
    wires: BTreeMap<u64, Arc<Wire>>,
    /// How many connections were taken, and the name of the next one.
    taken: u64,
    /// How many messages were lost or late, each by itself.
    touched: Arc<AtomicU64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be said in the place of where the server says that it is.
    fn instead(&self, listens: &Address) -> Option<Instead> {
        match (&self.server, listens) {
            (Address::Tcp(of), Address::Tcp(at)) if self.in_cluster => Some(Instead { of: *of, at: *at }),
            _ => None,
        }
    }

    /// The connection has turned out to be a subscription: from here on the orders for those hold.
    fn subscribes(&self, wire: &Wire) {
        let state = self.lock();
        wire.set_subscribed();
        wire.order(state.subscribed);
    }
}

impl Proxy {
    /// Returns a proxy that listens on a unix socket.
    ///
    /// # Panics
    /// When the system has no socket to give.
    #[must_use]
    #[track_caller]
    pub fn on_socket(server: &RedisServer) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cachetier-proxy-{}-{}.sock", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self::start(server, Address::Unix(std::env::temp_dir().join(name)))
    }

    /// Returns a proxy that listens on a free port of the loopback interface.
    ///
    /// # Panics
    /// When the system has no port to give.
    #[must_use]
    #[track_caller]
    pub fn on_port(server: &RedisServer) -> Self {
        Self::start(server, Address::Tcp(0))
    }

    #[track_caller]
    fn start(server: &RedisServer, listens: Address) -> Self {
        let login = server.login();
        // The nodes of a Cluster have ports.
        let listens = if server.is_in_cluster() { Address::Tcp(0) } else { listens };
        let in_cluster = server.is_in_cluster();
        let shared = Arc::new(Shared { server: server.address().clone(), in_cluster, state: Mutex::default() });
        let (end, ended) = watch::channel(false);
        let (ready, told) = std::sync::mpsc::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                match Listener::bind(listens).await {
                    Ok((listener, address)) => {
                        let at = address.clone();
                        let _ = ready.send(Ok(address));
                        serve(listener, &at, &serving, ended).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        });
        match told.recv() {
            Ok(Ok(listens)) => Self { listens, login, shared, end, thread: Some(thread) },
            Ok(Err(error)) => panic!("no proxy: {error}"),
            Err(ended) => panic!("no proxy: its thread has ended, {ended}"),
        }
    }

    /// Returns the address as clients of the server take it.
    #[must_use]
    pub fn url(&self) -> String {
        let url = self.listens.url(&self.login);
        if self.shared.in_cluster { reach::in_cluster(&[url]) } else { url }
    }

    /// Orders what becomes of the bytes of these connections, of those to come as well.
    pub fn order(&self, which: Which, flows: Flows) {
        let mut state = self.shared.lock();
        if which != Which::Subscribed {
            state.plain = flows;
        }
        if which != Which::Plain {
            state.subscribed = flows;
        }
        state.wires.values().filter(|wire| wire.is(which)).for_each(|wire| wire.order(flows));
    }

    /// Breaks these connections; those to come are none of them.
    pub fn cut(&self, which: Which) {
        self.now(which, Flows::both(Flow::Cut));
    }

    /// Orders what becomes of the bytes of the connections that there are; those to come pass.
    pub fn now(&self, which: Which, flows: Flows) {
        self.shared.lock().wires.values().filter(|wire| wire.is(which)).for_each(|wire| wire.order(flows));
    }

    /// Takes no more connections, or takes them again: they are closed as soon as they are made.
    pub fn refuse(&self, refuses: bool) {
        self.shared.lock().refuses = refuses;
    }

    /// Passes everything on again. Connections that have lost a byte break, as they would at the next byte.
    pub fn restore(&self) {
        self.refuse(false);
        self.order(Which::All, Flows::default());
    }

    /// Returns how many of these connections there are.
    #[must_use]
    pub fn count(&self, which: Which) -> usize {
        self.shared.lock().wires.values().filter(|wire| wire.is(which)).count()
    }

    /// Returns how many connections were taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.shared.lock().taken
    }

    /// Returns how many messages were lost or late so far, each by itself.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.shared.lock().touched.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.end.send(true);
        if let Some(thread) = self.thread.take() {
            // It has panicked, or has ended: both are an end.
            let _ = thread.join();
        }
        if let Address::Unix(path) = &self.listens {
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    async fn bind(at: Address) -> std::io::Result<(Self, Address)> {
        match at {
            Address::Unix(path) => {
                // Left by a process that was killed and had our id.
                let _ = std::fs::remove_file(&path);
                Ok((Self::Unix(UnixListener::bind(&path)?), Address::Unix(path)))
            }
            Address::Tcp(port) => {
                let listener = TcpListener::bind(("127.0.0.1", port)).await?;
                let port = listener.local_addr()?.port();
                Ok((Self::Tcp(listener), Address::Tcp(port)))
            }
        }
    }

    async fn accept(&self) -> std::io::Result<Ends> {
        match self {
            Self::Unix(listener) => Ok(wire::ends(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(wire::ends(stream))
            }
        }
    }
}

async fn connect(to: &Address) -> std::io::Result<Ends> {
    match to {
        Address::Unix(path) => Ok(wire::ends(UnixStream::connect(PathBuf::from(path)).await?)),
        Address::Tcp(port) => {
            let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
            stream.set_nodelay(true)?;
            Ok(wire::ends(stream))
        }
    }
}

/// Takes connections until the proxy is dropped; the runtime's end then ends those that there are.
async fn serve(listener: Listener, at: &Address, shared: &Arc<Shared>, mut ended: watch::Receiver<bool>) {
    loop {
        let taken = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            taken = listener.accept() => taken,
        };
        let Ok(client) = taken else { continue };
        let (id, wire) = {
            let mut state = shared.lock();
            if state.refuses || state.wires.len() >= MOST_WIRES {
                continue;
            }
            state.taken += 1;
            let (id, wire) = (state.taken, Arc::new(Wire::new(state.plain, Arc::clone(&state.touched), shared.instead(at))));
            state.wires.insert(id, Arc::clone(&wire));
            (id, wire)
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            // A server that is away refuses: the client's end closes.
            if let Ok(server) = connect(&shared.server).await {
                wire.carry(client, server, || shared.subscribes(&wire)).await;
            }
            shared.lock().wires.remove(&id);
        });
    }
}
