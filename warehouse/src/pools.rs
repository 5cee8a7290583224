//! Memory: of one statement, within its role's limit; of all statements together, within the warehouse's pool; and of that, what rows may take that
//! are kept for later questions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::resources_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::heap::{Account, Ledger};
use crate::kept;

/// Which part of all memory kept rows may have: one in so many. What is kept beyond lies on disk, and the rest is there for whoever computes.
const KEPT: usize = 3;

/// The memory of a warehouse, taken by whoever comes first; by kept rows up to a part of it.
#[derive(Debug)]
pub(crate) struct WarehousePool {
    all: GreedyMemoryPool,
    kept: AtomicUsize,
    kept_limit_bytes: usize,
    /// Views are computed one after the other: the joins of two do not fit where those of one just do.
    turns: Semaphore,
    /// What statements hold beyond what they take of it.
    pub ledger: Arc<Ledger>,
}

impl WarehousePool {
    /// `limit_bytes` in all.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            all: GreedyMemoryPool::new(limit_bytes),
            kept: AtomicUsize::new(0),
            kept_limit_bytes: limit_bytes / KEPT,
            turns: Semaphore::new(1),
            ledger: Ledger::new(limit_bytes),
        }
    }
}

impl fmt::Display for WarehousePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.all)
    }
}

fn is_kept(reservation: &MemoryReservation) -> bool {
    reservation.consumer().name() == kept::CONSUMER
}

impl MemoryPool for WarehousePool {
    fn name(&self) -> &str {
        "warehouse"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if is_kept(reservation) {
            self.kept.fetch_add(additional, Ordering::Relaxed);
        }
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if is_kept(reservation) {
            self.kept.fetch_sub(shrink, Ordering::Relaxed);
        }
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if !is_kept(reservation) {
            return self.all.try_grow(reservation, additional);
        }
        let within = |kept: usize| Some(kept + additional).filter(|kept| *kept <= self.kept_limit_bytes);
        if self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return resources_err!("kept rows have their part of the memory already");
        }
        self.all.try_grow(reservation, additional).inspect_err(|_| {
            self.kept.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.all.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.all.memory_limit()
    }
}

/// Waits for its turn where the pool is a warehouse's. Whoever has it asks for no other.
pub(crate) async fn turn(pool: &dyn MemoryPool) -> Option<SemaphorePermit<'_>> {
    pool.downcast_ref::<WarehousePool>()?.turns.acquire().await.ok()
}

/// What a pool gives in all.
pub(crate) fn limit(pool: &dyn MemoryPool) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(limit) => limit,
        MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
    }
}

/// What nobody has taken of it.
pub(crate) fn left(pool: &dyn MemoryPool) -> usize {
    limit(pool).saturating_sub(pool.reserved())
}

/// So much each operator may have as long as there is any: a sort makes room for two batches before it holds one.
const FLOOR_BYTES: usize = 16 << 20;

/// A pool of a statement's own that also takes from the pool of all. What can go to disk has to when three quarters are taken, but for a little of
/// each: equal shares would be too small for anyone where hundreds of operators stand beside one another, of which most hold nothing. What the statement
/// holds beyond its reservations counts there, too, but leaves a quarter to be taken: what is under way goes by, and does not go to disk.
#[derive(Debug)]
pub(crate) struct StatementPool {
    own: AtomicUsize,
    limit_bytes: usize,
    of_all: Arc<dyn MemoryPool>,
    shared: MemoryReservation,
    account: Option<Arc<Account>>,
}

impl StatementPool {
    /// `limit_bytes` of a statement's own, all of it out of `shared`.
    pub(crate) fn new(limit_bytes: usize, shared: &Arc<dyn MemoryPool>) -> Self {
        let account = match (shared.downcast_ref::<WarehousePool>(), shared.downcast_ref::<Self>()) {
            (Some(warehouse), _) => warehouse.ledger.open(limit_bytes, warehouse.reserved()),
            (None, Some(statement)) => statement.account.clone(),
            (None, None) => None,
        };
        // What it can spill, the operators of the statement decide.
        let taken = MemoryConsumer::new("statement").register(shared);
        Self { own: AtomicUsize::new(0), limit_bytes, of_all: Arc::clone(shared), shared: taken, account }
    }

    /// How far all of it may be taken, so that this operator has so much.
    fn upto(&self, reservation: &MemoryReservation, additional: usize) -> usize {
        let little = reservation.size() + additional <= FLOOR_BYTES.min(self.limit_bytes / 16);
        if !reservation.consumer().can_spill() || little {
            return self.limit_bytes;
        }
        self.account.as_ref().map_or(self.limit_bytes / 4 * 3, |account| {
            let counted = counted(self.of_all.as_ref());
            // A role without a limit has that of the pool.
            let limit_bytes = self.limit_bytes.min(account.limit_bytes());
            let (most, least) = (limit_bytes / 4 * 3, limit_bytes / 4);
            let beyond = account.beyond(counted);
            if account.is_full(counted) { least } else { most.saturating_sub(beyond).max(least) }
        })
    }

    /// The account of which a statement's pool takes, where the pool is one.
    pub(crate) fn account(pool: &dyn MemoryPool) -> Option<Arc<Account>> {
        pool.downcast_ref::<Self>()?.account.clone()
    }

