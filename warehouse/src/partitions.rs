//! The partitions of a window's rows, as they come batch by batch in order: one begins where the columns that name it change.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::partition;
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;

/// The partitions of a stream of rows. Nothing is held but what names the last row's.
pub(crate) struct Partitions {
    by: Vec<Arc<dyn PhysicalExpr>>,
    converter: Option<RowConverter>,
    last: Option<OwnedRow>,
    is_begun: bool,
}

impl Partitions {
    pub(crate) fn new(by: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self { by, converter: None, last: None, is_begun: false }
    }

    /// The rows of each partition in the batch, and whether the first of them goes on with the last partition of the batch before.
    ///
    /// # Errors
    /// Where the columns that name them cannot be computed.
    pub(crate) fn of(&mut self, batch: &RecordBatch) -> Result<(Vec<Range<usize>>, bool)> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok((Vec::new(), self.is_begun));
        }
        let was_begun = std::mem::replace(&mut self.is_begun, true);
        if self.by.is_empty() {
            return Ok((std::iter::once(0..rows).collect(), was_begun));
        }
        let names = self.by.iter().map(|expr| expr.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let first = self.name(&names, 0)?;
        let goes_on = self.last.as_ref() == Some(&first);
        self.last = Some(self.name(&names, rows - 1)?);
        Ok((partition(&names)?.ranges(), goes_on))
    }

    /// What names the partition of the row.
    fn name(&mut self, columns: &[ArrayRef], row: usize) -> Result<OwnedRow> {
        let one: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
        if self.converter.is_none() {
            self.converter = Some(RowConverter::new(one.iter().map(|column| SortField::new(column.data_type().clone())).collect())?);
        }
        let Some(converter) = &mut self.converter else { return internal_err!("there is a converter") };
        Ok(converter.convert_columns(&one)?.row(0).owned())
    }
}
