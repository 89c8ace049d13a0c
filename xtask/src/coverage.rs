//! Line coverage of the crate by the tests of the workspace. The compiler counts; LLVM's tools read the counts; lines that are
//! compiled only for tests are left out, as they cover themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::run::{Outcome, cargo, output, run, works};
use crate::workspace::Workspace;
use crate::{debs, redis, source, tools};

/// The least share of lines that the tests must run, in percent.
const LEAST: u64 = 85;

/// Packages whose tests say nothing about the crate's lines.
const LEFT_OUT: [&str; 2] = ["xtask", "cachetier-models"];

/// Lines by number, and how often each ran.
type Lines = BTreeMap<usize, u64>;

/// Runs the tests with counters and prints the share of lines that ran, by file and in all.
pub(crate) fn coverage() -> Outcome {
    let workspace = Workspace::load()?;
    let llvm = Llvm::find()?;
    let server = redis::server()?;
    let folder = workspace.target()?.join("coverage");
    let counts = folder.join("counts");
    // Counts of an earlier build would be read with this build's map.
    let _ = std::fs::remove_dir_all(&counts);
    std::fs::create_dir_all(&counts).map_err(|error| format!("no folder {}: {error}", counts.display()))?;

    let command = |more: &[&str]| {
        let mut command = cargo();
        command.args(["test", "--workspace", "--all-features", "--tests"]).args(more);
        for left_out in LEFT_OUT.iter().filter(|name| workspace.member(name).is_ok()) {
            command.args(["--exclude", left_out]);
        }
        command.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", "-C instrument-coverage").env(redis::VARIABLE, &server);
        command.env("LLVM_PROFILE_FILE", counts.join("%p-%m.profraw"));
        // Counting slows the histories down most of all, and a few of them reach every line that many do.
        command.env("CACHETIER_HISTORIES", "200");
        command
    };
    run(&mut command(&[]))?;
    let messages = output(&mut command(&["--no-run", "--message-format=json"]))?;
    let programs = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs: Vec<PathBuf> = programs.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?))).collect();

    let crate_src = workspace.member("cachetier")?.folder()?.join("src");
    let counted = lines(&llvm.lcov(&counts, &programs, &folder)?);
    report(&crate_src, &counted)
}

fn report(src: &Path, counted: &BTreeMap<PathBuf, Lines>) -> Outcome {
    let (mut ran, mut all) = (0, 0);
    for file in source::read(src)? {
        let Some(lines) = counted.get(&src.join(&file.path)) else { continue };
        let tests = file.test_lines();
        let lines: Vec<u64> =
            lines.iter().filter(|(line, _)| !tests.iter().any(|test| test.contains(line))).map(|(_, count)| *count).collect();
        let (file_ran, file_all) = (lines.iter().filter(|count| **count > 0).count(), lines.len());
        if file_all > 0 {
            println!("{:>5} of {file_all:>5}  {:>5} %  {}", file_ran, share(file_ran, file_all), file.path);
        }
        ran += file_ran;
        all += file_all;
    }
    println!("{ran:>5} of {all:>5}  {:>5} %  in all", share(ran, all));
    if all == 0 {
        Err("expected lines with counts, found none".to_owned())
    } else if (ran as u64) * 100 < LEAST * (all as u64) {
        Err(format!("the tests run {} % of the lines, expected {LEAST} % or more", share(ran, all)))
    } else {
        Ok(())
    }
}

/// A share in percent with one digit behind the point, rounded down.
fn share(part: usize, whole: usize) -> String {
    let tenths = (part * 1000).checked_div(whole).unwrap_or_default();
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Reads the files and their lines from the lcov format.
fn lines(lcov: &str) -> BTreeMap<PathBuf, Lines> {
    let (mut files, mut file): (BTreeMap<PathBuf, Lines>, _) = (BTreeMap::new(), PathBuf::new());
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            file = PathBuf::from(path);
        } else if let Some((line, count)) = line.strip_prefix("DA:").and_then(|data| data.split_once(','))
            && let (Ok(line), Ok(count)) = (line.parse(), count.parse::<u64>())
        {
            let ran = files.entry(file.clone()).or_default().entry(line).or_default();
            *ran = ran.saturating_add(count);
        }
    }
    files
}

