//! What statements truly hold. Operators reserve what they know of; beside that stand buffers that double as they grow, copies on their way to disk, batches
//! between operators. The allocator knows all of it, so what it says beyond the reservations is shared out among the statements that run, by what each has
//! reserved: a statement goes to disk earlier by its share, and one that holds many times its limit is ended.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use datafusion::error::DataFusionError;
use tokio_util::sync::CancellationToken;

/// How the program's allocator tells what questions hold.
pub trait Heap: fmt::Debug + Send + Sync {
    /// What the calling thread allocates from now on counts.
    fn count_this_thread(&self);
    /// Bytes of it that nobody has given back yet, on whatever thread.
    fn held_bytes(&self) -> usize;
}

/// How often the allocator is asked: an answer costs it some ten microseconds.
const EVERY: Duration = Duration::from_millis(10);
/// A statement that has reserved nothing yet has a share as if it had so much.
const LITTLE_BYTES: usize = 1 << 20;
/// How many times its limit a statement may hold: what is on its way to disk stands there twice.
const TIMES: usize = 3;
/// And how much beside: batches are under way in every operator.
const BESIDE_BYTES: usize = 256 << 20;
/// How long nobody else is ended while a statement that was ended still gives back what it held, and how long after that: the allocator was asked a moment before.
const GOING: Duration = Duration::from_secs(2);
const GONE: Duration = Duration::from_millis(50);

/// The statements that run over one pool, and what they hold beyond what they have reserved.
#[derive(Debug)]
pub(crate) struct Ledger {
    heap: OnceLock<Arc<dyn Heap>>,
    limit_bytes: usize,
    accounts: Mutex<Vec<Weak<Account>>>,
    reading: Mutex<Reading>,
    /// When a statement was last ended.
    ended_at: Mutex<Option<Instant>>,
    /// How many statements there are, and what they have reserved in all.
    statements: AtomicUsize,
    reserved: AtomicUsize,
    /// What they hold beyond that.
    beyond: AtomicUsize,
}

/// When the allocator was asked last, and what it held beside reservations when no statement ran: relations, connections, what is read of files.
#[derive(Debug, Default)]
struct Reading {
    at: Option<Instant>,
    rest: Option<i128>,
}

impl Ledger {
    /// Of a pool that gives `limit_bytes` in all.
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            heap: OnceLock::new(),
            limit_bytes,
            accounts: Mutex::default(),
            reading: Mutex::default(),
            ended_at: Mutex::default(),
            statements: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            beyond: AtomicUsize::new(0),
        })
    }

    /// From now on `heap` is asked. The first that is named stays.
    pub(crate) fn ask(&self, heap: Arc<dyn Heap>) {
        let _ = self.heap.set(heap);
    }

    /// An account for a statement that may take `limit_bytes`; `None` where no allocator is asked. `counted` is what the pool has given in all.
    pub(crate) fn open(self: &Arc<Self>, limit_bytes: usize, counted: usize) -> Option<Arc<Account>> {
        self.heap.get()?;
        self.look(counted);
        let account = Arc::new(Account {
            ledger: Arc::clone(self),
            limit_bytes: limit_bytes.min(self.limit_bytes),
            reserved: AtomicUsize::new(0),
            ended: CancellationToken::new(),
            is_told: AtomicBool::new(false),
        });
        self.statements.fetch_add(1, Ordering::Relaxed);
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&account));
        Some(account)
    }

    /// Asks the allocator, unless it was asked a moment ago or is being asked. `counted` is what the pool has given in all.
    pub(crate) fn look(&self, counted: usize) {
        let Some(heap) = self.heap.get() else { return };
        let mut reading = match self.reading.try_lock() {
            Ok(reading) => reading,
            Err(TryLockError::Poisoned(reading)) => reading.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if reading.at.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        // Whole numbers of 64 bits lie within those of 128.
        let uncounted = heap.held_bytes() as i128 - counted as i128;
        let is_idle = self.statements.load(Ordering::Relaxed) == 0;
        // Others than statements reserve as well, on threads that do not count: less than nothing stood there only as long as they do.
        let rest = reading.rest.filter(|_| !is_idle).unwrap_or(uncounted).max(0);
        self.beyond.store(usize::try_from(uncounted - rest).unwrap_or(0), Ordering::Relaxed);
        *reading = Reading { at: Some(Instant::now()), rest: Some(rest) };
    }

    /// Ends what holds far more than it may, and the one that holds most where all together do; nobody while another that was ended goes. To be called now and then.
    pub(crate) fn guard(&self, counted: usize) {
        self.look(counted);
        let accounts: Vec<Arc<Account>> = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.retain(|account| account.strong_count() > 0);
            accounts.iter().filter_map(Weak::upgrade).collect()
        };
        let (going, accounts): (Vec<_>, Vec<_>) = accounts.into_iter().partition(|account| account.ended.is_cancelled());
        let ended_at = *self.ended_at.lock().unwrap_or_else(PoisonError::into_inner);
        if ended_at.is_some_and(|at| at.elapsed() < if going.is_empty() { GONE } else { GOING }) {
            return;
        }
        for account in
            accounts.iter().filter(|account| account.holds() > account.limit_bytes.saturating_mul(TIMES).saturating_add(BESIDE_BYTES))
        {
            account.end();
        }
        let all = counted.saturating_add(self.beyond.load(Ordering::Relaxed));
        let largest = accounts.iter().max_by_key(|account| account.holds()).filter(|_| all > self.limit_bytes / 2 * 3 + BESIDE_BYTES);
        if let Some(account) = largest {
            account.end();
        }
    }
}

