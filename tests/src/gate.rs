//! A gate that holds tasks until a test opens it, so that a test says in which order things happen. It knows nothing of caches.

use std::sync::Arc;

use tokio::sync::watch;

/// Holds whoever waits at it until it is opened. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// Who has come to the gate and was not dropped there.
    arrived: usize,
}

impl Gate {
    /// Returns a gate that is shut.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Returns when the gate is open: at once if it is already. A call that is dropped at the gate no longer counts as arrived.
    pub async fn wait(&self) {
        let arrival = Arrival::at(self);
        self.until(|state| state.open).await;
        arrival.passed();
    }

    /// Opens the gate for those who stand at it and those who come later.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Returns when `n` tasks have come to the gate, those it has let pass included.
    pub async fn arrived(&self, n: usize) {
        self.until(|state| state.arrived >= n).await;
    }

    async fn until(&self, condition: impl FnMut(&State) -> bool) {
        let mut watched = self.state.subscribe();
        // The sender lives as long as `self`, so this ends only when the condition holds.
        let _ = watched.wait_for(condition).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// One who stands at the gate; takes itself off the count when dropped there.
struct Arrival<'gate> {
    gate: &'gate Gate,
    counts: bool,
}

impl<'gate> Arrival<'gate> {
    fn at(gate: &'gate Gate) -> Self {
        gate.state.send_modify(|state| state.arrived += 1);
        Self { gate, counts: true }
    }

    fn passed(mut self) {
        self.counts = false;
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if self.counts {
            self.gate.state.send_modify(|state| state.arrived -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_passes_before_the_gate_opens() {
        let gate = Gate::new();
        assert!(tokio::time::timeout(Duration::from_secs(60), gate.wait()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_stand_at_the_gate_pass_when_it_opens() {
        let gate = Gate::new();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                tokio::spawn({
                    let gate = gate.clone();
                    async move { gate.wait().await }
                })
            })
            .collect();
        gate.arrived(3).await;
        assert!(tasks.iter().all(|task| !task.is_finished()));
        gate.open();
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_gate_holds_nobody_and_still_counts() {
        let gate = Gate::new();
        gate.open();
        gate.wait().await;
        gate.arrived(1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_than_asked_for_are_waited_for() {
        let gate = Gate::new();
        let one = gate.clone();
        let task = tokio::spawn(async move { one.wait().await });
        gate.arrived(1).await;
        assert!(tokio::time::timeout(Duration::from_secs(60), gate.arrived(2)).await.is_err());
        gate.open();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_dropped_at_the_gate_no_longer_counts() {
        let gate = Gate::new();
        assert!(tokio::time::timeout(Duration::from_secs(1), gate.wait()).await.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(60), gate.arrived(1)).await.is_err());
    }
}
