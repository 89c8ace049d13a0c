//! Prints what exploring the models shows: `cachetier-models` for the cases the tests run, `cachetier-models all` for the
//! long ones too. Owns the table, not the cases; ends with an error if any outcome is not the expected one.

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;

use cachetier_models::case::{Case, Effort, Outcome};
use cachetier_models::{fence, front, key, tags};
use stateright::Model;

fn main() -> ExitCode {
    let long = std::env::args().nth(1).is_some_and(|argument| argument == "all");
    println!("{:8} {:86} {:>9} {:>7}  result", "model", "case", "states", "seconds");
    let as_expected = [
        print("fence", &fence::cases(), long),
        print("fence", &fence::three_processes(), long),
        print("key", &key::cases(), long),
        print("tags", &tags::cases(), long),
        print("front", &front::cases(), long),
    ];
    if as_expected.iter().all(|right| *right) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the cases of a model and prints a line for each; returns whether all went as expected.
fn print<M>(model: &str, cases: &[Case<M>], long: bool) -> bool
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let mut as_expected = true;
    for case in cases.iter().filter(|case| long || case.effort == Effort::Quick) {
        let Outcome { states, took, broken, verdict } = case.run();
        let found = broken.as_ref().map_or("holds".to_owned(), |example| format!("breaks in {} steps", example.steps.len()));
        println!("{model:8} {:86} {states:>9} {:>7.1}  {found}", case.name, took.as_secs_f32());
        if let Some(example) = broken {
            println!("{example}");
        }
        if let Err(reason) = verdict {
            println!("  NOT AS EXPECTED: {reason}");
            as_expected = false;
        }
    }
    as_expected
}