    /// Told once: a pool within a statement's takes from that, which tells.
    fn own_account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref().filter(|_| self.of_all.downcast_ref::<WarehousePool>().is_some())
    }
}

/// What a warehouse has given in all, of whose pool this one takes.
fn counted(pool: &dyn MemoryPool) -> usize {
    pool.downcast_ref::<StatementPool>().map_or_else(|| pool.reserved(), |statement| counted(statement.of_all.as_ref()))
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement({} of {} bytes)", self.reserved(), self.limit_bytes)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statement"
    }

    fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
        self.own.fetch_add(additional, Ordering::Relaxed);
        self.shared.grow(additional);
        if let Some(account) = self.own_account() {
            account.grow(additional);
        }
    }

    fn shrink(&self, _reservation: &MemoryReservation, shrink: usize) {
        self.own.fetch_sub(shrink, Ordering::Relaxed);
        self.shared.shrink(shrink);
        if let Some(account) = self.own_account() {
            account.shrink(shrink);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let upto = self.upto(reservation, additional);
        let within = |own: usize| own.checked_add(additional).filter(|own| *own <= upto);
        if let Err(own) = self.own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            let (name, held) = (reservation.consumer().name(), reservation.size());
            return resources_err!(
                "{additional} bytes more for {name}, which has {held}; the statement has {own} of {} bytes",
                self.limit_bytes
            );
        }
        self.shared.try_grow(additional).inspect_err(|_| {
            self.own.fetch_sub(additional, Ordering::Relaxed);
        })?;
        if let Some(account) = self.own_account() {
            account.grow(additional);
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::tests::Told;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    #[test]
    fn a_statement_stays_within_its_limit_and_all_within_the_pool() {
        let shared: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
        let pool = |limit| Arc::new(StatementPool::new(limit, &shared)) as Arc<dyn MemoryPool>;
        let (one, two) = (pool(80), pool(80));
        let first = MemoryConsumer::new("a").register(&one);
        let second = MemoryConsumer::new("b").register(&two);
        assert!(first.try_grow(81).is_err(), "beyond its own limit");
        first.try_grow(80).expect("within both");
        assert!(second.try_grow(21).is_err(), "beyond what is left of the pool");
        assert_eq!((shared.reserved(), two.reserved()), (80, 0));
        first.free();
        second.try_grow(80).expect("what was given back is there again");
        drop((second, two));
        assert_eq!(shared.reserved(), 0);
    }

    #[test]
    fn what_goes_to_disk_leaves_room_for_whoever_has_little() {
        let shared: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
        let pool = Arc::new(StatementPool::new(160, &shared)) as Arc<dyn MemoryPool>;
        let of = |name: &str, spills| MemoryConsumer::new(name).with_can_spill(spills).register(&pool);
        let (large, small, join) = (of("a sort", true), of("another", true), of("a join", false));
        large.try_grow(120).expect("three quarters");
        assert!(large.try_grow(1).is_err(), "beyond: it has to go to disk");
        small.try_grow(10).expect("a little");
        assert!(small.try_grow(1).is_err(), "no longer a little");
        join.try_grow(30).expect("what cannot go to disk may have the rest");
        assert!(join.try_grow(1).is_err(), "beyond all");
        large.free();
        small.try_grow(80).expect("what was given back is there again");
        drop((large, small, join));
        assert_eq!((pool.reserved(), shared.reserved()), (0, 0));
    }

    #[test]
    fn a_statement_without_a_limit_goes_to_disk_before_the_pool_is_full() {
        let warehouse = WarehousePool::new(1_600 << 20);
        warehouse.ledger.ask(Arc::<Told>::default());
        let shared: Arc<dyn MemoryPool> = Arc::new(warehouse);
        let pool = Arc::new(StatementPool::new(usize::MAX, &shared)) as Arc<dyn MemoryPool>;
        let of = |name: &str, spills| MemoryConsumer::new(name).with_can_spill(spills).register(&pool);
        let (join, sort) = (of("a join", false), of("a sort", true));
        sort.try_grow(1_200 << 20).expect("three quarters of the pool");
        assert!(sort.try_grow(1).is_err(), "beyond: it has to go to disk");
        join.try_grow(400 << 20).expect("what cannot go to disk may have the rest");
        drop((join, sort));
        assert_eq!(shared.reserved(), 0);
    }

    #[test]
    fn kept_rows_leave_most_of_the_memory_to_who_computes() {
        let pool: Arc<dyn MemoryPool> = Arc::new(WarehousePool::new(90));
        let kept = |bytes| {
            let reservation = MemoryConsumer::new(kept::CONSUMER).register(&pool);
            reservation.try_grow(bytes).map(|()| reservation)
        };
        let (first, second) = (kept(20).expect("within their part"), kept(10).expect("within their part"));
        assert!(kept(1).is_err(), "beyond their part");
        let join = MemoryConsumer::new("a join").register(&pool);
        join.try_grow(60).expect("what is left");
        assert!(join.try_grow(1).is_err(), "beyond all");
        drop(first);
        assert!(join.try_grow(15).is_ok() && kept(6).is_err(), "within their part and beyond all");
        drop(kept(5).expect("within both"));
        drop((second, join));
        assert_eq!(pool.reserved(), 0);
        drop(kept(30).expect("what was given back is there again"));
    }
}
