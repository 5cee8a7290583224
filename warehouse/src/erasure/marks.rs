//! When a table gave up rows, kept in its log: history before that goes earlier than other history.
//!
//! The oldest erasure that no vacuum has gone beyond says when history goes, the newest how far: a later erasure must not put off an earlier one's.
//! Instants are milliseconds of the store's clock.

use std::time::Duration;

use deltalake_core::kernel::Transaction;
use deltalake_core::{DeltaTable, DeltaTableError};
use jiff::Timestamp;

/// The application id under which each table keeps when it last gave up rows.
const GAVE_UP: &str = "wardstream//erased";
/// And the first time after the last that a vacuum went beyond.
const OLDEST: &str = "wardstream//erased/oldest";
/// And the last time that a vacuum went beyond.
const SETTLED: &str = "wardstream//erased/settled";

/// The first and the last time that a table gave up rows which its history still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The first.
    pub oldest: i64,
    /// The last.
    pub newest: i64,
}

/// How long ago that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The first.
    pub oldest: Duration,
    /// The last.
    pub newest: Duration,
}

impl Marks {
    /// How long ago it was at `now`; nothing where a clock is behind.
    pub fn since(self, now: Timestamp) -> Since {
        let since = |at: i64| Duration::from_millis(u64::try_from(now.as_millisecond().saturating_sub(at)).unwrap_or(0));
        Since { oldest: since(self.oldest), newest: since(self.newest) }
    }
}

/// What the table gave up and its history still holds; `None` where there is no such thing.
pub async fn pending(delta: &DeltaTable) -> Result<Option<Marks>, DeltaTableError> {
    let log = delta.log_store();
    let state = delta.snapshot()?;
    let settled = state.transaction_version(log.as_ref(), SETTLED).await?.unwrap_or(i64::MIN);
    let Some(newest) = state.transaction_version(log.as_ref(), GAVE_UP).await?.filter(|newest| *newest > settled) else {
        return Ok(None);
    };
    let oldest = state.transaction_version(log.as_ref(), OLDEST).await?.filter(|oldest| *oldest > settled).unwrap_or(newest);
    Ok(Some(Marks { oldest: oldest.min(newest), newest }))
}

/// What a commit says of rows that were given up by `at`.
pub async fn given_up(delta: &DeltaTable, at: i64) -> Result<Vec<Transaction>, DeltaTableError> {
    let marks = pending(delta).await?.map_or(Marks { oldest: at, newest: at }, |marks| Marks { newest: marks.newest.max(at), ..marks });
    Ok(vec![Transaction::new(OLDEST, marks.oldest), Transaction::new(GAVE_UP, marks.newest)])
}

/// What a commit says once history holds nothing that was given up by `upto`.
pub fn settled(upto: i64) -> Vec<Transaction> {
    vec![Transaction::new(SETTLED, upto)]
}
