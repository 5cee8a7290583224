//! What the relations hold at a moment, made once for all who ask, and only where the tables have moved since.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use datafusion::datasource::TableProvider;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::texts;
use crate::error::QueryError;
use crate::read::AsOf;
use crate::session::Relations;
use crate::store::Warehouse;

/// Moments of the past that are kept beside the newest: each holds what its views have computed.
const KEPT: usize = 4;

/// Relations by name.
pub(crate) type Names = BTreeMap<String, Arc<dyn TableProvider>>;

/// All relations at one moment.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The moment.
    pub when: When,
    /// As they are.
    pub all: Names,
    /// Without texts of notes and raw messages.
    pub without_notes: Names,
}

/// As of when a session asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct When {
    /// Only rows known by then.
    pub known_at: Option<Timestamp>,
    /// Only what `messages` held at this version.
    pub version: Option<i64>,
}

struct Kept {
    began: Instant,
    relations: Relations,
    shown: Arc<Shown>,
}

type Slot = Arc<Mutex<Option<Kept>>>;

/// The moments that are kept.
pub(super) struct Moments {
    warehouse: Warehouse,
    slots: std::sync::Mutex<Vec<(When, Slot)>>,
}

impl Moments {
    pub(super) fn new(warehouse: Warehouse) -> Self {
        Self { warehouse, slots: std::sync::Mutex::default() }
    }

    /// The slot of `when`; the one that was asked for longest ago makes room for it. The newest moment always stays.
    fn slot(&self, when: When) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match slots.iter().position(|(kept, _)| *kept == when) {
            Some(at) => slots.remove(at).1,
            None => Slot::default(),
        };
        slots.push((when, Arc::clone(&slot)));
        let past = slots.iter().filter(|(when, _)| *when != When::default()).count();
        if past > KEPT
            && let Some(oldest) = slots.iter().position(|(when, _)| *when != When::default())
        {
            slots.remove(oldest);
        }
        slot
    }

    /// Everything that had been committed when this was called, as it was known at `when`.
    pub(super) async fn at(&self, when: When) -> Result<Arc<Shown>, QueryError> {
        let asked = Instant::now();
        let slot = self.slot(when);
        let mut kept = slot.lock().await;
        // Whoever looked after this was asked saw all that this would see.
        if let Some(kept) = kept.as_ref().filter(|kept| kept.began >= asked) {
            return Ok(Arc::clone(&kept.shown));
        }
        let began = Instant::now();
        let at = AsOf { known_at: when.known_at, version: when.version, pin: None };
        let relations = self.warehouse.relations_since(&at, kept.as_ref().map(|kept| &kept.relations)).await?;
        let shown = match kept.as_ref().filter(|kept| kept.relations.is(&relations)) {
            Some(kept) => Arc::clone(&kept.shown),
            None => Arc::new(shown(when, relations.named(&self.warehouse)?)?),
        };
        *kept = Some(Kept { began, relations, shown: Arc::clone(&shown) });
        Ok(shown)
    }
}

fn shown(when: When, all: Names) -> Result<Shown, QueryError> {
    let without_notes = all.iter().map(|(name, provider)| Ok((name.clone(), texts::without(name, provider)?)));
    let without_notes = without_notes.collect::<datafusion::error::Result<_>>()?;
    Ok(Shown { when, all, without_notes })
}
