//! Rows as text.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use datafusion::arrow::util::pretty::pretty_format_batches;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// With a header.
    Csv,
    /// One array of objects; NULL is `null`.
    Json,
    /// One object a line; NULL is `null`.
    Ndjson,
}

/// Writes all rows, ending in a line break.
///
/// # Errors
/// Where a column's type has no such form.
pub fn render(batches: &[RecordBatch], format: Format) -> Result<String, ArrowError> {
    let mut bytes = Vec::new();
    match format {
        Format::Table => return Ok(format!("{}\n", pretty_format_batches(batches)?)),
        Format::Csv => {
            let mut writer = csv::WriterBuilder::new().with_header(true).build(&mut bytes);
            batches.iter().try_for_each(|batch| writer.write(batch))?;
        }
        Format::Json => {
            let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut bytes);
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
        Format::Ndjson => {
            let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut bytes);
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
    }
    let text = String::from_utf8(bytes).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    Ok(if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" })
}
