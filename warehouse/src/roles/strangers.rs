//! Those at a door who have not shown who they are: they take no place of those who have, are few, and do not stay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Time in which one must show who it is, TLS included.
const GREETING: Duration = Duration::from_secs(10);
/// Strangers at one door.
const STRANGERS: usize = 200;

/// The strangers at one door.
#[derive(Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// By number, those that came first are first.
    away: BTreeMap<u64, CancellationToken>,
}

impl Strangers {
    /// One more. Where there are too many, the one that came first is sent away: whoever knows the password needs no time to show it.
    pub(crate) fn come(&self) -> Stranger {
        let mut waiting = self.waiting();
        if waiting.away.len() >= STRANGERS
            && let Some((_, first)) = waiting.away.pop_first()
        {
            first.cancel();
        }
        let (number, away) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        waiting.away.insert(number, away.clone());
        drop(waiting);
        Stranger { door: self.clone(), number, away }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who has not shown who it is. It is dropped when it has, or when it goes.
pub(crate) struct Stranger {
    door: Strangers,
    number: u64,
    away: CancellationToken,
}

impl Stranger {
    /// Ends when it must go. Never where it has been dropped before.
    pub(crate) fn sent_away(&self) -> BoxFuture<'static, ()> {
        let (door, number, away) = (self.door.clone(), self.number, self.away.clone());
        let waited = async move {
            tokio::time::sleep(GREETING).await;
            let is_known = !door.waiting().away.contains_key(&number);
            if is_known {
                std::future::pending::<()>().await;
            }
        };
        let gone = async move {
            tokio::select! {
                () = away.cancelled() => {}
                () = waited => {}
            }
        };
        gone.boxed()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.door.waiting().away.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_too_many_wait_the_first_goes_and_whoever_is_known_stays() {
        let door = Strangers::default();
        let (first, second) = (door.come(), door.come());
        let (first_gone, second_gone) = (first.sent_away(), second.sent_away());
        drop(second);
        let waiting: Vec<_> = (0..STRANGERS).map(|_| door.come()).collect();
        first_gone.await;
        assert!(second_gone.now_or_never().is_none(), "who is known is not sent away");
        assert_eq!(door.waiting().away.len(), STRANGERS);
        drop((first, waiting));
        assert_eq!(door.waiting().away.len(), 0);
    }
}
