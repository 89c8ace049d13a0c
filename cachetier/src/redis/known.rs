//! What those have said who say where a primary is: the best of it is kept, and not forgotten for one that is behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Stopwatch;
use crate::sync::{Mutex, lock};

/// Where a primary is: host and port.
pub(super) type Spot = (String, u16);

/// What one of them says of the primary, and of which configuration.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) spot: Spot,
    /// Grows with each fail-over; in a Cluster it is that of who has the slot, and grows with each slot that comes to him: who knows of the last one has the
    /// highest.
    pub(super) epoch: u64,
}

/// For how long most of them must say what is older than what is known for that to be forgotten: they have begun anew, and count from the first.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// The best that was said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<Mutex<Option<Best>>>);

#[derive(Debug)]
struct Best {
    said: Said,
    /// Since when most say what is older.
    unsaid: Option<Stopwatch>,
}

impl Known {
    /// Where the primary is, with the best of what was said just now, by `most` or by fewer.
    pub(super) fn with(&self, said: &[Said], most: bool) -> Option<Spot> {
        let highest = said.iter().map(|said| said.epoch).max()?;
        let mut known = lock(&self.0);
        if let Some(known) = known.as_mut().filter(|known| known.said.epoch > highest) {
            let unsaid = if most { known.unsaid.get_or_insert_with(Stopwatch::start).elapsed() } else { Duration::ZERO };
            if unsaid < FORGOTTEN {
                return Some(known.said.spot.clone());
            }
        }
        // They may write one place in several ways: as most do, and among equals as before.
        let count = |spot: &Spot| said.iter().filter(|said| said.epoch == highest && said.spot == *spot).count();
        let before = known.as_ref().map(|known| &known.said.spot);
        let rank = |said: &&Said| (count(&said.spot), before == Some(&said.spot));
        let best = said.iter().rev().filter(|said| said.epoch == highest).max_by_key(rank)?.clone();
        Some(known.insert(Best { said: best, unsaid: None }).said.spot.clone())
    }

    /// Where it was said to be last.
    pub(super) fn spot(&self) -> Option<Spot> {
        lock(&self.0).as_ref().map(|known| known.said.spot.clone())
    }

    /// Whether nobody has said by now that the primary is elsewhere.
    pub(super) fn stands_by(&self, spot: &Spot) -> bool {
        lock(&self.0).as_ref().is_none_or(|known| known.said.spot == *spot)
    }
}

/// What those have said who were asked.
pub(super) struct Answers<T> {
    pub(super) said: Vec<T>,
    /// Whether these are more than half of them.
    pub(super) most: bool,
    /// Why one of the others has said nothing.
    pub(super) why: Option<Arc<str>>,
}

impl<T: 'static> Answers<T> {
    /// Waits for more than half: the one that was cut off from the others may answer first, with what was.
    pub(super) async fn to(questions: &mut JoinSet<Result<T, Arc<str>>>) -> Self {
        let (asked, mut said, mut why) = (questions.len(), Vec::new(), None);
        while said.len() <= asked / 2 {
            match questions.join_next().await {
                Some(Ok(Ok(answer))) => said.push(answer),
                Some(Ok(Err(reason))) => why = Some(reason),
                Some(Err(_)) => {}
                None => break,
            }
        }
        Self { most: said.len() > asked / 2, said, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(port: u16, epoch: u64) -> Said {
        Said { spot: ("10.0.0.1".to_owned(), port), epoch }
    }

    #[test]
    fn the_latest_is_believed_and_of_several_ways_to_write_it_the_one_that_is_known() {
        let known = Known::default();
        assert_eq!(known.with(&[], true), None);
        assert_eq!(known.with(&[said(1, 3), said(2, 4), said(3, 4)], true), Some(said(2, 4).spot));
        for _ in 0..3 {
            assert_eq!(known.with(&[said(3, 4), said(2, 4), said(1, 3)], true), Some(said(2, 4).spot));
        }
        assert_eq!(known.with(&[said(2, 4), said(3, 4), said(3, 4)], true), Some(said(3, 4).spot), "most write it so");
        assert_eq!(known.with(&[said(2, 4), said(3, 4)], true), Some(said(3, 4).spot));
        assert_eq!(known.with(&[said(4, 5), said(3, 4)], false), Some(said(4, 5).spot));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_forgotten_once_most_have_said_what_is_older_for_long() {
        let known = Known::default();
        let asked = |port, epoch, most| known.with(&[said(port, epoch)], most).map(|(_, port)| port);
        assert_eq!(asked(1, 7, true), Some(1));
        for most in [false, true] {
            assert_eq!(asked(2, 3, most), Some(1), "one that is behind");
        }
        tokio::time::sleep(FORGOTTEN.mul_f64(0.9)).await;
        assert_eq!(asked(2, 3, true), Some(1));
        // Said again: what was said in between was behind.
        assert_eq!(asked(1, 7, true), Some(1));
        tokio::time::sleep(FORGOTTEN).await;
        assert_eq!((asked(2, 3, false), asked(2, 3, true)), (Some(1), Some(1)));
        tokio::time::sleep(FORGOTTEN).await;
        assert_eq!(asked(2, 3, false), Some(1), "too few");
        assert_eq!(asked(2, 3, true), Some(2), "they have begun anew");
        assert!(known.stands_by(&said(2, 0).spot) && !known.stands_by(&said(1, 0).spot));
        assert_eq!(asked(3, 4, true), Some(3));
    }

    #[tokio::test]
    async fn more_than_half_are_waited_for_and_no_more() {
        let ask = async |answers: Vec<Option<Result<u32, &'static str>>>| {
            let mut questions = JoinSet::new();
            for answer in answers {
                questions.spawn(async move {
                    match answer {
                        Some(answer) => answer.map_err(Arc::from),
                        None => std::future::pending().await,
                    }
                });
            }
            let mut answers = Answers::to(&mut questions).await;
            answers.said.sort_unstable();
            (answers.said, answers.most, answers.why)
        };
        assert_eq!(ask(vec![Some(Ok(1)), None, Some(Ok(2))]).await, (vec![1, 2], true, None));
        let (said, most, why) = ask(vec![Some(Ok(1)), Some(Err("gone")), Some(Err("gone"))]).await;
        assert_eq!((said, most, why.as_deref()), (vec![1], false, Some("gone")));
        assert_eq!(ask(Vec::new()).await, (Vec::new(), false, None));
    }
}
