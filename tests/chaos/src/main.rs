//! Runs the chaos test and prints what it saw; ends with an error on a violation or an unmet minimum. The same program is an instance,
//! when a run starts it as one.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cachetier_chaos::check::{History, Summary, Sums, Verdict, check, story, unmet};
use cachetier_chaos::instance::{self, Orders};
use cachetier_chaos::limits::SECONDS;
use cachetier_chaos::plan::{Scenario, ServerClock};
use cachetier_chaos::run::{Asked, Spread, faketime, run};

const USAGE: &str = "expected --seconds N, --seed S or --seeds A..B, [--scenario NAME] [--one-process]";

/// How many seeds one call may run.
const MOST_SEEDS: u64 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == "instance" => match Orders::read(rest) {
            Some(orders) => instance::run(&orders),
            None => Err("an instance is started by a run".to_owned()),
        },
        _ => told(&arguments).and_then(|told| chaos(&told)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("chaos: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for: one run, or one for each of several seeds.
struct Told {
    seeds: Range<u64>,
    several: bool,
    length: Duration,
    scenario: Option<Scenario>,
    clock: ServerClock,
    spread: Spread,
}

fn told(arguments: &[String]) -> Result<Told, String> {
    let (mut seconds, mut seeds, mut several, mut scenario, mut spread) = (None, None, false, None, Spread::Processes);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--one-process" {
            spread = Spread::OneProcess;
            continue;
        }
        let value = rest.next().ok_or(USAGE)?;
        let number = |value: &str| value.parse::<u64>().map_err(|_| format!("expected a number behind {name}, found `{value}`"));
        match name.as_str() {
            "--seconds" => seconds = Some(number(value)?),
            "--seed" => seeds = Some(number(value)?..number(value)?.saturating_add(1)),
            "--seeds" => {
                let (first, end) = value.split_once("..").ok_or(USAGE)?;
                (seeds, several) = (Some(number(first)?..number(end)?), true);
            }
            "--scenario" => scenario = Some(named(value)?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let (seconds, seeds) = (seconds.ok_or(USAGE)?, seeds.ok_or(USAGE)?);
    if !SECONDS.contains(&seconds) {
        return Err(format!("expected {} to {} seconds, found {seconds}", SECONDS.start(), SECONDS.end()));
    }
    if seeds.is_empty() || seeds.end - seeds.start > MOST_SEEDS {
        return Err(format!("expected 1 to {MOST_SEEDS} seeds, found {}..{}", seeds.start, seeds.end));
    }
    let clock = if faketime()?.is_some() { ServerClock::Stepped } else { ServerClock::True };
    Ok(Told { seeds, several, length: Duration::from_secs(seconds), scenario, clock, spread })
}

impl Told {
    fn asked(&self, seed: u64) -> Asked {
        let scenario = self.scenario.unwrap_or_else(|| Scenario::drawn(seed));
        Asked { length: self.length, seed, scenario, clock: self.clock, spread: self.spread }
    }
}

fn named(name: &str) -> Result<Scenario, String> {
    let known = || Scenario::NAMED.map(|(known, _)| known).join(", ");
    Scenario::named(name).ok_or_else(|| format!("expected one of the scenarios {}, found `{name}`", known()))
}

/// The arguments of a run like this one.
fn again(asked: &Asked) -> String {
    let again = format!("--seconds {} --seed {} --scenario {}", asked.length.as_secs(), asked.seed, asked.scenario.name());
    if asked.spread == Spread::OneProcess { again + " --one-process" } else { again }
}

fn chaos(told: &Told) -> Result<(), String> {
    if told.several { several(told) } else { one(&told.asked(told.seeds.start)) }
}

fn one(asked: &Asked) -> Result<(), String> {
    let again = again(asked);
    println!("chaos {again}");
    let history = History::of(run(asked, &program()?)?);
    let verdict = check(&history);
    let summary = Summary::of(&history, &verdict, asked.scenario, asked.clock);
    println!("{summary}");
    tell_violations(&history, &verdict);
    let mut wrong = unmet(&summary, asked.length);
    if verdict.violated > 0 {
        wrong.insert(0, format!("{} violations", verdict.violated));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}; again: {again}", wrong.join("; "))) }
}

/// One run after the other, with a line for each and the sum of all.
fn several(told: &Told) -> Result<(), String> {
    let mut sums = Sums::default();
    for seed in told.seeds.clone() {
        let asked = told.asked(seed);
        let history = History::of(run(&asked, &program()?)?);
        let verdict = check(&history);
        let summary = Summary::of(&history, &verdict, asked.scenario, asked.clock);
        println!("{}", sums.add(seed, asked.length, &summary));
        if verdict.violated > 0 {
            println!("{summary}");
            tell_violations(&history, &verdict);
            println!("again: {}", again(&asked));
        }
    }
    println!("{sums}");
    let wrong = sums.unmet();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn tell_violations(history: &History, verdict: &Verdict) {
    for violation in &verdict.violations {
        println!("\nVIOLATION {}\n  {}", violation.rule, violation.text);
        for line in story(history, violation) {
            println!("  {line}");
        }
    }
}

fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("no name of this program: {error}"))
}
