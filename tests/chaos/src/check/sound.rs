//! When an instance was disturbed, by the log of faults, and when it was frozen.

use std::time::Duration;

use super::History;
use crate::event::Span;
use crate::limits::AFTERMATH;
use crate::plan::Kind;

/// For each instance, spans in order that do not overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Sound {
    disturbed: Vec<Vec<Span>>,
    frozen: Vec<Vec<Span>>,
}

impl Sound {
    pub(super) fn of(history: &History) -> Self {
        let of = |instance: u16, after: Duration, counts: &dyn Fn(Kind) -> bool| {
            let theirs = history.faults.iter().filter(|fault| fault.instance.is_none_or(|whose| whose == instance));
            merged(
                theirs
                    .filter(|fault| counts(fault.kind))
                    .map(|fault| Span { start: fault.span.start, end: fault.span.end.plus(after) }),
            )
        };
        let instances = 0..history.instances();
        Self {
            disturbed: instances.clone().map(|instance| of(instance, AFTERMATH, &|_| true)).collect(),
            frozen: instances.map(|instance| of(instance, Duration::ZERO, &|kind| kind == Kind::InstanceFrozen)).collect(),
        }
    }

    /// Whether a fault, or what comes after it, touched this time.
    pub(super) fn disturbed(&self, instance: u16, span: Span) -> bool {
        overlapping(self.disturbed.get(usize::from(instance)), span).next().is_some()
    }

    /// Whether a process stood still in this time.
    pub(super) fn anybody_frozen(&self, span: Span) -> bool {
        self.frozen.iter().any(|frozen| overlapping(Some(frozen), span).next().is_some())
    }

    /// How much of this time the instance could have worked.
    pub(super) fn awake(&self, instance: u16, span: Span) -> Duration {
        let asleep = overlapping(self.frozen.get(usize::from(instance)), span);
        let asleep: Duration = asleep.map(|frozen| frozen.end.min(span.end).since(frozen.start.max(span.start))).sum();
        span.end.since(span.start).saturating_sub(asleep)
    }
}

/// Spans come by their begins.
fn merged(spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

fn overlapping(spans: Option<&Vec<Span>>, span: Span) -> impl Iterator<Item = &Span> {
    let spans = spans.map_or(&[][..], Vec::as_slice);
    let first = spans.partition_point(|other| other.end < span.start);
    spans.get(first..).unwrap_or_default().iter().take_while(move |other| other.start <= span.end)
}
