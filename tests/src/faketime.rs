//! A clock that can be stepped for one process: libfaketime is loaded before what asks the system for the time. Whose process it is, and
//! where the library comes from, is the caller's.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// What a process is started with so that its calendar follows the file `told`, and its monotonic clock the machine's.
pub(crate) fn environment(library: &Path, told: &Path) -> Vec<(&'static str, OsString)> {
    let mut preload = library.as_os_str().to_owned();
    // libfaketime allocates when it is first asked for the time, and jemalloc asks for the time when it first allocates: they would wait for
    // each other. The C library's allocator comes before jemalloc.
    preload.push(":libc.so.6");
    vec![
        ("LD_PRELOAD", preload),
        ("FAKETIME_TIMESTAMP_FILE", told.into()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        // As older releases of it call the same.
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ]
}

/// Tells by how much the calendar differs from the machine's. The file is replaced in one step: a process that reads half of it ends.
pub(crate) fn tell(told: &Path, millis: i64) -> io::Result<()> {
    let next = told.with_extension("next");
    std::fs::write(&next, offset(millis))?;
    std::fs::rename(&next, told)
}

/// In seconds, as libfaketime reads it.
fn offset(millis: i64) -> String {
    let (sign, by) = (if millis < 0 { '-' } else { '+' }, millis.unsigned_abs());
    format!("{sign}{}.{:03}\n", by / 1_000, by % 1_000)
}

/// Removes what libfaketime leaves in the machine's shared memory when its process is killed: the next process with that id would not start.
pub(crate) fn sweep(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // An error means that there is none.
        let _ = std::fs::remove_file(PathBuf::from("/dev/shm").join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_told_in_seconds_with_its_sign() {
        assert_eq!(offset(0), "+0.000\n");
        assert_eq!(offset(3_600_050), "+3600.050\n");
        assert_eq!(offset(-1_250), "-1.250\n");
        assert_eq!(offset(-7), "-0.007\n");
    }
}
