//! Passes on what a program prints as it comes, and keeps the end of it: where only the end of a long log is kept, what failed is told there.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many lines are kept, and of each so many bytes.
const LINES: usize = 60;
const WIDTH: usize = 300;

/// How long a program that has ended may leave somebody behind who could still print.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// Runs the command; returns how it ended, and the last lines of what it printed.
pub(crate) fn status(command: &mut Command) -> std::io::Result<(ExitStatus, String)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let kept = Arc::<Mutex<VecDeque<String>>>::default();
    let (done, ended) = channel();
    if let Some(from) = child.stdout.take() {
        pass_on(from, std::io::stdout(), &kept, &done);
    }
    if let Some(from) = child.stderr.take() {
        pass_on(from, std::io::stderr(), &kept, &done);
    }
    drop(done);
    let status = child.wait()?;
    // Both ends are closed by now, unless a program that it began lives on and holds them: that is not waited for.
    while ended.recv_timeout(LEFT_BEHIND).is_ok() {}
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((status, kept.iter().map(String::as_str).collect::<Vec<_>>().join("\n")))
}

fn pass_on(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    kept: &Arc<Mutex<VecDeque<String>>>,
    done: &Sender<()>,
) {
    let (kept, done) = (Arc::clone(kept), done.clone());
    std::thread::spawn(move || {
        let (mut from, mut line) = (BufReader::new(from), Vec::new());
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            // Nobody may be reading there any more: the program goes on.
            let _ = to.write_all(&line).and_then(|()| to.flush());
            let text = String::from_utf8_lossy(&line);
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(text.trim_end().chars().take(WIDTH).collect());
            if kept.len() > LINES {
                kept.pop_front();
            }
            line.clear();
        }
        // Nobody waits for it where the program was given up.
        let _ = done.send(());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (bool, String) {
        let (status, kept) = status(Command::new("sh").args(["-c", script]).stdin(Stdio::null())).unwrap();
        (status.success(), kept)
    }

    #[test]
    fn the_end_of_what_is_printed_is_kept() {
        let (well, kept) = shell("for i in $(seq 100); do echo $i; done; exit 3");
        assert!(!well);
        assert_eq!((kept.lines().count(), kept.lines().next(), kept.lines().last()), (LINES, Some("41"), Some("100")));
        let (well, kept) = shell("echo out; sleep 0.1; printf 'no end' >&2");
        assert!(well);
        assert_eq!(kept, "out\nno end");
    }

    #[test]
    fn who_is_left_behind_is_not_waited_for() {
        let (well, kept) = shell("echo begun; sleep 20 & exit 0");
        assert!(well);
        assert_eq!(kept, "begun");
    }
}
