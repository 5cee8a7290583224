//! The hospital's files of one month onto the raw topics, both feeds side by side, stamped with their own sending time.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bus::Publisher;
use jiff::civil::Date;
use schemas::{Facility, topic};

use crate::cli::Clock;
use crate::commands::outgoing;

/// Records in flight at once.
const FLIGHT: usize = 2_000;

/// The simulated hospital's output folder.
pub struct Feed {
    pub folder: PathBuf,
    pub north: Facility,
    pub south: Facility,
}

impl Feed {
    /// Publishes the records of `month` in the order of their sending times; how many there were.
    ///
    /// # Errors
    /// Where a file cannot be read or Kafka cannot be reached.
    pub async fn publish(&self, publisher: &Publisher, month: Date) -> anyhow::Result<usize> {
        let records = self.outgoing(month)?;
        let count = records.len();
        let mut rest = records.into_iter();
        loop {
            let flight: Vec<_> = rest.by_ref().take(FLIGHT).collect();
            if flight.is_empty() {
                return Ok(count);
            }
            publisher.send_all(flight).await.context("could not publish")?;
        }
    }

    /// The records of `month`, each with its own time, in the order of sending.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn outgoing(&self, month: Date) -> anyhow::Result<Vec<bus::Outgoing>> {
        let name = month.strftime("%Y-%m").to_string();
        let mut records = Vec::new();
        for (file, topic, facility) in [
            (format!("hl7/{name}.hl7"), topic::HL7_RAW, &self.north),
            (format!("hl7/{name}.claims.ndjson"), topic::HL7_RAW, &self.north),
            (format!("fhir/{name}.ndjson"), topic::FHIR_RAW, &self.south),
        ] {
            records.extend(read(&self.folder.join(file), topic, facility)?);
        }
        // Stable: records of one file keep the order in which the engine sent them.
        records.sort_by_key(|record| record.timestamp);
        Ok(records)
    }
}

/// A month in which a feed was silent has no file.
fn read(file: &Path, topic: &str, facility: &Facility) -> anyhow::Result<Vec<bus::Outgoing>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    Ok(maps::split::records(&bytes).into_iter().map(|record| outgoing(topic, record, Clock::Own, facility)).collect())
}
