//! What is kept of an erasure: who asked, when, why, and how much went. Nothing that names the person.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use deltalake_core::protocol::SaveMode;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use jiff::Timestamp;
use schemas::Digest;
use url::Url;

use super::{Subject, Traces};
use crate::error::{OpenError, QueryError};
use crate::read::{parsed, texts};
use crate::statement;
use crate::store::{Warehouse, base, folder};

/// The table's folder, where no registry keeps the audit.
const FOLDER: &str = "erasures";
/// Rounds of SHA-256: numbers of patients are short, and trying them all must not be cheap.
const ROUNDS: usize = 200_000;

/// One line of the audit.
pub struct Deed {
    /// `begun` before the first table is touched, `done` after the last; `listed` where a model is registered since that learned from the patient before, or
    /// that started from the weights of one that is listed.
    pub event: &'static str,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Who asked.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What the digest is salted with.
    pub salt: String,
    /// Digest of system and value: whoever holds the identifier can find the line, and nobody can read the identifier off it.
    pub subject: String,
    /// How much was found, or went.
    pub traces: Traces,
    /// Models and exports that may have used it.
    pub used_by: serde_json::Value,
}

impl Deed {
    /// The line before the first table is touched.
    #[must_use]
    pub fn begun(subject: &Subject, at: Timestamp, by: &str, reason: &str) -> Self {
        let salt = uuid::Uuid::new_v4().to_string();
        let digest = digest(&salt, subject);
        let (by, reason) = (by.to_owned(), reason.to_owned());
        Self { event: "begun", at, by, reason, salt, subject: digest, traces: Traces::default(), used_by: serde_json::json!({}) }
    }

    /// The line after the last.
    #[must_use]
    pub fn done(self, at: Timestamp, traces: Traces) -> Self {
        Self { event: "done", at, traces, ..self }
    }

    /// Whether the line is about this person; it takes some 200,000 digests to say.
    #[must_use]
    pub fn is_about(&self, subject: &Subject) -> bool {
        digest(&self.salt, subject) == self.subject
    }

    pub(crate) fn counts(&self) -> serde_json::Value {
        serde_json::to_value(&self.traces).unwrap_or_default()
    }
}

fn digest(salt: &str, subject: &Subject) -> String {
    let named = format!("{salt}\u{1f}{}\u{1f}{}", subject.system, subject.value);
    (0..ROUNDS).fold(Digest::of(named.as_bytes()), |digest, _| Digest::of(format!("{salt}{digest}").as_bytes())).to_string()
}

/// The lines, the first first.
fn lines(batches: &[RecordBatch]) -> Result<Vec<Deed>, QueryError> {
    let mut lines: Vec<Deed> = Vec::new();
    for batch in batches {
        let names = ["event", "at", "by", "reason", "salt", "subject", "counts", "used_by"];
        let columns = names.map(|name| texts(batch, name));
        let [events, at, by, reasons, salts, subjects, counts, used_by] = columns;
        let (events, at, by, reasons, salts) = (events?, at?, by?, reasons?, salts?);
        let (subjects, counts, used_by) = (subjects?, counts?, used_by?);
        for (row, event) in events.iter().enumerate() {
            let of = |column: &[Option<String>]| column.get(row).cloned().flatten().unwrap_or_default();
            lines.push(Deed {
                event: if event.as_deref() == Some("begun") { "begun" } else { "done" },
                at: parsed(&at, row, "at")?,
                by: of(&by),
                reason: of(&reasons),
                salt: of(&salts),
                subject: of(&subjects),
                traces: serde_json::from_str(&of(&counts)).unwrap_or_default(),
                used_by: serde_json::from_str(&of(&used_by)).unwrap_or_default(),
            });
        }
    }
    // Of one instant, what begins comes before what ends.
    lines.sort_by_key(|deed| (deed.at, deed.event));
    Ok(lines)
}

/// Those that were begun and not done.
fn open(mut lines: Vec<Deed>) -> Vec<Deed> {
    let done: BTreeSet<String> = lines.iter().filter(|deed| deed.event == "done").map(|deed| deed.salt.clone()).collect();
    lines.retain(|deed| deed.event == "begun" && !done.contains(&deed.salt));
    lines
}

impl Warehouse {
    /// Keeps a line of the audit beside the tables, where there is no registry to keep it.
    ///
    /// # Errors
    /// Where the table cannot be made or written.
    pub async fn record_deed(&self, deed: &Deed) -> Result<(), OpenError> {
        let failed = |source| OpenError::Table { table: FOLDER, source };
        let (delta, _) = self.deeds().await?;
        let line = [
            ("event", deed.event.to_owned()),
            ("at", deed.at.to_string()),
            ("by", deed.by.clone()),
            ("reason", deed.reason.clone()),
            ("salt", deed.salt.clone()),
            ("subject", deed.subject.clone()),
            ("counts", deed.counts().to_string()),
            ("used_by", deed.used_by.to_string()),
        ];
        let schema = Arc::new(Schema::new(line.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()));
        let columns = line.into_iter().map(|(_, value)| Arc::new(StringArray::from(vec![value])) as _).collect();
        let row = RecordBatch::try_new(schema, columns).map_err(|source| OpenError::Columns { table: FOLDER, source })?;
        delta.write(vec![row]).with_save_mode(SaveMode::Append).await.map_err(failed)?;
        Ok(())
    }

    /// The lines of that table that were begun and not done, the first first; none where there is no such table.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn open_deeds(&self) -> Result<Vec<Deed>, OpenError> {
        Ok(open(self.deeds_beside().await?))
    }

    /// All lines of that table, the first first; none where there is no such table.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn deeds_beside(&self) -> Result<Vec<Deed>, OpenError> {
        let failed = |source| OpenError::Table { table: FOLDER, source };
        // Whoever only reads makes no folder.
        if self.deeds_place()?.to_file_path().is_ok_and(|path| !path.exists()) {
            return Ok(Vec::new());
        }
        let (delta, is_there) = self.deeds().await?;
        if !is_there {
            return Ok(Vec::new());
        }
        let ctx = self.empty_session();
        delta.update_datafusion_session(&ctx.state()).map_err(failed)?;
        let read = async {
            ctx.register_table(FOLDER, delta.table_provider().await?)?;
            statement::all(ctx.sql(&format!("SELECT * FROM {FOLDER}")).await?).await
        };
        let batches = read.await.map_err(|error| OpenError::Audit(QueryError::from(error)))?;
        lines(&batches).map_err(OpenError::Audit)
    }

    /// The table, and whether it was made before.
    async fn deeds(&self) -> Result<(DeltaTable, bool), OpenError> {
        let failed = |source| OpenError::Table { table: FOLDER, source };
        let settings = &self.0.settings;
        let place = self.deeds_place()?;
        if let Ok(path) = place.to_file_path() {
            std::fs::create_dir_all(path).map_err(|_| OpenError::Address { url: settings.url.clone() })?;
        }
        let builder = DeltaTableBuilder::from_url(place).map_err(failed)?.with_storage_options(settings.store.all()?);
        let mut delta = builder.build().map_err(failed)?;
        match delta.load().await {
            Ok(()) => Ok((delta, true)),
            Err(deltalake_core::DeltaTableError::NotATable(_)) => Ok((delta, false)),
            Err(source) => Err(failed(source)),
        }
    }

    fn deeds_place(&self) -> Result<Url, OpenError> {
        folder(&base(&self.0.settings.url)?, FOLDER)
    }
}
