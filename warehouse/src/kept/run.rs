//! Rows that were written to a file of their own, in Arrow's IPC format: each batch is read in one piece, and only the columns that are asked for are
//! made of it.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use datafusion::arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{exec_datafusion_err, internal_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::spill_file::SpillFile;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

/// A file is written anew when fewer of its rows than this part still stand.
const STANDING: f64 = 0.75;

/// Rows in a file. The file goes when nobody reads it any more.
#[derive(Clone)]
pub(super) struct Run {
    file: Arc<dyn SpillFile>,
    /// Which rows stand, where not all do.
    standing: Option<BooleanBuffer>,
    rows: usize,
    /// In memory, all of them.
    bytes: usize,
}

impl Run {
    /// The rows of these batches.
    ///
    /// # Errors
    /// Where the disk is full.
    pub(super) fn written(schema: &SchemaRef, batches: &[RecordBatch], disk: &Arc<DiskManager>) -> Result<Self> {
        let file = disk.create_tmp_file("kept rows")?;
        let mut writer = FileWriter::try_new(BufWriter::new(file.open_writer()?), schema)?;
        for batch in batches {
            writer.write(batch)?;
        }
        writer.finish()?;
        let mut written = writer.into_inner()?.into_inner().map_err(|error| DataFusionError::IoError(error.into_error()))?;
        written.finish()?;
        let of = |count: fn(&RecordBatch) -> usize| batches.iter().map(count).sum();
        Ok(Self { file, standing: None, rows: of(RecordBatch::num_rows), bytes: of(RecordBatch::get_array_memory_size) })
    }

    /// How many rows stand.
    pub(super) fn rows(&self) -> usize {
        self.standing.as_ref().map_or(self.rows, BooleanBuffer::count_set_bits)
    }

    /// What those would be in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes * self.rows() / self.rows.max(1)
    }

    /// The rows that stand, in these columns (or in all).
    pub(super) fn read(&self, columns: Option<Vec<usize>>) -> BoxStream<'static, Result<RecordBatch>> {
        let Some(standing) = self.standing.clone() else { return self.read_all(columns) };
        let mut at = 0;
        let standing = move |batch: RecordBatch| {
            let of_batch = standing.slice(at, batch.num_rows());
            at += batch.num_rows();
            Ok(filter_record_batch(&batch, &BooleanArray::new(of_batch, None))?)
        };
        self.read_all(columns).map_ok(standing).map(Result::flatten).boxed()
    }

    /// The run without the rows that do not hold by what stands in the column: `None` where so few are left that they are better written anew.
    ///
    /// # Errors
    /// Where the file cannot be read, or it cannot be told which rows hold.
    pub(super) async fn without(&self, column: usize, holds: impl Fn(&ArrayRef) -> Result<BooleanArray>) -> Result<Option<Self>> {
        let mut holding = BooleanBufferBuilder::new(self.rows);
        let mut batches = self.read_all(Some(vec![column]));
        while let Some(batch) = batches.try_next().await? {
            holding.append_buffer(holds(batch.column(0))?.values());
        }
        let holding = holding.finish();
        let standing = match &self.standing {
            Some(standing) => standing & &holding,
            None => holding,
        };
        let left = standing.count_set_bits();
        if (left as f64) < STANDING * self.rows as f64 {
            return Ok(None);
        }
        Ok(Some(Self { standing: (left < self.rows).then_some(standing), ..self.clone() }))
    }

    /// The file.
    #[cfg(test)]
    pub(super) fn path(&self) -> Option<std::path::PathBuf> {
        self.file.path().map(std::path::Path::to_owned)
    }

    /// Every row that was written.
    fn read_all(&self, columns: Option<Vec<usize>>) -> BoxStream<'static, Result<RecordBatch>> {
        let file = Arc::clone(&self.file);
        let open = move || {
            let path = file.path().ok_or_else(|| internal_datafusion_err!("kept rows lie in no file of this machine"))?;
            let reader = FileReader::try_new(File::open(path)?, columns)?;
            Ok::<_, DataFusionError>((reader, file))
        };
        let next = |mut place: (FileReader<File>, Arc<dyn SpillFile>)| {
            let batch = place.0.next().transpose()?;
            Ok(batch.map(|batch| (batch, place)))
        };
        stream::once(blocking(open))
            .map_ok(move |place| stream::try_unfold(place, move |place| blocking(move || next(place))))
            .try_flatten()
            .boxed()
    }
}

/// Where a disk may be waited for without holding up others.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| exec_datafusion_err!("kept rows were not read: {error}"))?
}
