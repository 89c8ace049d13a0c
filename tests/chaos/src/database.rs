//! The database of a run: a version for each key, which only grows, kept by the process that leads the run; and the point of the lane that
//! the instances were told last. They reach it over a unix socket, on which they are also told what comes next.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::clock::Nanos;
use crate::event::{Commit, Event, Points, Record};
use crate::layout::{KEYS, Key};

/// How many keys one commit may write.
const MOST_KEYS: usize = 64;

/// What the first byte of a connection says, and of each request on it.
mod word {
    pub(super) const DATA: u8 = b'd';
    pub(super) const ORDERS: u8 = b'o';
    pub(super) const READ: u8 = b'r';
    pub(super) const COMMIT: u8 = b'c';
    pub(super) const TELL: u8 = b't';
    pub(super) const TOLD: u8 = b'l';
}

/// The versions. Every key has one before the first commit: zero.
#[derive(Debug)]
pub struct Database {
    versions: Mutex<Vec<u64>>,
    /// What was told last.
    told: Mutex<Vec<u8>>,
    record: Arc<Record>,
}

impl Database {
    /// Returns a new one that records its commits.
    #[must_use]
    pub fn new(record: Arc<Record>) -> Arc<Self> {
        Arc::new(Self { versions: Mutex::new(vec![0; KEYS as usize]), told: Mutex::default(), record })
    }

    fn read(&self, key: Key) -> u64 {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.get(key.0 as usize).copied().unwrap_or_default()
    }

    fn commit(&self, key: Key) -> u64 {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(version) = versions.get_mut(key.0 as usize) else { return 0 };
        *version += 1;
        // Within the lock: who reads the version afterwards reads it after this time.
        let commit = Commit { key, version: *version, at: Nanos::now() };
        self.record.add(&Event::Commit(commit));
        commit.version
    }

    /// Serves whoever connects. The connections for orders are handed to `processes`.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, processes: mpsc::Sender<UnixStream>) {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let (database, processes) = (Arc::clone(&self), processes.clone());
            tokio::spawn(async move {
                match stream.read_u8().await {
                    Ok(word::DATA) => drop(database.answer(stream).await),
                    Ok(word::ORDERS) => drop(processes.send(stream).await),
                    _ => {}
                }
            });
        }
    }

    async fn answer(&self, mut stream: UnixStream) -> std::io::Result<()> {
        loop {
            match stream.read_u8().await? {
                word::READ => {
                    let key = Key(stream.read_u32().await?);
                    stream.write_u64(self.read(key)).await?;
                }
                word::COMMIT => {
                    let mut keys = Vec::new();
                    for _ in 0..usize::from(stream.read_u8().await?).min(MOST_KEYS) {
                        keys.push(Key(stream.read_u32().await?));
                    }
                    let versions = keys.iter().flat_map(|key| self.commit(*key).to_be_bytes());
                    stream.write_all(&versions.collect::<Vec<u8>>()).await?;
                }
                word::TELL => {
                    let mut text = vec![0; usize::from(stream.read_u8().await?)];
                    stream.read_exact(&mut text).await?;
                    *self.told.lock().unwrap_or_else(PoisonError::into_inner) = text;
                }
                word::TOLD => {
                    let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    stream.write_u8(u8::try_from(told.len()).unwrap_or_default()).await?;
                    stream.write_all(&told).await?;
                }
                _ => return Ok(()),
            }
        }
    }
}

/// A process's way to the database: a few connections, each used by one at a time.
#[derive(Debug)]
pub struct Connection {
    socket: std::path::PathBuf,
    idle: Mutex<Vec<UnixStream>>,
}

impl Connection {
    /// Returns a way that connects when it is used.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), idle: Mutex::default() }
    }

    /// Connects to be told what comes next.
    ///
    /// # Errors
    /// What the system says against it.
    pub async fn orders(&self) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_u8(word::ORDERS).await?;
        Ok(stream)
    }

    /// Reads the version of a key.
    ///
    /// # Errors
    /// When the process that leads the run is gone.
    pub async fn read(&self, key: Key) -> std::io::Result<u64> {
        let mut request = vec![word::READ];
        request.extend(key.0.to_be_bytes());
        Ok(self.numbers(&request, 1).await?.first().copied().unwrap_or_default())
    }

    /// Commits the next version of each of these keys and returns them. A call that is dropped may have been carried out.
    ///
    /// # Errors
    /// When the process that leads the run is gone.
    pub async fn commit(&self, keys: &[Key]) -> std::io::Result<Vec<u64>> {
        let keys = keys.get(..MOST_KEYS).unwrap_or(keys);
        let mut request = vec![word::COMMIT, u8::try_from(keys.len()).unwrap_or_default()];
        request.extend(keys.iter().flat_map(|key| key.0.to_be_bytes()));
        self.numbers(&request, keys.len()).await
    }

    /// Tells the other instances where something stands.
    ///
    /// # Errors
    /// When the process that leads the run is gone.
    pub async fn tell(&self, points: &Points) -> std::io::Result<()> {
        let text = points.to_string();
        let mut request = vec![word::TELL, u8::try_from(text.len()).map_err(std::io::Error::other)?];
        request.extend(text.as_bytes());
        self.ask(&request, async |_| Ok(())).await
    }

    /// Returns what was told last, if anything was.
    ///
    /// # Errors
    /// When the process that leads the run is gone.
    pub async fn told(&self) -> std::io::Result<Option<Points>> {
        let text = self
            .ask(&[word::TOLD], async |stream| {
                let mut text = vec![0; usize::from(stream.read_u8().await?)];
                stream.read_exact(&mut text).await.map(|_| text)
            })
            .await?;
        Ok(Some(Points::read(&String::from_utf8_lossy(&text))).filter(|points| !points.0.is_empty()))
    }

    async fn numbers(&self, request: &[u8], numbers: usize) -> std::io::Result<Vec<u64>> {
        self.ask(request, async |stream| {
            let mut answer = Vec::with_capacity(numbers);
            for _ in 0..numbers {
                answer.push(stream.read_u64().await?);
            }
            Ok(answer)
        })
        .await
    }

    /// Cancel safety: a connection whose call is dropped is dropped with it, so no answer goes to another call.
    async fn ask<T>(&self, request: &[u8], read: impl AsyncFnOnce(&mut UnixStream) -> std::io::Result<T>) -> std::io::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = if let Some(stream) = idle {
            stream
        } else {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_u8(word::DATA).await?;
            stream
        };
        stream.write_all(request).await?;
        let answer = read(&mut stream).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(answer)
    }
}
