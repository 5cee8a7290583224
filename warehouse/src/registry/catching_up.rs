//! What the audit lacks is added before anything else is: erasures that were recorded beside the tables while no registry was there, and models that came
//! of listed ones before a release listed them. Repeating it adds nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio_postgres::Row;

use super::audit::{alone, record_deed, refused, used_since};
use super::{Registry, RegistryError, lineage};
use crate::erasure::Deed;

impl Registry {
    /// Takes lines of the audit that were written `beside` the tables ([`crate::Warehouse::deeds_beside`]) into the registry, where it has them not, with what
    /// of models and exports is registered by now and may have used the patient's rows; then names every model that came of one which any erasure lists. How
    /// many lines were written.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away: nothing is written, and the next call begins anew.
    pub async fn catch_up(&self, beside: Vec<Deed>) -> Result<usize, RegistryError> {
        let mut client = self.client().await?;
        let alone = alone(&mut client).await?;
        let sql = "SELECT salt, event FROM wardstream.erasures WHERE event <> 'listed'";
        let line = |row: &Row| -> (String, String) { (row.get(0), row.get(1)) };
        let known: BTreeSet<(String, String)> = alone.query(sql, &[]).await.map_err(refused)?.iter().map(line).collect();
        let since = first_known(&beside);
        let mut written = 0;
        for deed in beside {
            if known.contains(&(deed.salt.clone(), deed.event.to_owned())) {
                continue;
            }
            let used_by = match since.get(&deed.salt) {
                Some(since) => serde_json::to_value(used_since(alone.client(), *since).await?).unwrap_or_default(),
                None => deed.used_by.clone(),
            };
            record_deed(alone.client(), &Deed { used_by, ..deed }).await?;
            written += 1;
        }
        written += lineage::list_descendants(alone.client(), "registry").await?.len();
        alone.commit().await.map_err(refused)?;
        Ok(written)
    }
}

/// When the first record of each erasure's patient became known, by salt, as far as any line of it says.
fn first_known(lines: &[Deed]) -> BTreeMap<String, Timestamp> {
    let mut first: BTreeMap<String, Timestamp> = BTreeMap::new();
    for line in lines {
        let Some(known_at) = line.traces.first_known_at else { continue };
        let earliest = first.entry(line.salt.clone()).or_insert(known_at);
        *earliest = known_at.min(*earliest);
    }
    first
}
