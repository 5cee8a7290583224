//! Rows as a Parquet file whose bytes depend on the rows and their order alone: not on how an engine cut them into batches, on how many
//! threads it had, on the time or on the release.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{BatchCoalescer, cast};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use sha2::Digest as _;

use crate::error::QueryError;
use crate::metrics;
use crate::mistakes;
use crate::read::AsOf;
use crate::spelling::apart;
use crate::statement;
use crate::store::Warehouse;

/// Rows that the writer is handed at a time, and after which pages may end.
const CHUNK: usize = 1_024;

/// How the rows of a file lie.
#[derive(Clone, Copy)]
pub struct Layout {
    /// What stands as the program in every file of this layout. Another layout has another name.
    created_by: &'static str,
    /// Rows of a row group.
    group: usize,
    /// Columns of few values, each of which stands once a row group.
    repeated: &'static [&'static str],
}

impl Layout {
    /// Of rows that are texts for the most part.
    pub const TEXTS: Self = Self { created_by: "wardstream files 1", group: 4 * CHUNK, repeated: &[] };
    /// Of many short rows, which are asked for by their code.
    pub const CODES: Self = Self { created_by: "wardstream codes 1", group: 64 * CHUNK, repeated: &["code"] };

    fn properties(self) -> WriterProperties {
        let level = ZstdLevel::try_new(3).map_or(Compression::UNCOMPRESSED, Compression::ZSTD);
        let properties = WriterProperties::builder()
            .set_created_by(self.created_by.to_owned())
            .set_compression(level)
            .set_write_batch_size(CHUNK)
            .set_max_row_group_row_count(Some(self.group))
            // A dictionary that grows beyond a limit is given up, and its size depends on more than the rows: none, or one without a limit.
            .set_dictionary_enabled(false)
            .set_dictionary_page_size_limit(usize::MAX);
        self.repeated.iter().fold(properties, |all, name| all.set_column_dictionary_enabled(ColumnPath::from(*name), true)).build()
    }
}

/// A file that is being written.
pub struct Rows<W: Write + Send> {
    writer: ArrowWriter<W>,
    chunks: BatchCoalescer,
    schema: SchemaRef,
    rows: u64,
}

/// The same columns in the types that a file has: no views, no notes on the fields, NULL allowed everywhere.
pub fn plain(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let kind = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            // Parquet has no calendar's interval.
            DataType::Interval(_) => DataType::Utf8,
            other => other.clone(),
        };
        Field::new(field.name(), kind, true)
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

impl<W: Write + Send> Rows<W> {
    /// Begins a file of these columns.
    ///
    /// # Errors
    /// Where the destination cannot be written, or a column has no Parquet type.
    pub fn begin(destination: W, schema: SchemaRef, layout: Layout) -> Result<Self, ParquetError> {
        let writer = ArrowWriter::try_new(destination, Arc::clone(&schema), Some(layout.properties()))?;
        Ok(Self { writer, chunks: BatchCoalescer::new(Arc::clone(&schema), CHUNK), schema, rows: 0 })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Where they do not fit the columns, or the destination cannot be written.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
        self.rows += batch.num_rows() as u64;
        self.chunks.push_batch(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        self.write()
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file and gives the destination back.
    ///
    /// # Errors
    /// Where the destination cannot be written.
    pub fn end(mut self) -> Result<W, ParquetError> {
        self.chunks.finish_buffered_batch()?;
        self.write()?;
        self.writer.into_inner()
    }

    fn write(&mut self) -> Result<(), ParquetError> {
        while let Some(chunk) = self.chunks.next_completed_batch() {
            self.writer.write(&chunk)?;
        }
        Ok(())
    }
}

/// The rows of a query did not become a file or a text.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// Mend the query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The destination is away, or a column has no Parquet type.
    #[error("could not write the rows as Parquet")]
    Write(#[from] ParquetError),
    /// The destination is away, or a column has no such form.
    #[error("could not write the rows")]
    Text(#[source] datafusion::arrow::error::ArrowError),
}

impl Warehouse {
    /// Answers one query as a Parquet file, batch by batch. Only what reads plans at all.
    ///
    /// # Errors
    /// Where the query is refused or cannot be answered, or the destination cannot be written.
    pub async fn query_parquet<W: Write + Send>(&self, sql: &str, at: &AsOf, destination: W) -> Result<W, RowsError> {
        metrics::queried("parquet");
        let frame = mistakes::opened(self, sql, at).await?;
        let mut rows = Rows::begin(destination, plain(&apart::shown(frame.schema().inner())), Layout::TEXTS)?;
        let mistake = mistakes::of_rows(sql);
        let mut stream = statement::rows(frame).await.map_err(mistake)?;
        while let Some(batch) = stream.try_next().await.map_err(mistake)? {
            rows.push(&batch)?;
        }
        Ok(rows.end()?)
    }
}

/// Takes the digest of what passes through.
pub struct Digested<W> {
    inner: W,
    hasher: sha2::Sha256,
    bytes: u64,
}

impl<W: Write> Digested<W> {
    /// Nothing has passed yet.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: sha2::Sha256::new(), bytes: 0 }
    }

    /// The destination, how many bytes it got, and their SHA-256 in hexadecimal digits.
    pub fn end(self) -> (W, u64, String) {
        let digest: [u8; 32] = self.hasher.finalize().into();
        (self.inner, self.bytes, digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray, StringViewArray};

    use super::*;

    fn written(layout: Layout, cut: usize, text: impl Fn(&[String]) -> datafusion::arrow::array::ArrayRef) -> String {
        let texts: Vec<String> = (0..10_000).map(|row| format!("text {}", row % 977)).collect();
        let mut rows: Option<Rows<Digested<Vec<u8>>>> = None;
        for (part, texts) in texts.chunks(cut).enumerate() {
            let numbers = (0..texts.len()).map(|row| i64::try_from(part * cut + row).ok()).collect::<Int64Array>();
            let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _), ("code", text(texts))]).expect("fits");
            let rows = rows.get_or_insert_with(|| Rows::begin(Digested::new(Vec::new()), plain(&batch.schema()), layout).expect("begins"));
            rows.push(&batch).expect("fits");
        }
        rows.expect("has rows").end().expect("ends").end().2
    }

    #[test]
    fn the_bytes_do_not_depend_on_how_the_rows_were_cut_or_held() {
        let plain = |texts: &[String]| Arc::new(StringArray::from(texts.to_vec())) as _;
        let views = |texts: &[String]| Arc::new(StringViewArray::from_iter_values(texts)) as _;
        for layout in [Layout::TEXTS, Layout::CODES] {
            let first = written(layout, 10_000, plain);
            for cut in [1, 7, 1_000, 8_192] {
                assert_eq!(written(layout, cut, plain), first, "cut after {cut}");
                assert_eq!(written(layout, cut, views), first, "views cut after {cut}");
            }
        }
    }
}
