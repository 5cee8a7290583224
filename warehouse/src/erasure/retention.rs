//! Retention: rows that are old enough go, and the records they came from say so. Of `messages` the bytes go and the rows stay, so that
//! offsets still add up. Earlier versions hold them for as long as any history is kept: a site whose rows grow old every day would else
//! have no more of it than after an erasure.

use jiff::{SignedDuration, Timestamp};
use schemas::Table;

use super::ERASED;
use super::rewrite::{delete_where, update};
use crate::error::EraseError;
use crate::read::{AsOf, ints};
use crate::store::Warehouse;

/// What of a record may tell of a person. A tombstone has a key and no payload.
const TELLING: &str = "payload IS NOT NULL OR key IS NOT NULL OR control_id IS NOT NULL OR headers <> '{}'";

impl Warehouse {
    /// Drops what is older than its table's retention at `now`. Costs next to nothing where there is none.
    ///
    /// # Errors
    /// Where a table cannot be read or written: the next call goes on from there.
    pub(crate) async fn apply_retention(&self, now: Timestamp) -> Result<(), EraseError> {
        for (table, days) in &self.0.settings.retention.0 {
            let age = SignedDuration::from_hours(i64::from(*days) * 24);
            let Ok(until) = now.checked_sub(age) else { continue };
            self.drop_before(*table, until).await?;
        }
        Ok(())
    }

    async fn drop_before(&self, table: Table, until: Timestamp) -> Result<(), EraseError> {
        let old = format!("known_at < arrow_cast('{until}', 'Timestamp(Microsecond, Some(\"UTC\"))')");
        let (relation, condition) = match table {
            Table::Messages => ("message_rows", format!("{old} AND ({TELLING})")),
            Table::Events => ("event_rows", old.clone()),
            Table::Notes => ("note_rows", old.clone()),
            Table::Predictions => ("prediction_rows", old.clone()),
        };
        let sql = format!("SELECT count(*) AS rows FROM {relation} WHERE {condition}");
        let counts = self.query(&sql, &AsOf::default()).await?;
        let counts = counts.iter().map(|batch| ints(batch, "rows")).collect::<Result<Vec<_>, _>>()?;
        if counts.into_iter().flatten().flatten().sum::<i64>() == 0 {
            return Ok(());
        }
        let emptied = ["payload", "key", "control_id"].map(|column| (column, "NULL".to_owned()));
        let none = |column| [(column, "0".to_owned())];
        match table {
            Table::Messages => {
                let [payload, key, control_id] = emptied;
                update(self, Table::Messages, &condition, &[payload, key, control_id, ("headers", "'{}'".to_owned())]).await?;
            }
            Table::Events => update(self, Table::Messages, &format!("{old} AND event_count > 0"), &none("event_count")).await?,
            Table::Notes => update(self, Table::Messages, &format!("{old} AND note_count > 0"), &none("note_count")).await?,
            Table::Predictions => {
                let published = format!("{old} AND split_part(topic, '#', 1) = '{}' AND outcome = 'mapped'", schemas::topic::PREDICTION);
                update(self, Table::Messages, &published, &[("outcome", format!("'{ERASED}'"))]).await?;
            }
        }
        if table != Table::Messages {
            delete_where(self, table, &condition).await?;
        }
        Ok(())
    }
}
