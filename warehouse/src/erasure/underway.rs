//! Records that a writer has begun and not finished: other tables hold what they say, `messages` does not hold them yet.
//!
//! Their bytes come with `messages`, which is committed last, and count the facts that went before: whoever took those away meanwhile would leave
//! the bytes, and a count that nothing answers. So they are waited for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use schemas::Table;
use tokio::time::Instant;

use crate::error::EraseError;
use crate::store::Warehouse;
use crate::transactions;

/// Between two looks.
pub const PAUSE: Duration = Duration::from_millis(250);

/// Waits until `messages` has come as far as the other tables had when this was called, for so long at most: a writer that died may stand
/// there for ever, and its records need not be the patient's.
pub async fn waited(warehouse: &Warehouse, patience: Duration) -> Result<(), EraseError> {
    let until = Instant::now() + patience;
    let mut begun: BTreeMap<String, i64> = BTreeMap::new();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Messages) {
        for (partition, upto) in held(warehouse, table).await? {
            let last = begun.entry(partition).or_insert(upto);
            *last = upto.max(*last);
        }
    }
    loop {
        let landed = held(warehouse, Table::Messages).await?;
        begun.retain(|partition, upto| landed.get(partition).is_none_or(|last| *last < *upto));
        if begun.is_empty() || Instant::now() >= until {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How far the table has come with each partition, by the partition's application id. Nothing where its log cannot be read in one go.
async fn held(warehouse: &Warehouse, table: Table) -> Result<HashMap<String, i64>, EraseError> {
    let failed = |source| EraseError::Table { table: table.as_str(), source };
    let delta = warehouse.snapshot(table).await.map_err(failed)?;
    let mut held = transactions::of_all(&delta).await.map_err(failed)?.unwrap_or_default();
    // What else a table keeps has an id that is no partition's.
    held.retain(|id, _| id.starts_with("wardstream/") && !id.starts_with("wardstream//"));
    Ok(held)
}
