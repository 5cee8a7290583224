//! How much an aggregate computes in one go. The engine asks for an answer and cannot be stopped until it has it, so that what
//! takes long is bounded, and whoever else waits for the thread is served by another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::roles::fault::Refusal;

/// Rows that the frames of one partition of a window may rank, all together: some ten seconds.
pub const MOST_FRAMED: usize = 500_000_000;

/// Rows from which an answer takes longer than giving a thread's other work away.
const LONG: usize = 4_096;

/// What may still be computed, by all who share it.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// So many rows.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(most)))
    }

    /// Takes so many of them.
    ///
    /// # Errors
    /// 54000 with the reason where fewer are left.
    pub fn take(&self, rows: usize, reason: impl FnOnce() -> String) -> Result<()> {
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(rows)) {
            Ok(_) => Ok(()),
            Err(_) => Err(DataFusionError::External(Box::new(Refusal::new("54000", reason())))),
        }
    }
}

/// Computes over so many rows. A thread that runs other tasks too gives them to another one before it begins.
pub fn aside<T>(rows: usize, work: impl FnOnce() -> T) -> T {
    let shared = || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if rows >= LONG && shared() { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The one thread of the runtime computes until somebody else has run.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_one_takes_long() {
        let (begun, began) = tokio::sync::oneshot::channel();
        let (told, heard) = std::sync::mpsc::channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            aside(LONG, || {
                begun.send(()).expect("is waited for");
                heard.recv_timeout(Duration::from_secs(20)).is_ok()
            })
        });
        tasks.spawn(async move {
            began.await.expect("begins");
            told.send(()).is_ok()
        });
        while let Some(went_on) = tasks.join_next().await {
            assert!(went_on.expect("joins"));
        }
    }

    #[tokio::test]
    async fn a_thread_that_has_nobody_to_give_its_work_to_computes() {
        assert_eq!(aside(LONG, || 7), 7);
    }

    #[test]
    fn what_is_taken_is_taken_from_all_who_share_it() {
        let one = Allowance::new(10);
        let other = one.clone();
        let refused = |allowance: &Allowance, rows| allowance.take(rows, || "too many".to_owned()).err().map(|error| error.to_string());
        assert_eq!((refused(&one, 6), refused(&other, 4)), (None, None));
        assert!(refused(&one, 1).is_some_and(|told| told.contains("too many")));
    }
}