/// LLVM's tools, of the compiler's own LLVM version: the counts' format changes between them.
struct Llvm {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Llvm {
    /// Finds the toolchain's, else the system's, else fetches them.
    fn find() -> Outcome<Self> {
        let version = tools::rustc_field("LLVM version")?;
        let major = version.split('.').next().unwrap_or_default();
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let toolchain = Path::new(sysroot.trim()).join("lib/rustlib").join(tools::rustc_field("host")?).join("bin");
        let fetched = Workspace::load()?.target()?.join(format!("llvm-{major}"));
        let found = [
            Some(Self { profdata: toolchain.join("llvm-profdata"), cov: toolchain.join("llvm-cov") }),
            Self::in_path(&format!("-{major}")),
            Self::in_path("").filter(|llvm| llvm.is_of(major)),
            Some(Self { profdata: fetched.join("llvm-profdata"), cov: fetched.join("llvm-cov") }),
        ];
        match found.into_iter().flatten().find(Self::works) {
            Some(llvm) => Ok(llvm),
            None => Self::fetch(major, &fetched),
        }
    }

    fn in_path(suffix: &str) -> Option<Self> {
        let tool = |name: &str| tools::in_path(Path::new(&format!("{name}{suffix}")));
        Some(Self { profdata: tool("llvm-profdata")?, cov: tool("llvm-cov")? })
    }

    fn works(&self) -> bool {
        works(&self.profdata, "--version") && works(&self.cov, "--version")
    }

    fn is_of(&self, major: &str) -> bool {
        output(Command::new(&self.cov).arg("--version")).is_ok_and(|text| text.contains(&format!("LLVM version {major}.")))
    }

    fn fetch(major: &str, folder: &Path) -> Outcome<Self> {
        let help = format!("install llvm-tools (`rustup component add llvm-tools`) or LLVM {major}");
        if !debs::available() {
            return Err(format!("no llvm-cov for this compiler: {help}"));
        }
        eprintln!("no llvm-cov for this compiler: fetching LLVM {major} into {}", folder.display());
        let fetched = debs::fetch(&[&format!("llvm-{major}")], folder).and_then(|()| {
            let tool = |name: &str| debs::script(folder, name, &format!("usr/lib/llvm-{major}/bin/{name}"));
            Ok(Self { profdata: tool("llvm-profdata")?, cov: tool("llvm-cov")? })
        });
        let llvm = fetched.map_err(|why| format!("LLVM {major} could not be fetched: {help}\n{why}"))?;
        if llvm.works() { Ok(llvm) } else { Err(format!("the fetched LLVM {major} does not run: {help}")) }
    }

    fn lcov(&self, counts: &Path, programs: &[PathBuf], folder: &Path) -> Outcome<String> {
        let merged = folder.join("merged.profdata");
        // A process that is killed by a test may leave counts half written: those are left out.
        run(Command::new(&self.profdata).args(["merge", "--sparse", "--failure-mode=all", "-o"]).arg(&merged).arg(counts))?;
        let mut export = Command::new(&self.cov);
        export.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged);
        for program in programs {
            export.arg("--object").arg(program);
        }
        output(&mut export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_file_and_line() {
        let lcov = "SF:/a.rs\nFN:1,f\nDA:1,2\nDA:2,0\nend_of_record\nSF:/b.rs\nDA:1,0\nend_of_record\n";
        let expected = BTreeMap::from([
            (PathBuf::from("/a.rs"), Lines::from([(1, 2), (2, 0)])),
            (PathBuf::from("/b.rs"), Lines::from([(1, 0)])),
        ]);
        assert_eq!(lines(lcov), expected);
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!(share(1999, 2000), "99.9");
        assert_eq!(share(0, 0), "0.0");
        assert_eq!(share(3, 3), "100.0");
    }
}
