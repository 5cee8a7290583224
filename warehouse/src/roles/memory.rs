//! Memory of one statement: within its role's limit, and all statements together within the warehouse's pool.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// A pool of a statement's own that also takes from the pool of all.
#[derive(Debug)]
pub(super) struct StatementPool {
    own: FairSpillPool,
    limit_bytes: usize,
    shared: MemoryReservation,
}

impl StatementPool {
    /// `limit_bytes` of a statement's own, all of it out of `shared`.
    pub(super) fn new(limit_bytes: usize, shared: &Arc<dyn MemoryPool>) -> Self {
        // What it can spill, the operators of the statement decide.
        let shared = MemoryConsumer::new("statement").register(shared);
        Self { own: FairSpillPool::new(limit_bytes), limit_bytes, shared }
    }
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement({} of {} bytes)", self.own.reserved(), self.limit_bytes)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shared.grow(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.shrink(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        self.shared.try_grow(additional).inspect_err(|_| self.own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
