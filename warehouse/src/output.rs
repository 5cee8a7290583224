//! Rows as text.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use datafusion::arrow::json::{ArrayWriter, LineDelimitedWriter};
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt as _;

use crate::columnar::RowsError;
use crate::metrics;
use crate::mistakes;
use crate::read::AsOf;
use crate::spelling::apart;
use crate::statement;
use crate::store::Warehouse;

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

/// Text that is being written, batch by batch.
enum Texts<W: Write> {
    /// How wide columns are is known when all rows are.
    Table(W, Vec<RecordBatch>),
    Csv(Box<csv::Writer<W>>),
    Json(ArrayWriter<W>),
    Ndjson(LineDelimitedWriter<W>),
}

impl<W: Write> Texts<W> {
    fn begin(to: W, format: Format) -> Self {
        let objects = WriterBuilder::new().with_explicit_nulls(true);
        match format {
            Format::Table => Self::Table(to, Vec::new()),
            Format::Csv => Self::Csv(Box::new(csv::WriterBuilder::new().with_header(true).build(to))),
            Format::Json => Self::Json(objects.build::<_, JsonArray>(to)),
            Format::Ndjson => Self::Ndjson(objects.build::<_, LineDelimited>(to)),
        }
    }

    fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        match self {
            Self::Table(_, batches) => batches.push(batch),
            Self::Csv(writer) => writer.write(&batch)?,
            Self::Json(writer) => writer.write(&batch)?,
            Self::Ndjson(writer) => writer.write(&batch)?,
        }
        Ok(())
    }

    /// Ends in a line break, where there is anything.
    fn end(self) -> Result<W, ArrowError> {
        match self {
            Self::Table(mut to, batches) => {
                writeln!(to, "{}", pretty_format_batches(&batches)?)?;
                Ok(to)
            }
            Self::Csv(writer) => Ok(writer.into_inner()),
            Self::Json(mut writer) => {
                writer.finish()?;
                let mut to = writer.into_inner();
                writeln!(to)?;
                Ok(to)
            }
            Self::Ndjson(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner())
            }
        }
    }
}

/// Writes all rows, ending in a line break.
///
/// # Errors
/// Where a column's type has no such form.
pub fn render(batches: &[RecordBatch], format: Format) -> Result<String, ArrowError> {
    let mut texts = Texts::begin(Vec::new(), format);
    batches.iter().try_for_each(|batch| texts.push(batch.clone()))?;
    String::from_utf8(texts.end()?).map_err(|error| ArrowError::ExternalError(Box::new(error)))
}

/// Writes rows of texts, each with as many as there are `columns`, in the forms of a query's rows.
///
/// # Errors
/// Where there is no column.
pub fn render_texts(columns: &[&str], rows: &[Vec<String>], format: Format) -> Result<String, ArrowError> {
    let column = |(place, name): (usize, &&str)| {
        let texts: StringArray = rows.iter().map(|row| row.get(place)).collect();
        ((*name).to_owned(), Arc::new(texts) as ArrayRef)
    };
    render(&[RecordBatch::try_from_iter(columns.iter().enumerate().map(column))?], format)
}

impl Warehouse {
    /// Answers one query as text, batch by batch; a table is held whole. Only what reads plans at all.
    ///
    /// # Errors
    /// Where the query is refused or cannot be answered, told as the servers tell it; a column's type has no such form, or the destination cannot be written.
    pub async fn query_text<W: Write + Send>(&self, sql: &str, at: &AsOf, format: Format, destination: W) -> Result<W, RowsError> {
        metrics::queried("query");
        let frame = mistakes::opened(self, sql, at).await?;
        let none = RecordBatch::new_empty(apart::shown(frame.schema().inner()));
        let mistake = mistakes::of_rows(sql);
        let mut stream = statement::rows(frame).await.map_err(mistake)?;
        let mut texts = Texts::begin(destination, format);
        // The header stands also where there are no rows.
        let mut next = Some(none);
        while let Some(batch) = next {
            texts.push(batch).map_err(RowsError::Text)?;
            next = stream.try_next().await.map_err(mistake)?;
        }
        texts.end().map_err(RowsError::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Ward;

    /// In several batches, in one and in none; each ends as [`render`] ends it.
    #[tokio::test]
    async fn what_is_written_batch_by_batch_is_what_is_written_at_once() {
        let ward = Ward::empty().await;
        let at = AsOf::default();
        for rows in ["range(0, 20000)", "range(0, 3)", "range(0, 0)"] {
            let sql = format!("SELECT value, CASE WHEN value % 2 = 0 THEN 'a, \"b\"' END AS text FROM {rows} ORDER BY value");
            for format in [Format::Table, Format::Csv, Format::Json, Format::Ndjson] {
                let written = ward.warehouse.query_text(&sql, &at, format, Vec::new()).await.expect("answers");
                let at_once = render(&ward.warehouse.query(&sql, &at).await.expect("answers"), format).expect("has such a form");
                assert_eq!(String::from_utf8(written).expect("is text"), at_once, "{format:?} of {rows}");
            }
        }
    }

    #[test]
    fn texts_are_written_as_rows_are() {
        let rows = [vec!["a".to_owned(), "1, 2".to_owned()], vec!["b".to_owned(), String::new()]];
        let csv = render_texts(&["name", "told"], &rows, Format::Csv).expect("has a form");
        assert_eq!(csv, "name,told\na,\"1, 2\"\nb,\n");
        let json = render_texts(&["name"], &[vec!["a".to_owned()]], Format::Ndjson).expect("has a form");
        assert_eq!(json, "{\"name\":\"a\"}\n");
        assert!(render_texts(&[], &[], Format::Csv).is_err());
    }

    /// As behind the two ports: 8 in the morning in Berlin is 6 in UTC, in summer.
    #[tokio::test]
    async fn postgresql_s_spelling_is_understood() {
        let ward = Ward::empty().await;
        let sql = "SELECT timestamp '2024-07-01 08:00' AT TIME ZONE 'Europe/Berlin' = '2024-07-01T06:00:00Z'::timestamptz AS same, \
                   substring('ward 12' FROM '[0-9]+') AS number";
        let written = ward.warehouse.query_text(sql, &AsOf::default(), Format::Csv, Vec::new()).await.expect("answers");
        assert_eq!(String::from_utf8(written).expect("is text"), "same,number\ntrue,12\n");
    }

    #[tokio::test]
    async fn columns_of_one_name_are_written_under_it() {
        let ward = Ward::empty().await;
        for (sql, wanted) in [
            ("SELECT 1 AS a, 2 AS a", "a,a\n1,2\n"),
            ("SELECT * FROM (SELECT 1 AS a, 2 AS a WHERE false) AS t", "a,a\n"),
            ("SELECT sum(v), sum(v::numeric) = 1 AS t FROM (VALUES (1)) AS t(v)", "sum(t.v),t\n1,true\n"),
            ("SELECT count(v), count(v::text) FROM (VALUES (1)) AS t(v)", "count(t.v),count\n1,1\n"),
        ] {
            let written = ward.warehouse.query_text(sql, &AsOf::default(), Format::Csv, Vec::new()).await.expect(sql);
            assert_eq!(String::from_utf8(written).expect("is text"), wanted, "{sql}");
        }
    }
}
