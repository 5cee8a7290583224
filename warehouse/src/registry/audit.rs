//! Who was erased, what was exported, and which of what was made may have used a patient's rows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemas::DatasetId;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Row, Transaction};

use super::lineage::{self, Learned};
use super::{NewModel, Registry, RegistryError, migrations, removal};
use crate::erasure::{Deed, Traces};

/// Key of the advisory lock under which exports, models and lines about erasures are recorded: an erasure that is done lists what there is, and what comes
/// later sees its line.
const LOCK: i64 = 0x6c65_6674;
/// Why the audit names a model behind an erasure.
const LATE: &str = "the model was registered since, and the rows that it learned from were pinned before this erasure was done: \
                    `wardstream trainer --once --anew` learns one from nothing";

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
    /// Versions of models: those that learned from such rows, and those that started from the weights of one.
    pub models: Vec<String>,
    /// Those of them whose weights were removed, so that only their lines are left.
    pub weights_removed: Vec<String>,
    /// Datasets that models learned from.
    pub datasets: Vec<String>,
    /// Exports, as `kind dataset_id at`.
    pub exports: Vec<String>,
}

/// How far the audit has come: the last line that says that an erasure began or was done. Lines that list a model move nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Deeds(i64);

/// An erasure, as one or all of its lines tell of it.
pub(super) struct Told {
    pub salt: String,
    pub subject: String,
    pub traces: Traces,
}

/// A line of `salt, subject, counts`.
pub(super) fn told(row: &Row) -> Told {
    Told { salt: row.get(0), subject: row.get(1), traces: serde_json::from_value(row.get(2)).unwrap_or_default() }
}

pub(super) fn refused(source: tokio_postgres::Error) -> RegistryError {
    RegistryError::Refused { action: "write or read the audit", source }
}

impl Registry {
    /// How far the audit has come: to be read before the rows are that [`Self::record_export`] or [`Self::register`] is about.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn deeds(&self) -> Result<Deeds, RegistryError> {
        let client = self.client().await?;
        deeds(&client).await
    }

    /// Records that rows leave the warehouse, which began to be read when the audit had come to `before`. An erasure that is done lists this line, or is seen here.
    ///
    /// # Errors
    /// Where an erasure began or ended since, so that it may not list them; where PostgreSQL refuses or is away. Nothing is recorded then.
    pub async fn record_export(&self, export: &Export, before: Deeds) -> Result<(), RegistryError> {
        let sql = "INSERT INTO wardstream.exports (at, by, kind, dataset_id, watermark, details) VALUES ($1, $2, $3, $4, $5, $6)";
        let (at, watermark) = (export.at.to_string(), export.watermark.to_string());
        let mut client = self.client().await?;
        let alone = alone(&mut client).await?;
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
        let mut client = self.client().await?;
        let alone = alone(&mut client).await?;
        record_deed(alone.client(), deed).await?;
        alone.commit().await.map_err(refused)
    }

    /// Records that an erasure is done, with what may have used rows that became known at `since` or later: also what was recorded while it went on.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn record_done(&self, deed: Deed, since: Timestamp) -> Result<UsedBy, RegistryError> {
        let mut client = self.client().await?;
        let alone = alone(&mut client).await?;
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

/// A transaction beside which nobody records an export, a model or a line about an erasure: lines are numbered in the order in which others see them.
pub(super) async fn alone(client: &mut Client) -> Result<Transaction<'_>, RegistryError> {
    migrations::alone(client, LOCK).await.map_err(refused)
}

async fn deeds(client: &Client) -> Result<Deeds, RegistryError> {
    let sql = "SELECT COALESCE(max(seq), 0) FROM wardstream.erasures WHERE event <> 'listed'";
    let row = client.query_one(sql, &[]).await.map_err(refused)?;
    Ok(Deeds(row.get(0)))
}

/// Names a model whose rows were pinned when the audit had come to `before` beside each erasure that began or was done since, and whose patient those rows
/// may hold. How many these are.
pub(super) async fn list_late(client: &Client, model: &NewModel, before: Deeds) -> Result<usize, RegistryError> {
    let sql = "SELECT salt, subject, counts FROM wardstream.erasures WHERE event <> 'listed' AND salt IN \
               (SELECT salt FROM wardstream.erasures WHERE event <> 'listed' AND seq > $1) ORDER BY seq";
    let lines = client.query(sql, &[&before.0]).await.map_err(refused)?;
    let watermark = model.details.pointer("/pin/watermark").and_then(serde_json::Value::as_str);
    let erasures = reached(lines.iter().map(told), watermark);
    let (models, datasets) = (vec![model.model_version.0.clone()], vec![model.dataset_id.0.clone()]);
    let used_by = serde_json::to_value(UsedBy { models, datasets, ..UsedBy::default() }).unwrap_or_default();
    let at = removal::clock(client).await?;
    let listed = erasures.len();
    for Told { salt, subject, traces } in erasures {
        let (by, reason) = ("trainer".to_owned(), LATE.to_owned());
        record_deed(client, &Deed { event: "listed", at, by, reason, salt, subject, traces, used_by: used_by.clone() }).await?;
    }
    Ok(listed)
}