/// What one statement has reserved, and its share of what was not.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    limit_bytes: usize,
    reserved: AtomicUsize,
    ended: CancellationToken,
    is_told: AtomicBool,
}

impl Account {
    pub(crate) fn grow(&self, bytes: usize) {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.ledger.reserved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn shrink(&self, bytes: usize) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
        self.ledger.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What it holds beyond its reservations, in bytes, as of a moment ago. `counted` is what the pool has given in all.
    pub(crate) fn beyond(&self, counted: usize) -> usize {
        self.ledger.look(counted);
        self.share()
    }

    /// What it may take in all, in bytes.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Whether all statements together hold more than the pool gives.
    pub(crate) fn is_full(&self, counted: usize) -> bool {
        counted.saturating_add(self.ledger.beyond.load(Ordering::Relaxed)) > self.ledger.limit_bytes
    }

    fn share(&self) -> usize {
        let (all, beyond) = (self.ledger.reserved.load(Ordering::Relaxed), self.ledger.beyond.load(Ordering::Relaxed));
        let others = self.ledger.statements.load(Ordering::Relaxed).max(1).saturating_mul(LITTLE_BYTES);
        let own = (self.reserved.load(Ordering::Relaxed) + LITTLE_BYTES) as u128;
        usize::try_from(beyond as u128 * own / (all + others).max(1) as u128).unwrap_or(usize::MAX).min(beyond)
    }

    fn holds(&self) -> usize {
        self.reserved.load(Ordering::Relaxed).saturating_add(self.share())
    }

    fn end(&self) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                holds_mb = self.holds() >> 20,
                limit_mb = self.limit_bytes >> 20,
                "a statement holds far more memory than it may and is ended"
            );
        }
        *self.ledger.ended_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.ended.cancel();
    }

    /// Resolves when the statement has to end; why.
    pub(crate) async fn ended(&self) -> DataFusionError {
        self.ended.cancelled().await;
        self.why()
    }

    fn why(&self) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "the statement held far more memory than its limit of {} MB and was ended: ask for fewer or shorter values at once",
            self.limit_bytes >> 20
        ))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.ledger.statements.fetch_sub(1, Ordering::Relaxed);
        self.ledger.reserved.fetch_sub(self.reserved.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    /// An allocator that holds what it is told.
    #[derive(Debug, Default)]
    pub(crate) struct Told(AtomicUsize);

    impl Heap for Told {
        fn count_this_thread(&self) {}

        fn held_bytes(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// A ledger over so many megabytes, and the allocator that it asks.
    fn asked(limit_mb: usize) -> (Arc<Ledger>, Arc<Told>) {
        let (ledger, heap) = (Ledger::new(limit_mb * MB), Arc::new(Told::default()));
        ledger.ask(Arc::clone(&heap) as Arc<dyn Heap>);
        (ledger, heap)
    }

    /// The allocator holds so many megabytes now, and is asked.
    fn holding(ledger: &Ledger, heap: &Told, held_mb: usize, counted_mb: usize) {
        heap.0.store(held_mb * MB, Ordering::Relaxed);
        std::thread::sleep(EVERY * 2);
        ledger.guard(counted_mb * MB);
    }

    #[test]
    fn what_nobody_reserved_is_shared_out_by_what_each_has() {
        let (ledger, heap) = asked(10_000);
        holding(&ledger, &heap, 100, 40);
        let (large, small) = (ledger.open(1_000 * MB, 40 * MB).expect("is asked"), ledger.open(1_000 * MB, 40 * MB).expect("is asked"));
        large.grow(299 * MB);
        small.grow(99 * MB);
        assert_eq!(large.beyond(438 * MB), 0, "what stood there before any statement ran is nobody's");
        holding(&ledger, &heap, 100 + 398 + 200, 438);
        assert_eq!((large.share() / MB, small.share() / MB), (150, 50));
        assert!(!large.ended.is_cancelled() && !small.ended.is_cancelled());
        drop(large);
        assert_eq!(small.share(), 200 * MB, "the only one has all");
        small.shrink(99 * MB);
        drop(small);
        holding(&ledger, &heap, 700, 40);
        assert!(ledger.open(MB, 40 * MB).expect("is asked").beyond(40 * MB) == 0, "what stands there when nobody asks is nobody's");
    }

    #[tokio::test]
    async fn whoever_holds_many_times_its_limit_is_ended_and_nobody_else() {
        let (ledger, heap) = asked(10_000);
        holding(&ledger, &heap, 100, 0);
        let (greedy, modest) = (ledger.open(100 * MB, 0).expect("is asked"), ledger.open(1_000 * MB, 0).expect("is asked"));
        greedy.grow(90 * MB);
        holding(&ledger, &heap, 100 + 550, 90);
        assert!(!greedy.ended.is_cancelled(), "three times its limit, and the batches");
        holding(&ledger, &heap, 100 + 580, 90);
        assert!(greedy.ended.is_cancelled() && !modest.ended.is_cancelled());
        assert!(matches!(greedy.ended().await, DataFusionError::ResourcesExhausted(_)));
    }

    #[test]
    fn the_largest_is_ended_where_all_together_hold_too_much() {
        let (ledger, heap) = asked(1_000);
        holding(&ledger, &heap, 0, 0);
        let accounts: Vec<_> = [100, 300, 200].map(|mb| (mb, ledger.open(1_000 * MB, 0).expect("is asked"))).into();
        for (mb, account) in &accounts {
            account.grow(mb * MB);
        }
        holding(&ledger, &heap, 1_100, 600);
        assert!(accounts.iter().all(|(_, account)| account.is_full(600 * MB) && !account.ended.is_cancelled()), "they go to disk");
        holding(&ledger, &heap, 1_800, 600);
        let ended = || accounts.iter().map(|(_, account)| account.ended.is_cancelled()).collect::<Vec<_>>();
        assert_eq!(ended(), [false, true, false]);
        holding(&ledger, &heap, 1_800, 600);
        assert_eq!(ended(), [false, true, false], "what it held is on its way back");
    }

    #[test]
    fn what_others_gave_back_is_no_statement_s() {
        let (ledger, heap) = asked(10_000);
        holding(&ledger, &heap, 100, 5_000);
        let account = ledger.open(100 * MB, 5_000 * MB).expect("is asked");
        account.grow(50 * MB);
        holding(&ledger, &heap, 150, 50);
        assert!(account.share() <= 100 * MB && !account.ended.is_cancelled(), "{} MB", account.share() / MB);
    }

    #[test]
    fn without_an_allocator_nothing_is_kept() {
        assert!(Ledger::new(MB).open(MB, 0).is_none());
    }
}
