//! A guard over the memory of questions: as long as it stands, one that holds far more than it may is ended.

use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::memory_pool::MemoryPool;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::heap::Heap;
use crate::pools::WarehousePool;
use crate::store::Warehouse;

/// How often it is looked whether a statement holds far more than it may.
const EVERY: Duration = Duration::from_millis(20);

/// Stands until it is dropped.
#[derive(Debug)]
#[must_use = "nothing is guarded any more once it is dropped"]
pub struct Guard {
    _turns: JoinSet<()>,
}

impl Warehouse {
    /// From now on `heap` is asked what the threads of questions hold, and statements that hold several times what they may are ended. Looks around on the threads
    /// of the caller's runtime.
    pub fn guarded(&self, heap: Arc<dyn Heap>) -> Guard {
        let pool = Arc::clone(&self.0.runtime.memory_pool);
        if let Some(pool) = pool.downcast_ref::<WarehousePool>() {
            pool.ledger.ask(heap);
        }
        let mut turns = JoinSet::new();
        turns.spawn(guarding(pool));
        Guard { _turns: turns }
    }
}

async fn guarding(pool: Arc<dyn MemoryPool>) {
    let Some(warehouse) = pool.downcast_ref::<WarehousePool>() else { return };
    let mut turn = tokio::time::interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        warehouse.ledger.guard(warehouse.reserved());
    }
}
