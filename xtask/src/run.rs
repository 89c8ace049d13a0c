//! Runs programs: shown, timed, bounded. What is run, and what its failure means, is the caller's.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tee;

/// What a step comes to: nothing, or what is wrong, in its first line.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Prints the command, runs it, and fails unless it succeeds. Where nobody looks on, its failure holds the end of what it printed.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = shown(command);
    eprintln!("$ {shown}");
    command.stdin(Stdio::null());
    let ended =
        if std::io::stderr().is_terminal() { command.status().map(|status| (status, String::new())) } else { tee::status(command) };
    match ended {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, said)) => Err(format!("`{shown}` failed: {status}\n{said}").trim_end().to_owned()),
        Err(error) => Err(format!("`{shown}` does not start: {error}")),
    }
}

/// Runs the command silently and returns what it printed; its failure holds what it complained of.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("`{shown}` does not start: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{shown}` failed: {}\n{}", output.status, complaint.trim()))
    }
}

/// Runs the command, ends it at the limit, and fails unless it succeeded by then.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Outcome {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("`{shown}` does not start: {error}"))?;
    let mut child = Owned(child);
    let watch = Stopwatch::start();
    loop {
        match child.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("`{shown}` failed: {status}")),
            Ok(None) if watch.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => return Err(format!("`{shown}` did not end within {} s", limit.as_secs())),
            Err(error) => return Err(format!("`{shown}` cannot be waited for: {error}")),
        }
    }
}

/// Ends the process when dropped.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program of this name runs at all.
pub(crate) fn works(program: impl AsRef<Path>, argument: &str) -> bool {
    output(Command::new(program.as_ref()).arg(argument)).is_ok()
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, argument| line + " " + &argument.to_string_lossy())
}

/// Measures how long a step takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "steps take the machine's time; no cache is involved")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended_at_the_limit() {
        let why = run_within(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert_eq!(why, "`sleep 60` did not end within 0 s");
    }

    #[test]
    fn a_program_that_fails_is_an_error_that_names_it() {
        assert!(run(&mut Command::new("false")).unwrap_err().starts_with("`false` failed"));
        assert!(run_within(&mut Command::new("false"), Duration::from_secs(10)).unwrap_err().starts_with("`false` failed"));
        assert!(output(&mut Command::new("false")).unwrap_err().starts_with("`false` failed"));
    }

    #[test]
    fn a_program_that_succeeds_is_no_error() {
        assert_eq!(run(&mut Command::new("true")), Ok(()));
        assert_eq!(run_within(&mut Command::new("true"), Duration::from_secs(10)), Ok(()));
        assert_eq!(output(Command::new("echo").arg("a b")), Ok("a b\n".to_owned()));
    }
}
