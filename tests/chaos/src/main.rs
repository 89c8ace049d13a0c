//! Runs the chaos test and prints what it saw; ends with an error on a violation or an unmet minimum. The same program is an instance,
//! when a run starts it as one.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use cachetier_chaos::check::{History, Summary, check, story, unmet};
use cachetier_chaos::instance::{self, Orders};
use cachetier_chaos::limits::SECONDS;
use cachetier_chaos::plan::Scenario;
use cachetier_chaos::run::{Asked, Spread, run};

const USAGE: &str = "expected --seconds N --seed S [--scenario NAME] [--one-process]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == "instance" => match Orders::read(rest) {
            Some(orders) => instance::run(&orders),
            None => Err("an instance is started by a run".to_owned()),
        },
        _ => asked(&arguments).and_then(|asked| chaos(&asked)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("chaos: {why}");
            ExitCode::FAILURE
        }
    }
}

fn asked(arguments: &[String]) -> Result<Asked, String> {
    let (mut seconds, mut seed, mut scenario, mut spread) = (None, None, None, Spread::Processes);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--one-process" {
            spread = Spread::OneProcess;
            continue;
        }
        let value = rest.next().ok_or(USAGE)?;
        let number = || value.parse::<u64>().map_err(|_| format!("expected a number behind {name}, found `{value}`"));
        match name.as_str() {
            "--seconds" => seconds = Some(number()?),
            "--seed" => seed = Some(number()?),
            "--scenario" => scenario = Some(named(value)?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let (seconds, seed) = (seconds.ok_or(USAGE)?, seed.ok_or(USAGE)?);
    if !SECONDS.contains(&seconds) {
        return Err(format!("expected {} to {} seconds, found {seconds}", SECONDS.start(), SECONDS.end()));
    }
    let scenario = scenario.unwrap_or_else(|| Scenario::drawn(seed));
    Ok(Asked { length: Duration::from_secs(seconds), seed, scenario, spread })
}

fn named(name: &str) -> Result<Scenario, String> {
    let known = || Scenario::NAMED.map(|(known, _)| known).join(", ");
    Scenario::named(name).ok_or_else(|| format!("expected one of the scenarios {}, found `{name}`", known()))
}

fn chaos(asked: &Asked) -> Result<(), String> {
    let again = format!("--seconds {} --seed {} --scenario {}", asked.length.as_secs(), asked.seed, asked.scenario.name());
    let again = if asked.spread == Spread::OneProcess { again + " --one-process" } else { again };
    println!("chaos {again}");
    let program = std::env::current_exe().map_err(|error| format!("no name of this program: {error}"))?;
    let history = History::of(run(asked, &program)?);
    let verdict = check(&history);
    let summary = Summary::of(&history, &verdict, asked.scenario);
    println!("{summary}");
    for violation in &verdict.violations {
        println!("\nVIOLATION {}\n  {}", violation.rule, violation.text);
        for line in story(&history, violation) {
            println!("  {line}");
        }
    }
    let mut wrong = unmet(&summary, asked.length);
    if verdict.violated > 0 {
        wrong.insert(0, format!("{} violations", verdict.violated));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}; again: {again}", wrong.join("; "))) }
}
