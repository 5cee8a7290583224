//! Who was erased, what was exported, and which of what was made may have used a patient's rows.

use jiff::Timestamp;
use schemas::DatasetId;
use serde::Serialize;
use tokio_postgres::{Client, Row};

use super::{Registry, RegistryError, migrations};
use crate::erasure::Deed;

/// Key of the advisory lock under which an export is recorded, and under which an erasure that is done lists what there is.
const LOCK: i64 = 0x6c65_6674;

/// A copy of rows that left the warehouse: a dataset, a MEDS export.
pub struct Export {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// `dataset`, `meds`.
    pub kind: String,
    /// Its id; of a MEDS export its version.
    pub dataset_id: DatasetId,
    /// The newest instant that it may hold.
    pub watermark: Timestamp,
    /// Where it went, pins, counts. No patient's data.
    pub details: serde_json::Value,
}

/// What was made of rows that were known by an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsedBy {
    /// Versions of models.
    pub models: Vec<String>,
    /// Those of them whose weights were removed, so that only their lines are left.
    pub weights_removed: Vec<String>,
    /// Datasets that models learned from.
    pub datasets: Vec<String>,
    /// Exports, as `kind dataset_id at`.
    pub exports: Vec<String>,
}

/// How many lines the audit has about erasures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deeds(i64);

fn refused(source: tokio_postgres::Error) -> RegistryError {
    RegistryError::Refused { action: "write or read the audit", source }
}

impl Registry {
    /// How many lines there are about erasures: to be read before the rows are that [`Self::record_export`] is about.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn deeds(&self) -> Result<Deeds, RegistryError> {
        let client = self.client().await?;
        deeds(&client).await
    }

    /// Records that rows leave the warehouse, which began to be read when the audit had so many lines. An erasure that is done lists this line, or is seen here.
    ///
    /// # Errors
    /// Where an erasure began or ended since, so that it may not list them; where PostgreSQL refuses or is away. Nothing is recorded then.
    pub async fn record_export(&self, export: &Export, before: Deeds) -> Result<(), RegistryError> {
        let sql = "INSERT INTO wardstream.exports (at, by, kind, dataset_id, watermark, details) VALUES ($1, $2, $3, $4, $5, $6)";
        let (at, watermark) = (export.at.to_string(), export.watermark.to_string());
        let mut client = self.client().await?;
        let alone = migrations::alone(&mut client, LOCK).await.map_err(refused)?;
        if deeds(alone.client()).await? != before {
            return Err(RegistryError::Erasing);
        }
        alone.execute(sql, &[&at, &export.by, &export.kind, &export.dataset_id.0, &watermark, &export.details]).await.map_err(refused)?;
        alone.commit().await.map_err(refused)
    }

    /// Records a line about an erasure.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn record_deed(&self, deed: &Deed) -> Result<(), RegistryError> {
        let client = self.client().await?;
        record_deed(&client, deed).await
    }

    /// Records that an erasure is done, with what may have used rows that became known at `since` or later: also what was recorded while it went on.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn record_done(&self, deed: Deed, since: Timestamp) -> Result<UsedBy, RegistryError> {
        let mut client = self.client().await?;
        let alone = migrations::alone(&mut client, LOCK).await.map_err(refused)?;
        let used = used_since(alone.client(), since).await?;
        record_deed(alone.client(), &Deed { used_by: serde_json::to_value(&used).unwrap_or_default(), ..deed }).await?;
        alone.commit().await.map_err(refused)?;
        Ok(used)
    }

    /// The lines about erasures that were begun and not done, the first first.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn open_deeds(&self) -> Result<Vec<Deed>, RegistryError> {
        let sql = "SELECT at, by, reason, salt, subject, counts, used_by FROM wardstream.erasures AS begun WHERE event = 'begun' \
                   AND NOT EXISTS (SELECT 1 FROM wardstream.erasures AS done WHERE done.event = 'done' AND done.salt = begun.salt) ORDER BY seq";
        let client = self.client().await?;
        let line = |row: &Row| -> Result<Deed, RegistryError> {
            let at: String = row.get(0);
            Ok(Deed {
                event: "begun",
                at: at.parse().map_err(|_| RegistryError::Row { what: "time" })?,
                by: row.get(1),
                reason: row.get(2),
                salt: row.get(3),
                subject: row.get(4),
                traces: serde_json::from_value(row.get(5)).unwrap_or_default(),
                used_by: row.get(6),
            })
        };
        client.query(sql, &[]).await.map_err(refused)?.iter().map(line).collect()
    }

    /// Models, datasets and exports that may hold rows which became known at `since` or later.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn used_since(&self, since: Timestamp) -> Result<UsedBy, RegistryError> {
        let client = self.client().await?;
        used_since(&client, since).await
    }
}

async fn deeds(client: &Client) -> Result<Deeds, RegistryError> {
    let row = client.query_one("SELECT count(*) FROM wardstream.erasures", &[]).await.map_err(refused)?;
    Ok(Deeds(row.get(0)))
}

async fn record_deed(client: &Client, deed: &Deed) -> Result<(), RegistryError> {
    let sql =
        "INSERT INTO wardstream.erasures (event, at, by, reason, salt, subject, counts, used_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (at, counts) = (deed.at.to_string(), deed.counts());
    client
        .execute(sql, &[&deed.event, &at, &deed.by, &deed.reason, &deed.salt, &deed.subject, &counts, &deed.used_by])
        .await
        .map_err(refused)?;
    Ok(())
}

async fn used_since(client: &Client, since: Timestamp) -> Result<UsedBy, RegistryError> {
    let models = "SELECT details->'pin'->>'watermark', model_version, dataset_id, EXISTS (SELECT FROM wardstream.model_history AS h \
                  WHERE h.model_version = m.model_version AND h.event = 'weights_removed') FROM wardstream.models AS m ORDER BY created_at, model_version";
    let exports = "SELECT watermark, kind, COALESCE(dataset_id, ''), at FROM wardstream.exports ORDER BY seq";
    let mut used = UsedBy::default();
    for row in client.query(models, &[]).await.map_err(refused)?.iter().filter(|row| may_hold(row, since)) {
        used.models.push(row.get(1));
        used.weights_removed.extend(row.get::<_, bool>(3).then(|| row.get::<_, String>(1)));
        let dataset: String = row.get(2);
        if !used.datasets.contains(&dataset) {
            used.datasets.push(dataset);
        }
    }
    for row in client.query(exports, &[]).await.map_err(refused)?.iter().filter(|row| may_hold(row, since)) {
        let (kind, dataset, at): (String, String, String) = (row.get(1), row.get(2), row.get(3));
        used.exports.push(format!("{kind} {dataset} {at}"));
    }
    Ok(used)
}

/// Whether what was made up to the row's first column may hold what became known at `since`.
fn may_hold(row: &Row, since: Timestamp) -> bool {
    reaches(row.get::<_, Option<String>>(0).as_deref(), since)
}

fn reaches(watermark: Option<&str>, since: Timestamp) -> bool {
    watermark.and_then(|text| text.parse::<Timestamp>().ok()).is_none_or(|watermark| watermark >= since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_before_the_patient_began_is_not_listed_and_what_says_nothing_is() {
        let since: Timestamp = "2020-03-01T00:00:00Z".parse().expect("an instant");
        assert!(!reaches(Some("2020-02-29T23:59:59Z"), since));
        assert!(reaches(Some("2020-03-01T00:00:00Z"), since));
        assert!(reaches(None, since));
    }
}
