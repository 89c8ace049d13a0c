//! Processes that end with their owner: by the handle's drop, and by the kernel when the whole test process dies.
//! What runs in them is the caller's.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

/// A process of its own that is killed and waited for when this is dropped.
#[derive(Debug)]
pub struct Owned {
    child: Child,
}

impl Owned {
    /// Starts `program`, which hears nothing and says nothing.
    ///
    /// # Errors
    /// What the system says against it.
    pub fn spawn(program: &Path, arguments: Vec<String>, directory: &Path) -> io::Result<Self> {
        Self::spawn_in(Vec::new(), program, arguments, directory)
    }

    /// The same, with these variables set.
    pub(crate) fn spawn_in(
        environment: Vec<(&'static str, OsString)>,
        program: &Path,
        arguments: Vec<String>,
        directory: &Path,
    ) -> io::Result<Self> {
        let mut command = leashed(program);
        command.args(arguments).current_dir(directory).envs(environment);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        spawn_from_nursery(command).map(|child| Self { child })
    }

    /// Returns the process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says how the process ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Ends the process at once. One that is stopped ends too.
    pub fn kill(&mut self) {
        // An error means that it has ended already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Freezes the process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn stop(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&mut self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends a signal to the process. The pid is still ours: it is given back to the kernel only by `wait`.
    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if let Some(how) = self.ended() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("it has ended: {how}")));
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the pid is out of range"))?;
        kill_process(pid, signal)?;
        Ok(())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The command for `program`, tied to the thread that spawns it where the system can.
fn leashed(program: &Path) -> Command {
    static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        // Not every setpriv can do it: the one of busybox cannot.
        let able = |setpriv: &PathBuf| {
            let help = Command::new(setpriv).arg("--help").stdin(Stdio::null()).output();
            help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--pdeathsig"))
        };
        let found = in_path("setpriv").filter(able);
        if found.is_none() {
            eprintln!("no setpriv that knows --pdeathsig: servers end by their handles, and outlive a test process that is killed");
        }
        found
    });
    let Some(setpriv) = SETPRIV.as_deref() else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The kernel sends the death signal when the *thread* that spawned the process ends, and a test's thread ends with the test. So
/// one thread that lives as long as the process spawns them all.
fn spawn_from_nursery(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static NURSERY: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, received) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                // The caller waits for the answer, so there is somebody to take it.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let gone = || io::Error::other("the thread that spawns processes is gone");
    let (answer, answered) = channel();
    NURSERY.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

/// Returns the program of this name in `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
