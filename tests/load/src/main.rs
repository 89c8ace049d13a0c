//! Runs that measure under load, and judge what they find. `cargo xtask chaos --scenario outage` and others of its kind run it; `docs/chaos.md` says how
//! they are read.
#![forbid(unsafe_code)]

mod due;
mod figures;
mod hot;
mod misses;
mod outage;
mod restart;
mod service;
mod soak;
mod stampede;

use std::process::ExitCode;

const USAGE: &str = "expected outage [--seconds N], soak [--seconds N], misses, stampede, hot [--seconds N], due [--seconds N] or restart [--seconds N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string());
    match words {
        ["outage", rest @ ..] => runtime()?.block_on(outage::run(seconds(rest, 10, 5)?)),
        ["soak", rest @ ..] => runtime()?.block_on(soak::run(seconds(rest, 600, 20)?)),
        ["misses"] => runtime()?.block_on(misses::run()),
        ["hot", rest @ ..] => runtime()?.block_on(hot::run(seconds(rest, 60, 4)?)),
        ["due", rest @ ..] => runtime()?.block_on(due::run(seconds(rest, 60, 10)?)),
        ["restart", rest @ ..] => runtime()?.block_on(restart::run(seconds(rest, 60, 8)?)),
        ["stampede"] => runtime()?.block_on(stampede::run()),
        ["member", url, socket] => runtime()?.block_on(stampede::member(url, socket)),
        ["holder", url] => runtime()?.block_on(misses::hold(url)),
        _ => Err(USAGE.to_owned()),
    }
}

/// What stands behind `--seconds`.
fn seconds(rest: &[&str], usual: u64, least: u64) -> Result<u64, String> {
    let given = match rest {
        [] => usual,
        ["--seconds", given] => given.parse().map_err(|_| format!("expected a number behind --seconds, found `{given}`"))?,
        _ => return Err(USAGE.to_owned()),
    };
    if (least..=3_600).contains(&given) { Ok(given) } else { Err(format!("expected {least} to 3600 seconds, found {given}")) }
}
