//! A case: a model at given sizes with given rules, and what must come of exploring it. Owns how a model is explored and
//! how the outcome is judged; not the models.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Debug, Display, Formatter};
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

/// What exploring a case must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Every guarantee holds in each of exactly so many states: a different number means that the model has changed, or
    /// that the exploration was not complete.
    Holds {
        /// The number of distinct states.
        states: usize,
    },
    /// This guarantee breaks, and the shortest way there has so many steps.
    Breaks {
        /// One of the names in the crate's root.
        guarantee: &'static str,
        /// The number of actions of the shortest counter-example.
        steps: usize,
    },
}

/// Who runs a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The tests and the binary.
    Quick,
    /// The binary alone, when asked for `all`.
    Long,
}

/// A model with its sizes and rules, under a name, with what is expected of it.
pub struct Case {
    /// What is special about it, in a few words.
    pub name: &'static str,
    /// What must come of it.
    pub expect: Expect,
    /// Who runs it.
    pub effort: Effort,
    /// Explores the model: the number of states, and what broke. A closure, so that one list holds models of all types and
    /// the checker is compiled here and not once more in every test.
    explore: Box<dyn Fn() -> (usize, Option<CounterExample>)>,
}

/// A shortest way to a state that breaks a guarantee.
#[derive(Clone, Debug)]
pub struct CounterExample {
    /// The guarantee that breaks.
    pub guarantee: &'static str,
    /// The actions from the initial state on.
    pub steps: Vec<String>,
    /// The state they lead to.
    pub end: String,
}

/// What exploring a case has shown.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The number of distinct states visited.
    pub states: usize,
    /// How long it took.
    pub took: Duration,
    /// The counter-example, if a guarantee broke.
    pub broken: Option<CounterExample>,
    /// Whether this is what the case expects, or what is wrong.
    pub verdict: Result<(), String>,
}

impl Case {
    /// A case in which all guarantees hold in exactly so many states.
    pub fn holds<M>(name: &'static str, states: usize, model: M) -> Self
    where
        M: Model + Clone + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq,
    {
        let explore = Box::new(move || match explore(&model) {
            (states, Some(found)) => (states, shortest(&model, found.guarantee).1),
            complete => complete,
        });
        Self { name, expect: Expect::Holds { states }, effort: Effort::Quick, explore }
    }

    /// An ablation: a case in which this guarantee breaks after so many steps at the earliest.
    pub fn breaks<M>(name: &'static str, guarantee: &'static str, steps: usize, model: M) -> Self
    where
        M: Model + Clone + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq,
    {
        let explore = Box::new(move || shortest(&model, guarantee));
        Self { name, expect: Expect::Breaks { guarantee, steps }, effort: Effort::Quick, explore }
    }

    /// The same case, too long for the tests.
    #[must_use]
    pub fn long(self) -> Self {
        Self { effort: Effort::Long, ..self }
    }

    /// Explores the case and judges what comes of it.
    #[expect(clippy::disallowed_methods, reason = "the models have no clock; this only says how long they took")]
    #[must_use]
    pub fn run(&self) -> Outcome {
        let start = Instant::now();
        let (states, broken) = (self.explore)();
        Outcome { states, took: start.elapsed(), verdict: self.judge(states, broken.as_ref()), broken }
    }

    /// Explores the case and panics if it does not show what is expected.
    ///
    /// # Panics
    ///
    /// With the counter-example, or with what else was not as expected.
    #[track_caller]
    pub fn check(&self) {
        let Outcome { states, took, broken, verdict } = self.run();
        if let Some(example) = &broken {
            println!("{example}");
        }
        println!("{}: {states} states in {:.1} s", self.name, took.as_secs_f32());
        let reason = verdict.err().unwrap_or_default();
        assert!(reason.is_empty(), "{}: {reason}", self.name);
    }

    fn judge(&self, states: usize, broken: Option<&CounterExample>) -> Result<(), String> {
        match (self.expect, broken) {
            (Expect::Holds { states: expected }, None) if states == expected => Ok(()),
            (Expect::Holds { states: expected }, None) => Err(format!("expected {expected} states, found {states}")),
            (Expect::Holds { .. }, Some(example)) => Err(format!("expected no counter-example, found one\n{example}")),
            (Expect::Breaks { guarantee, .. }, None) => Err(format!("expected a counter-example to \"{guarantee}\", found none")),
            (Expect::Breaks { steps, .. }, Some(example)) if example.steps.len() == steps => Ok(()),
            (Expect::Breaks { steps, .. }, Some(example)) => Err(format!("expected {steps} steps, found another\n{example}")),
        }
    }
}

/// Visits every state, or stops soon after the first that breaks any guarantee; with two threads that need not be a nearest.
fn explore<M>(model: &M) -> (usize, Option<CounterExample>)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    // The checker takes a model without properties for one whose properties are all settled, and stops at once.
    assert!(!model.properties().is_empty(), "a model without guarantees has nothing to explore");
    let checker = model.clone().checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken = earliest(model, checker.discoveries());
    assert!(checker.is_done(), "the exploration ended before all states were visited");
    (checker.unique_state_count(), broken)
}