/// The erasures that these lines tell of, of whose patients something was known by `watermark`.
fn reached(lines: impl Iterator<Item = Told>, watermark: Option<&str>) -> Vec<Told> {
    let erasures = whole(lines).into_values();
    erasures.filter(|told| told.traces.first_known_at.is_none_or(|since| reaches(watermark, since))).collect()
}

/// The erasures that these lines tell of, by salt. Each comes as its last line has it, since the earliest instant that any has: one that died and went on
/// found the first records gone.
pub(super) fn whole(lines: impl Iterator<Item = Told>) -> BTreeMap<String, Told> {
    let mut erasures: BTreeMap<String, Told> = BTreeMap::new();
    for mut told in lines {
        let earlier = erasures.get(&told.salt).and_then(|earlier| earlier.traces.first_known_at);
        told.traces.first_known_at = told.traces.first_known_at.into_iter().chain(earlier).min();
        erasures.insert(told.salt.clone(), told);
    }
    erasures
}

pub(super) async fn record_deed(client: &Client, deed: &Deed) -> Result<(), RegistryError> {
    let sql =
        "INSERT INTO wardstream.erasures (event, at, by, reason, salt, subject, counts, used_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (at, counts) = (deed.at.to_string(), deed.counts());
    client
        .execute(sql, &[&deed.event, &at, &deed.by, &deed.reason, &deed.salt, &deed.subject, &counts, &deed.used_by])
        .await
        .map_err(refused)?;
    Ok(())
}

pub(super) async fn used_since(client: &Client, since: Timestamp) -> Result<UsedBy, RegistryError> {
    let exports = "SELECT watermark, kind, COALESCE(dataset_id, ''), at FROM wardstream.exports ORDER BY seq";
    let mut used = learned_since(&lineage::models(client).await?, since);
    for row in client.query(exports, &[]).await.map_err(refused)? {
        if reaches(row.get(0), since) {
            let (kind, dataset, at): (String, String, String) = (row.get(1), row.get(2), row.get(3));
            used.exports.push(format!("{kind} {dataset} {at}"));
        }
    }
    Ok(used)
}

/// The models that may hold what became known at `since`, by their own rows or by the weights that they started from, and the datasets whose rows may.
fn learned_since(models: &[Learned], since: Timestamp) -> UsedBy {
    let may_hold = models.iter().filter(|model| reaches(model.watermark.as_deref(), since));
    let read: BTreeSet<&str> = may_hold.map(|model| model.version.as_str()).collect();
    let inherited: BTreeSet<&str> = lineage::descendants(models, &read).into_iter().map(|(model, _)| model.version.as_str()).collect();
    let mut used = UsedBy::default();
    for model in models {
        let (is_reader, version) = (read.contains(model.version.as_str()), &model.version);
        if !is_reader && !inherited.contains(version.as_str()) {
            continue;
        }
        used.models.push(version.clone());
        used.weights_removed.extend(model.weights_removed.then(|| version.clone()));
        if is_reader && !used.datasets.contains(&model.dataset) {
            used.datasets.push(model.dataset.clone());
        }
    }
    used
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

    #[test]
    fn a_model_that_started_from_weights_of_one_that_read_the_patient_is_listed_and_its_dataset_is_not() {
        let model = |version: &str, parent: Option<&str>, watermark: &str| Learned {
            version: version.to_owned(),
            parent: parent.map(str::to_owned),
            dataset: format!("rows-of-{version}"),
            watermark: Some(watermark.to_owned()),
            weights_removed: version == "grandchild",
        };
        let (before, behind) = ("2020-02-01T00:00:00Z", "2020-04-01T00:00:00Z");
        let models = [
            model("old", None, before),
            model("reader", Some("old"), behind),
            model("child", Some("reader"), before),
            model("grandchild", Some("child"), before),
            model("of-old", Some("old"), before),
        ];
        let used = learned_since(&models, "2020-03-01T00:00:00Z".parse().expect("an instant"));
        assert_eq!(used.models, ["reader", "child", "grandchild"]);
        assert_eq!(used.weights_removed, ["grandchild"]);
        assert_eq!(used.datasets, ["rows-of-reader"]);
    }

    #[test]
    fn an_erasure_reaches_back_to_the_first_that_any_of_its_lines_knows() {
        let told = |salt: &str, subject: &str, since: Option<&str>| {
            let first_known_at = since.map(|since| since.parse().expect("an instant"));
            Told { salt: salt.to_owned(), subject: subject.to_owned(), traces: Traces { first_known_at, ..Traces::default() } }
        };
        let (early, late) = (Some("2020-03-01T00:00:00Z"), Some("2020-05-01T00:00:00Z"));
        let lines = || {
            // Begun twice, since the first run died; and one that found nothing whose time it could tell.
            let begun = [told("a", "the one", early), told("b", "the one", late), told("c", "the other", None)];
            let done = [told("a", "the one", late), told("b", "the one", late), told("c", "the other", None)];
            begun.into_iter().chain(done)
        };
        let salts = |watermark| reached(lines(), watermark).into_iter().map(|told| told.salt).collect::<Vec<_>>().join(" ");
        assert_eq!(salts(Some("2020-02-01T00:00:00Z")), "c");
        assert_eq!(salts(Some("2020-04-01T00:00:00Z")), "a c");
        assert_eq!(salts(Some("2020-06-01T00:00:00Z")), "a b c");
        assert_eq!(salts(None), "a b c");
    }
}
