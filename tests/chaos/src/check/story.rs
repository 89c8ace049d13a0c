//! The shortest history around a violation: what happened to its key, or in its instance, in the time that matters.

use super::{History, Rule, Violation};
use crate::clock::Nanos;
use crate::event::{Event, Got, Read};

/// How many lines are shown: those that came last.
const LINES: usize = 60;

/// Tells it, a line for each event, in milliseconds since the run began.
#[must_use]
pub fn story(history: &History, violation: &Violation) -> Vec<String> {
    let mut lines: Vec<(Nanos, Nanos, String)> = Vec::new();
    let since = |at: Nanos| at.since(history.begin).as_secs_f64() * 1_000.0;
    let mut tell = |start: Nanos, end: Nanos, event: &Event| {
        if end >= violation.from && start <= violation.to {
            let begun = match event {
                Event::Read(Read { got: Got::Row(row), .. }) => format!(", begun at {:.3}", since(row.begun)),
                _ => String::new(),
            };
            lines.push((start, end, format!("{event}{begun}")));
        }
    };
    for fault in &history.faults {
        if fault.instance.is_none_or(|instance| instance == violation.instance) {
            tell(fault.span.start, fault.span.end, &Event::Fault(fault.clone()));
        }
    }
    if let Some(key) = violation.key.filter(|_| violation.rule != Rule::Ends) {
        for commit in history.commits.get(key.0 as usize).into_iter().flatten() {
            tell(commit.at, commit.at, &Event::Commit(*commit));
        }
        for made in history.mutations.iter().filter(|made| made.target.covers(key)) {
            tell(made.span.start, made.span.end, &Event::Mutation(made.clone()));
        }
        for held in history.held.iter().filter(|held| held.key == key) {
            tell(held.span.start, held.span.end, &Event::Held(held.clone()));
        }
        for waited in
            history.waited.iter().filter(|waited| violation.rule == Rule::Promised && waited.instance == violation.instance)
        {
            tell(waited.span.start, waited.span.end, &Event::Waited(waited.clone()));
        }
        for load in history.loads.iter().filter(|load| load.key == key) {
            tell(load.span.start, load.span.end, &Event::Load(*load));
        }
        // Of reads that bring the same again and again, the first.
        let mut before: Option<Got> = None;
        for read in history.reads.iter().filter(|read| read.key == key && read.instance == violation.instance) {
            if before.replace(read.got) != Some(read.got) || read.span.end == violation.to {
                tell(read.span.start, read.span.end, &Event::Read(*read));
            }
        }
    }
    lines.sort_unstable();
    let left_out = lines.len().saturating_sub(LINES);
    let shown = lines
        .iter()
        .skip(left_out)
        .map(|(start, end, text)| format!("{:>12.3} to {:>12.3} ms  {text}", since(*start), since(*end)));
    let first = (left_out > 0).then(|| format!("{left_out} earlier events left out"));
    first.into_iter().chain(shown).collect()
}
