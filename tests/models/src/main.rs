//! Prints what exploring the models shows: `cachetier-models` for the cases the tests run, `cachetier-models all` for the
//! long ones too, `cachetier-models all lane` for those of one model. Owns the table, not the cases; ends with an error if any outcome is not the expected one.

use std::process::ExitCode;

use cachetier_models::case::{Case, Effort, Outcome};
use cachetier_models::{doubt, fence, front, key, lane, lease, tags};

fn main() -> ExitCode {
    let long = std::env::args().nth(1).is_some_and(|argument| argument == "all");
    println!("{:5} {:91} {:>9} {:>7}  result", "model", "case", "states", "seconds");
    let mut as_expected = true;
    for (model, cases) in [
        ("fence", fence::cases()),
        ("key", key::cases()),
        ("tags", tags::cases()),
        ("front", front::cases()),
        ("doubt", doubt::cases()),
        ("lease", lease::cases()),
        ("lane", lane::cases()),
    ] {
        if std::env::args().nth(2).is_some_and(|only| only != model) {
            continue;
        }
        for case in cases.iter().filter(|case| long || case.effort == Effort::Quick) {
            as_expected &= print(model, case);
        }
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case and prints its line, with the counter-example if there is one; returns whether it went as expected.
fn print(model: &str, case: &Case) -> bool {
    let Outcome { states, took, broken, verdict } = case.run();
    let result = if broken.is_some() { "breaks" } else { "holds" };
    println!("{model:5} {:91} {states:>9} {:>7.1}  {result}", case.name, took.as_secs_f32());
    if let Some(example) = broken {
        println!("{example}");
    }
    if let Err(reason) = &verdict {
        println!("  NOT AS EXPECTED: {reason}");
    }
    verdict.is_ok()
}
