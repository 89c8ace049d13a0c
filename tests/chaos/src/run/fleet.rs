//! The processes of a run: started, told what comes next, killed and replaced. Which faults are made is not decided here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cachetier_tests::Owned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Asked, Folder};
use crate::clock::Nanos;
use crate::database::Database;
use crate::event::{Ending, Event, Record};
use crate::instance::Orders;
use crate::limits::GIVEN_UP;

/// A process is up within a second; a busy machine takes longer.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// What is waited for an answer to an order: the longest call, and the confirmation of what is pending.
const ANSWER_WITHIN: Duration = Duration::from_secs(GIVEN_UP.as_secs() + 30);

/// The processes, and the way to tell them what comes next.
pub(super) struct Fleet {
    pub(super) processes: Vec<Owned>,
    /// What each was started with.
    orders: Vec<Orders>,
    /// Each by the number of its first instance.
    told: Vec<(u16, UnixStream)>,
    /// Of those that were killed.
    cut_off: Vec<PathBuf>,
    connections: mpsc::Receiver<UnixStream>,
    program: PathBuf,
    folder: PathBuf,
}

impl Fleet {
    pub(super) fn start(
        asked: &Asked,
        program: &Path,
        folder: &Folder,
        runtime: &Runtime,
        urls: &[String],
        record: &Arc<Record>,
    ) -> Result<Self, String> {
        let socket = folder.0.join("leader.sock");
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).map_err(|error| format!("no socket: {error}"))?
        };
        let (connected, connections) = mpsc::channel(usize::from(asked.spread.instances()));
        runtime.spawn(Database::new(Arc::clone(record)).serve(listener, connected));

        let begun = Nanos::now();
        let mut fleet = Self {
            processes: Vec::new(),
            orders: Vec::new(),
            told: Vec::new(),
            cut_off: Vec::new(),
            connections,
            program: program.to_owned(),
            folder: folder.0.clone(),
        };
        for (first, urls) in (0..).step_by(usize::from(asked.spread.each())).zip(urls.chunks(usize::from(asked.spread.each()))) {
            let orders = Orders {
                socket: socket.clone(),
                history: folder.0.join(format!("instance-{first}")),
                seed: asked.seed,
                first,
                of: asked.spread.instances(),
                trust: asked.scenario.trusts(),
                begun,
                urls: urls.to_vec(),
            };
            let process = fleet.spawn(&orders)?;
            fleet.processes.push(process);
            fleet.orders.push(orders);
        }
        for _ in 0..fleet.processes.len() {
            fleet.connect(runtime)?;
        }
        Ok(fleet)
    }

    fn spawn(&self, orders: &Orders) -> Result<Owned, String> {
        let arguments = std::iter::once("instance".to_owned()).chain(orders.arguments()).collect();
        Owned::spawn(&self.program, arguments, &self.folder).map_err(|error| format!("no instance: {error}"))
    }

    /// Waits until one of those that were spawned is up.
    fn connect(&mut self, runtime: &Runtime) -> Result<(), String> {
        let connecting = async {
            let mut stream = self.connections.recv().await?;
            let first = stream.read_u16().await.ok()?;
            Some((first, stream))
        };
        let up = runtime.block_on(async { timeout(UP_WITHIN, connecting).await });
        let connected = up.ok().flatten().ok_or("an instance does not come up")?;
        self.told.push(connected);
        Ok(())
    }

    /// Kills a process, and says so of each of its instances: nothing of it is done later than that.
    pub(super) fn kill(&mut self, number: usize, record: &Record) -> Result<(), String> {
        let (Some(process), Some(orders)) = (self.processes.get_mut(number), self.orders.get(number)) else {
            return Err("no such process".to_owned());
        };
        process.kill();
        let (at, first) = (Nanos::now(), orders.first);
        self.told.retain(|(whose, _)| *whose != first);
        for (instance, _) in (first..).zip(&orders.urls) {
            record.add(&Event::Killed { instance, at });
        }
        Ok(())
    }

    /// Starts another process in the place of one that was killed, and returns how many have followed on one another by now.
    pub(super) fn succeed(&mut self, number: usize, runtime: &Runtime) -> Result<usize, String> {
        let orders = self.orders.get_mut(number).ok_or("no such process")?;
        self.cut_off.push(orders.history.clone());
        let followed = self.cut_off.len();
        orders.history.set_extension(followed.to_string());
        // It draws otherwise than the one before it.
        orders.seed = orders.seed.rotate_left(1) ^ 1;
        let orders = orders.clone();
        let process = self.spawn(&orders)?;
        *self.processes.get_mut(number).ok_or("no such process")? = process;
        self.connect(runtime)?;
        Ok(followed)
    }

    /// Where everything is written, and how it ends.
    pub(super) fn histories(&self) -> Vec<(PathBuf, Ending)> {
        let whole = self.orders.iter().map(|orders| (orders.history.clone(), Ending::Whole));
        whole.chain(self.cut_off.iter().map(|history| (history.clone(), Ending::CutOff))).collect()
    }

    /// Tells every process, and waits until each has done it.
    pub(super) async fn order(&mut self, word: u8, record: &Record) {
        for (_, stream) in &mut self.told {
            // One that is gone is found at its answer.
            let _ = stream.write_u8(word).await;
        }
        for (first, stream) in &mut self.told {
            let text = match timeout(ANSWER_WITHIN, stream.read_u8()).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => format!("the process has ended: {error}"),
                Err(_) => "the process hangs".to_owned(),
            };
            record.add(&Event::Complaint { instance: *first, text });
        }
    }
}
