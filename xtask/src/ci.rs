//! Every check a change must pass, in one list. All are run, each is timed, and a table says how each went.

use std::process::Command;

use crate::run::{Outcome, Stopwatch, cargo, run};
use crate::test::WHOLE;
use crate::{api, chaos, deny, imports, msrv, package, python, test};

/// How a step went.
enum Went {
    Well,
    /// It could not be checked here, for this reason.
    Skipped(String),
    Wrong(String),
}

impl From<Outcome> for Went {
    fn from(outcome: Outcome) -> Self {
        outcome.map_or_else(Self::Wrong, |()| Self::Well)
    }
}

impl From<Outcome<Option<String>>> for Went {
    fn from(outcome: Outcome<Option<String>>) -> Self {
        outcome.map_or_else(Self::Wrong, |skipped| skipped.map_or(Self::Well, Self::Skipped))
    }
}

type Step = (&'static str, fn() -> Went);

/// What is quick and often wrong comes first. No step changes the compiler's flags: that would build everything again.
const STEPS: &[Step] = &[
    ("format", || step(cargo().args(["fmt", "--all", "--check"]))),
    ("imports", || imports::imports().into()),
    ("api", || api::check().into()),
    ("rust-version", || msrv::declared().into()),
    ("clippy", || {
        let lints = ["--", "-D", "warnings", "-D", "clippy::incompatible_msrv"];
        step(cargo().arg("clippy").args(WHOLE).arg("--all-targets").args(lints))
    }),
    ("docs", || step(cargo().args(["doc", "--no-deps"]).args(WHOLE).env("RUSTDOCFLAGS", "-D warnings"))),
    ("tests", || test::test(&[]).into()),
    ("python", || python::tests().into()),
    ("default-features", || test::default_features().into()),
    ("older-redis", || test::older_redis().into()),
    ("chaos", || chaos::short().into()),
    ("load", || chaos::short_load().into()),
    ("features", || package::features().into()),
    ("benches", || test::benches().into()),
    ("package", || package::package().into()),
    ("oldest-compiler", || msrv::compiles().into()),
    ("dependencies", || deny::rules().into()),
    ("advisories", || deny::advisories().into()),
];

/// Runs every step, or those that are named, also after one that fails.
pub(crate) fn ci(named: &[&str]) -> Outcome {
    if let Some(unknown) = named.iter().find(|named| STEPS.iter().all(|(name, _)| name != *named)) {
        let known: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        return Err(format!("expected one of the steps {}, found `{unknown}`", known.join(", ")));
    }
    eprintln!("compiler: {}", msrv::compiler());
    let (mut table, mut failed) = (Vec::new(), Vec::new());
    let whole = Stopwatch::start();
    for (name, step) in STEPS.iter().filter(|(name, _)| named.is_empty() || named.contains(name)) {
        eprintln!("\n== {name}");
        let watch = Stopwatch::start();
        let went = step();
        let seconds = watch.elapsed().as_secs_f64();
        let verdict = match went {
            Went::Well => "ok".to_owned(),
            Went::Skipped(why) => format!("skipped: {}", first_line(&why)),
            Went::Wrong(why) => {
                let verdict = format!("FAILED: {}", first_line(&why));
                failed.push((*name, why));
                verdict
            }
        };
        eprintln!("== {name}: {seconds:.1} s, {verdict}");
        table.push(format!("{seconds:>8.1} s  {name:<16} {verdict}"));
    }
    println!("\n{}\n{:>8.1} s  in all", table.join("\n"), whole.elapsed().as_secs_f64());
    // Once more, for who sees the end of the log alone.
    for (name, why) in &failed {
        println!("\n== {name}: {why}");
    }
    let steps: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    if steps.is_empty() { Ok(()) } else { Err(format!("failed: {}", steps.join(", "))) }
}

fn step(command: &mut Command) -> Went {
    run(command).into()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
