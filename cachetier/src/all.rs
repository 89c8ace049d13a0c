//! Waiting for several futures at once, in one task. For a few dozen: each that moves has all of them looked at.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// One of several: under way, or what came of it.
enum One<F: Future> {
    Running(Pin<Box<F>>),
    Done(Option<F::Output>),
}

/// Runs the futures beside each other, and returns what came of them, in their order.
///
/// Cancel safety: dropped, it drops those that are under way.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F::Output: Unpin,
{
    let mut ones: Vec<One<F>> = futures.into_iter().map(|future| One::Running(Box::pin(future))).collect();
    poll_fn(|context| {
        let mut running = false;
        for one in &mut ones {
            if let One::Running(future) = one {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *one = One::Done(Some(output)),
                    Poll::Pending => running = true,
                }
            }
        }
        if running { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    ones.iter_mut()
        .filter_map(|one| match one {
            One::Done(output) => output.take(),
            One::Running(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn they_run_beside_each_other_and_keep_their_order() {
        let begun = tokio::time::Instant::now();
        let sleeps = [30, 10, 20].map(|millis| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            millis
        });
        assert_eq!(all(sleeps).await, [30, 10, 20]);
        assert_eq!(begun.elapsed(), Duration::from_millis(30));
        assert!(all(Vec::<std::future::Ready<u8>>::new()).await.is_empty());
    }
}
