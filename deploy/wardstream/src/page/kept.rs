//! The page as it was made last. Nobody waits for it, and many who ask at once cost what one does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A page is shown so long before another one is made,
const FRESH: Duration = Duration::from_secs(30);
/// and so many times as long as it took, so that it never takes more than a small share of the machine.
const SHARE: u32 = 10;
/// A page that is older is not shown any more, not even until the next one is there, however long it took.
const OLD: Duration = Duration::from_secs(600);

/// What there is to show.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A page that stands.
    Fresh(Bytes),
    /// The last one, while another is being made.
    Old(Bytes),
    /// None yet; one is being made.
    Nothing,
}

/// A page that was made.
struct Made {
    html: Bytes,
    at: Instant,
    took: Duration,
}

#[derive(Default)]
struct State {
    made: Option<Made>,
    is_making: bool,
}

/// The last page, and how to make another.
pub struct Kept {
    make: Box<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>,
    state: Mutex<State>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Kept {
    /// Nothing is made before somebody asks. What makes a page is one of the tracker's tasks, and is given up at `stop`.
    pub fn new<F>(make: impl Fn() -> F + Send + Sync + 'static, tracker: TaskTracker, stop: CancellationToken) -> Self
    where
        F: Future<Output = String> + Send + 'static,
    {
        Self { make: Box::new(move || make().boxed()), state: Mutex::default(), tracker, stop }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to show now. Where that is not fresh, another page is begun, unless one is being made.
    pub fn answer(self: &Arc<Self>) -> Answer {
        let mut state = self.state();
        let age = state.made.as_ref().map(|made| (made.html.clone(), made.at.elapsed(), (made.took * SHARE).clamp(FRESH, OLD)));
        if let Some((html, age, fresh)) = &age
            && age < fresh
        {
            return Answer::Fresh(html.clone());
        }
        if !state.is_making {
            state.is_making = true;
            let kept = Arc::clone(self);
            self.tracker.spawn(async move { kept.turn().await });
        }
        match age {
            Some((html, age, _)) if age < OLD => Answer::Old(html),
            _ => Answer::Nothing,
        }
    }

    /// Makes a page.
    async fn turn(&self) {
        let _ended = Ended(self);
        let began = Instant::now();
        let html = tokio::select! {
            html = (self.make)() => html,
            () = self.stop.cancelled() => return,
        };
        self.state().made = Some(Made { html: html.into(), at: Instant::now(), took: began.elapsed() });
    }
}

/// Says that no page is being made any more, whatever became of it.
struct Ended<'a>(&'a Kept);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().is_making = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// A page that is made once it may be, with how many were begun.
    fn kept() -> (Arc<Kept>, Arc<Semaphore>, Arc<AtomicUsize>) {
        let (may, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let make = {
            let (may, begun) = (Arc::clone(&may), Arc::clone(&begun));
            move || {
                let (may, number) = (Arc::clone(&may), begun.fetch_add(1, Ordering::AcqRel) + 1);
                async move {
                    may.acquire().await.expect("nobody closes it").forget();
                    format!("page {number}")
                }
            }
        };
        (Arc::new(Kept::new(make, TaskTracker::new(), CancellationToken::new())), may, begun)
    }

    async fn ended(kept: &Kept) {
        while kept.state().is_making {
            tokio::task::yield_now().await;
        }
    }

    /// Puts the time at which the page was made so far back.
    fn age(kept: &Kept, by: Duration) {
        let mut state = kept.state();
        let made = state.made.as_mut().expect("a page was made");
        made.at = made.at.checked_sub(by).expect("the machine has run for so long");
    }

    #[tokio::test]
    async fn however_many_ask_one_page_is_made_and_kept() {
        let (kept, may, begun) = kept();
        for _ in 0..100 {
            assert_eq!(kept.answer(), Answer::Nothing);
        }
        may.add_permits(1);
        ended(&kept).await;
        for _ in 0..100 {
            assert_eq!(kept.answer(), Answer::Fresh("page 1".into()));
        }
        assert_eq!(begun.load(Ordering::Acquire), 1);
        age(&kept, FRESH);
        for _ in 0..100 {
            assert_eq!(kept.answer(), Answer::Old("page 1".into()));
        }
        may.add_permits(1);
        ended(&kept).await;
        assert_eq!(kept.answer(), Answer::Fresh("page 2".into()));
        age(&kept, OLD);
        assert_eq!(kept.answer(), Answer::Nothing);
        assert!(begun.load(Ordering::Acquire) <= 3);
        kept.stop.cancel();
        ended(&kept).await;
    }

    /// One that takes long is kept for longer.
    #[tokio::test]
    async fn making_pages_takes_a_small_share_of_the_time() {
        let (kept, may, _) = kept();
        kept.answer();
        may.add_permits(1);
        ended(&kept).await;
        kept.state().made.as_mut().expect("a page was made").took = FRESH;
        age(&kept, FRESH * (SHARE - 1));
        assert_eq!(kept.answer(), Answer::Fresh("page 1".into()));
        // Whoever asks after ten minutes is not told what was an hour ago.
        kept.state().made.as_mut().expect("a page was made").took = OLD;
        age(&kept, OLD);
        assert_eq!(kept.answer(), Answer::Nothing);
    }

    /// A page that fails is no reason to make none any more, and what is being made holds up no end.
    #[tokio::test]
    async fn what_became_of_one_page_is_forgotten_by_the_next() {
        let failing =
            Arc::new(Kept::new(|| async { String::from_utf8(vec![0xff]).expect("a bug") }, TaskTracker::new(), CancellationToken::new()));
        for _ in 0..2 {
            assert_eq!(failing.answer(), Answer::Nothing);
            ended(&failing).await;
        }
        let (kept, _never, _) = kept();
        assert_eq!(kept.answer(), Answer::Nothing);
        kept.stop.cancel();
        kept.tracker.close();
        tokio::time::timeout(FRESH, kept.tracker.wait()).await.expect("it is given up");
    }
}
