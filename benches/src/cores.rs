//! One core for client and server: then a call costs what both of them do, and no time is lost or won by two cores' wake-ups.

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// This thread and a server on one core, until it is dropped.
#[derive(Debug)]
pub struct Pinned {
    #[cfg(target_os = "linux")]
    before: CpuSet,
    core: usize,
}

impl Pinned {
    /// Puts the calling thread and the main thread of the process `server` on the first core that this thread may use.
    ///
    /// # Errors
    ///
    /// Why that is not possible here.
    #[cfg(target_os = "linux")]
    pub fn with(server: u32) -> Result<Self, String> {
        let before = sched_getaffinity(None).map_err(|error| error.to_string())?;
        let core = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)).ok_or("this thread may use no core")?;
        let mut one = CpuSet::new();
        one.set(core);
        let server = i32::try_from(server).ok().and_then(Pid::from_raw).ok_or("the server's id is out of range")?;
        sched_setaffinity(Some(server), &one).map_err(|error| error.to_string())?;
        sched_setaffinity(None, &one).map_err(|error| error.to_string())?;
        Ok(Self { before, core })
    }

    /// Says that it is not possible.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn with(_: u32) -> Result<Self, String> {
        Err("only Linux is supported".to_owned())
    }

    /// Which core it is.
    #[must_use]
    pub fn core(&self) -> usize {
        self.core
    }
}

#[cfg(target_os = "linux")]
impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before is allowed again; were it not, what follows would only be slower.
        let _ = sched_setaffinity(None, &self.before);
    }
}