/// Finds a shortest way to break `guarantee`.
///
/// The checker works in blocks and keeps the *last* discovery of a block, so what it reports may be a few steps too
/// long: it is asked again for a shorter one until there is none.
fn shortest<M>(model: &M, guarantee: &'static str) -> (usize, Option<CounterExample>)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let finish = HasDiscoveries::AllOf(BTreeSet::from([guarantee]));
    let mut best: Option<CounterExample> = None;
    loop {
        let mut builder = model.clone().checker().threads(1).finish_when(finish.clone());
        if let Some(found) = &best {
            // A path of n steps has n + 1 states, and the bound itself is not looked at.
            builder = builder.target_max_depth(found.steps.len() + 1);
        }
        let checker = builder.spawn_bfs().join();
        let mut discoveries = checker.discoveries();
        discoveries.retain(|name, _| *name == guarantee);
        match earliest(model, discoveries) {
            Some(shorter) => best = Some(shorter),
            None => return (checker.unique_state_count(), best),
        }
    }
}

fn earliest<M>(model: &M, discoveries: HashMap<&'static str, Path<M::State, M::Action>>) -> Option<CounterExample>
where
    M: Model,
    M::State: Clone + Debug,
    M::Action: Clone + Debug,
{
    let tell = |(guarantee, path): (&'static str, Path<M::State, M::Action>)| CounterExample {
        guarantee,
        end: format!("{:?}", path.last_state()),
        steps: path.into_actions().iter().map(|action| model.format_action(action)).collect(),
    };
    discoveries.into_iter().map(tell).min_by_key(|example| example.steps.len())
}

/// Makes a test of each of the named cases, and one more that no quick case is without a test.
#[macro_export]
macro_rules! test_cases {
    ($cases:expr => $($test:ident: $name:literal,)+) => {
        $(
            #[test]
            fn $test() {
                $cases.into_iter().find(|case| case.name == $name).expect("a case of this name").check();
            }
        )+

        #[test]
        fn no_quick_case_is_without_a_test() {
            let quick = $cases.into_iter().filter(|case| case.effort == $crate::case::Effort::Quick);
            let untested: Vec<_> = quick.map(|case| case.name).filter(|name| ![$($name),+].contains(name)).collect();
            assert!(untested.is_empty(), "{untested:?}");
        }
    };
}

impl Debug for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("expect", &self.expect)
            .field("effort", &self.effort)
            .finish_non_exhaustive()
    }
}

impl Display for CounterExample {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  breaks \"{}\" in {} steps:", self.guarantee, self.steps.len())?;
        for (step, number) in self.steps.iter().zip(1..) {
            writeln!(f, "  {number:3}. {step}")?;
        }
        write!(f, "  leaving {}", self.end)
    }
}
