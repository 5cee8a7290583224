//! One statement's turn: how long it may take, who may stop it, and what stops it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::Refusal;

/// A turn. Cheap to clone: every piece of the statement's work runs within it.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Cancelled by the user.
    pub cancelled: CancellationToken,
    /// The server stops.
    closing: CancellationToken,
    until: Option<Instant>,
}

impl Turn {
    /// A turn that ends after `timeout`; zero is none, and so is what no clock reaches.
    pub(crate) fn new(timeout: Duration, closing: &CancellationToken) -> Self {
        let until = Some(timeout).filter(|timeout| !timeout.is_zero()).and_then(|timeout| Instant::now().checked_add(timeout));
        Self { cancelled: CancellationToken::new(), closing: closing.clone(), until }
    }

    /// Runs a piece of work until it ends, its time is over, it is cancelled or the server stops. A panic ends the statement alone.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Refusal> {
        let over = async {
            match self.until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(Refusal::new("57P01", "terminating connection due to administrator command")),
            () = self.cancelled.cancelled() => Err(Refusal::new("57014", "canceling statement due to user request")),
            () = over => Err(Refusal::new("57014", "canceling statement due to statement timeout")),
            done = AssertUnwindSafe(work).catch_unwind() => done.map_err(panicked),
        }
    }
}

/// A panic as the client is told of it; what it said may hold a patient's data and goes nowhere.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Refusal {
    tracing::error!("a statement panicked; the server goes on");
    Refusal::new("XX000", "internal error: the statement was given up, the server goes on")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code<T: std::fmt::Debug>(turn: &Turn, work: impl Future<Output = T>) -> &'static str {
        turn.run(work).await.expect_err("must be stopped").code
    }

    #[tokio::test]
    async fn a_statement_is_stopped_by_time_by_its_user_by_the_end_and_by_its_own_panic() {
        let closing = CancellationToken::new();
        let turn = |ms| Turn::new(Duration::from_millis(ms), &closing);
        assert_eq!(turn(0).run(async { 7 }).await.ok(), Some(7));
        assert_eq!(Turn::new(Duration::MAX, &closing).run(async { 7 }).await.ok(), Some(7));
        assert_eq!(code(&turn(5), std::future::pending::<()>()).await, "57014");
        let cancelled = turn(0);
        cancelled.cancelled.cancel();
        assert_eq!(code(&cancelled, std::future::pending::<()>()).await, "57014");
        assert_eq!(code(&turn(0), async { panic!("patient Miller") }).await, "XX000");
        closing.cancel();
        assert_eq!(code(&turn(0), std::future::pending::<()>()).await, "57P01");
    }
}
