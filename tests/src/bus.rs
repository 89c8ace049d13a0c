//! What the nodes of a Cluster say to each other goes through here, so that one of them can be cut off from the others while its clients still reach it.
//! Each node calls from an address of its own on the loopback interface: that tells who calls.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long what is on its way through a cut waits before it looks again.
const LOOK: Duration = Duration::from_millis(5);

/// Nobody is cut off.
const NOBODY: usize = usize::MAX;

/// The ways between the nodes. Dropped, it lets no more through.
#[derive(Debug, Default)]
pub(crate) struct Bus(Arc<State>);

#[derive(Debug)]
struct State {
    /// Who is cut off.
    out: AtomicUsize,
    over: AtomicBool,
}

impl Default for State {
    fn default() -> Self {
        Self { out: AtomicUsize::new(NOBODY), over: AtomicBool::new(false) }
    }
}

impl State {
    fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits until what one of them says may reach the other; `false`: never.
    fn passes(&self, one: usize, other: usize) -> bool {
        while !self.over() {
            let out = self.out.load(Ordering::Acquire);
            if out != one && out != other {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        false
    }
}

/// Where this node calls from.
pub(crate) fn source(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(node).unwrap_or(u8::MAX - 1).saturating_add(1))
}

impl Bus {
    /// Opens a way to a node, which itself listens at this port, and returns the port for the others.
    pub(crate) fn open(&self, node: usize, port: u16) -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let (open, state) = (listener.local_addr()?.port(), Arc::clone(&self.0));
        std::thread::spawn(move || {
            while !state.over() {
                let Ok((stream, from)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                let caller = match from.ip() {
                    IpAddr::V4(address) => usize::from(address.octets()[3]).saturating_sub(1),
                    IpAddr::V6(_) => NOBODY - 1,
                };
                let state = Arc::clone(&state);
                std::thread::spawn(move || carry(&state, &stream, (caller, node), port));
            }
        });
        Ok(open)
    }

    /// Cuts this node off from all others, until [`Bus::mend`].
    pub(crate) fn cut_off(&self, node: usize) {
        self.0.out.store(node, Ordering::Release);
    }

    pub(crate) fn mend(&self) {
        self.0.out.store(NOBODY, Ordering::Release);
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

/// Carries one connection to its end.
fn carry(state: &Arc<State>, caller: &TcpStream, (one, other): (usize, usize), port: u16) {
    let ends = || -> io::Result<()> {
        caller.set_nonblocking(false)?;
        if !state.passes(one, other) {
            return Ok(());
        }
        let behind = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let (back_from, back_to, state_too) = (behind.try_clone()?, caller.try_clone()?, Arc::clone(state));
        let back = std::thread::spawn(move || copy(&state_too, back_from, back_to, (other, one)));
        copy(state, caller.try_clone()?, behind, (one, other));
        let _ = back.join();
        Ok(())
    };
    // One that cannot be reached hangs up on its caller.
    let _ = ends();
    let _ = caller.shutdown(Shutdown::Both);
}

fn copy(state: &State, mut from: TcpStream, mut to: TcpStream, (one, other): (usize, usize)) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if !state.passes(one, other) || to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
