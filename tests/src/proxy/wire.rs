//! One connection through a proxy: two pumps, each under its own order. Which order holds when is the proxy's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::frames::Frames;
use super::{Flow, Flows, Which};

/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// How a subscription begins, as the protocol writes it, in a Cluster with the longer word; clients write the words in either case.
const SUBSCRIBE: [&[u8]; 2] = [b"\r\n$9\r\nSUBSCRIBE\r\n", b"\r\n$10\r\nSSUBSCRIBE\r\n"];

/// How long the longest of these is.
const LONGEST: usize = 19;

/// Both halves of one end.
pub(super) struct Ends {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
}

pub(super) fn ends(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Ends {
    let (read, write) = tokio::io::split(stream);
    Ends { read: Box::new(read), write: Box::new(write) }
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    flows: watch::Sender<Flows>,
    subscribed: AtomicBool,
    /// How many messages of all connections were lost or late.
    touched: Arc<AtomicU64>,
    /// What a node of a Cluster says of where it is, and what is said in its place.
    instead: Option<Instead>,
}

/// The port of a node, and that of the proxy before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instead {
    pub(super) of: u16,
    pub(super) at: u16,
}

impl Instead {
    /// What a node says of its Cluster, as if there were no other than this one, at the proxy: nobody goes past that.
    /// The others are said to have no address, or to have failed: as long as what was said, so that nothing else changes.
    fn tell(self, bytes: &mut [u8]) {
        let (of, at) = (format!(":{}@", self.of), format!(":{}@", self.at));
        for (said, instead) in [(of.as_bytes(), at.as_bytes()), (b" master,", b" noaddr,"), (b" slave,", b" fail,,")] {
            let found: Vec<usize> =
                bytes.windows(said.len()).enumerate().filter(|(_, window)| *window == said).map(|(at, _)| at).collect();
            for place in found {
                if let Some(place) = bytes.get_mut(place..place + said.len()) {
                    // Ends the connection where it is longer or shorter: who went past the proxy would not be disturbed by it.
                    place.copy_from_slice(instead);
                }
            }
        }
    }
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To the server.
    Up,
    /// From it.
    Down,
}

/// The whole connection is to break.
struct Broken;

impl Wire {
    pub(super) fn new(flows: Flows, touched: Arc<AtomicU64>, instead: Option<Instead>) -> Self {
        Self { flows: watch::Sender::new(flows), subscribed: AtomicBool::new(false), touched, instead }
    }

    pub(super) fn order(&self, flows: Flows) {
        self.flows.send_replace(flows);
    }

    pub(super) fn set_subscribed(&self) {
        self.subscribed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is(&self, which: Which) -> bool {
        match which {
            Which::All => true,
            Which::Subscribed => self.subscribed.load(Ordering::Relaxed),
            Which::Plain => !self.subscribed.load(Ordering::Relaxed),
        }
    }

    /// Passes bytes on until both directions have ended or the connection breaks. `subscribes` is told before the server is.
    pub(super) async fn carry(&self, client: Ends, server: Ends, subscribes: impl Fn()) {
        let mut begun = Begun::default();
        let up = self.pump(
            (client.read, server.write),
            Way::Up,
            |flows| flows.up,
            |bytes| begun.look(bytes).then(&subscribes).is_some(),
        );
        let down = self.pump((server.read, client.write), Way::Down, |flows| flows.down, |_| false);
        let _ = tokio::try_join!(up, down);
    }

    /// One direction. `seen` looks at what has come before it goes on, and says whether that may have changed the order.
    async fn pump(
        &self,
        (mut from, mut to): (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>),
        way: Way,
        of: impl Fn(&Flows) -> Flow,
        mut seen: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Broken> {
        let mut orders = self.flows.subscribe();
        let mut buffer = vec![0; CHUNK];
        // Passed on since the order of the moment came.
        let (mut passed, mut order) = (0, Flow::Pass);
        let mut lost = false;
        let mut frames = Frames::default();
        loop {
            let flow = of(&orders.borrow_and_update());
            match flow {
                Flow::Cut => return Err(Broken),
                Flow::Hold => {
                    let _ = orders.changed().await;
                    continue;
                }
                Flow::HalfClose if !lost => {
                    let _ = to.shutdown().await;
                    lost = true;
                }
                Flow::Pass | Flow::Delay(_) | Flow::LoseMessages { .. } | Flow::LateMessages { .. } if lost => return Err(Broken),
                _ => {}
            }
            let read = tokio::select! {
                biased;
                _ = orders.changed() => continue,
                read = from.read(&mut buffer) => read,
            };
            if let (Some(instead), Ok(read), Way::Down) = (self.instead, &read, way)
                && let Some(bytes) = buffer.get_mut(..*read)
            {
                instead.tell(bytes);
            }
            // An order wakes the two directions one after the other: what came of the first must not pass the second by an old one.
            let flow = of(&orders.borrow());
            let Some(mut bytes) = read.ok().and_then(|n| buffer.get(..n)).filter(|bytes| !bytes.is_empty()) else {
                if matches!(flow, Flow::Swallow | Flow::HalfClose) {
                    // The end of the stream is lost as well.
                    let _ = orders.wait_for(|flows| of(flows) != flow).await;
                }
                let _ = to.shutdown().await;
                return Ok(());
            };
            let flow = if seen(bytes) { of(&orders.borrow()) } else { flow };
            if std::mem::replace(&mut order, flow) != flow {
                passed = 0;
            }
            match flow {
                Flow::Pass | Flow::Hold | Flow::LoseMessages { .. } | Flow::LateMessages { .. } => {}
                Flow::Delay(delay) => tokio::time::sleep(delay).await,
                Flow::Swallow | Flow::HalfClose => {
                    lost = true;
                    continue;
                }
                Flow::CutAfter(most) => bytes = bytes.get(..most.saturating_sub(passed)).unwrap_or(bytes),
                Flow::Cut => return Err(Broken),
            }
            let (onwards, touched) = frames.pass(flow, bytes);
            self.touched.fetch_add(touched, Ordering::Relaxed);
            if to.write_all(&onwards).await.is_err() {
                return Ok(());
            }
            passed += bytes.len();
            if matches!(flow, Flow::CutAfter(most) if passed >= most) {
                let _ = to.flush().await;
                return Err(Broken);
            }
        }
    }
}

/// Finds the begin of a subscription in what a client sends, wherever that is cut into pieces.
#[derive(Default)]
struct Begun {
    tail: Vec<u8>,
    found: bool,
}

impl Begun {
    /// True for the piece that completes it, once.
    fn look(&mut self, bytes: &[u8]) -> bool {
        if self.found {
            return false;
        }
        self.tail.extend(bytes.iter().map(u8::to_ascii_uppercase));
        self.found = SUBSCRIBE.iter().any(|begin| self.tail.windows(begin.len()).any(|window| window == *begin));
        let kept = self.tail.len().saturating_sub(LONGEST - 1);
        self.tail.drain(..kept);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_found_in_pieces_and_told_once() {
        let mut begun = Begun::default();
        assert!(!begun.look(b"*1\r\n$4\r\nPING\r\n*2\r\n$9\r\nsubs"));
        assert!(begun.look(b"cribe\r\n$1\r\nc\r\n"));
        assert!(!begun.look(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nd\r\n"));
    }

    #[test]
    fn a_key_of_that_name_is_no_subscription() {
        assert!(!Begun::default().look(b"*2\r\n$3\r\nGET\r\n$10\r\nSUBSCRIBED\r\n"));
    }
}
