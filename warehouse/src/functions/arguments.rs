//! The arguments of an aggregate as columns of numbers. A row with a NULL in any of them is left out; what is no number where one is
//! asked is refused before a row is read.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, BooleanArray, ByteView, Float64Array, LargeListArray,
    MAX_INLINE_VIEW_LEN, new_empty_array,
};
use datafusion::arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::{cast, filter};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, Schema, ToByteSlice};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use measures::{Column, Rows, RowsError, Shared};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How an aggregate is called, for who calls it otherwise.
pub type Usage = &'static str;

/// Whether a column can hold the label.
pub fn is_label(kind: &DataType) -> bool {
    kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Null)
}

/// Whether a column can hold a score, a weight, a threshold.
pub fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || matches!(kind, DataType::Null)
}

/// Whether a column can hold the probabilities of several classes.
pub fn is_list(kind: &DataType) -> bool {
    match kind {
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => is_number(of.data_type()),
        _ => false,
    }
}

/// Lists in one type; other columns as they are.
fn one_type(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(if is_list(column.data_type()) { cast(column, &packed(DataType::Float64))? } else { Arc::clone(column) })
}

/// Where a column states nothing: NULL, or an empty list.
fn unstated(column: &ArrayRef) -> Option<NullBuffer> {
    let empty = column.as_list_opt::<i64>().filter(|lists| lists.offsets().lengths().any(|length| length == 0));
    let filled = empty.map(|lists| NullBuffer::from_iter(lists.offsets().lengths().map(|length| length > 0)));
    NullBuffer::union(column.logical_nulls().as_ref(), filled.as_ref())
}

/// The rows in which every argument states something.
pub fn present(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let columns = values.iter().map(one_type).collect::<Result<Vec<_>>>()?;
    let nulls = columns.iter().fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), unstated(column).as_ref()));
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return Ok(columns) };
    let stated = BooleanArray::new(nulls.into_inner(), None);
    columns.iter().map(|column| Ok(filter(column, &stated)?)).collect()
}

fn refused(error: RowsError) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}

/// A column of doubles.
pub fn numbers(column: &ArrayRef) -> Result<Float64Array> {
    Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

/// The class of each row: a number or a truth. What is not whole is none.
fn labels(column: &ArrayRef) -> Result<Vec<u8>> {
    if let Some(truths) = column.as_boolean_opt() {
        return Ok(truths.values().iter().map(u8::from).collect());
    }
    if !column.data_type().is_integer() {
        let stated = numbers(column)?;
        if stated.values().iter().any(|label| label.fract() != 0.0) {
            return Err(refused(RowsError::NoClass));
        }
    }
    let whole = cast(column, &DataType::Int64)?;
    measures::classes(whole.as_primitive::<Int64Type>().values()).map_err(refused)
}

/// The numbers of a column without NULL, which are not copied.
pub fn shared(column: &Float64Array) -> Shared {
    Arc::new(column.values().clone())
}

/// Scores a row, and all of them. Of lists the longest counts; a NULL in a list is no number, and neither is a list of one.
fn scores(column: &ArrayRef) -> Result<(usize, Shared)> {
    let Some(lists) = column.as_list_opt::<i64>() else { return Ok((1, shared(&numbers(column)?))) };
    let stated: Vec<f64> = lists.values().as_primitive::<Float64Type>().iter().map(|one| one.unwrap_or(f64::NAN)).collect();
    let ends = || lists.offsets().windows(2).filter_map(|ends| stated.get(usize::try_from(ends[0]).ok()?..usize::try_from(ends[1]).ok()?));
    let width = ends().map(<[f64]>::len).max().unwrap_or(0).max(2);
    let mut all = Vec::with_capacity(width * lists.len());
    for list in ends() {
        all.extend_from_slice(if list.len() < 2 { &[f64::NAN, f64::NAN] } else { list });
        all.resize(all.len() + width - list.len().max(2), 0.0);
    }
    Ok((width, Arc::new(all)))
}

/// The columns (label, score, ..) parted by how long the lists of scores are; as they are where all are of one length.
pub fn by_length(columns: Vec<ArrayRef>) -> Result<Vec<Vec<ArrayRef>>> {
    let lists = columns.get(1).and_then(|scores| scores.as_list_opt::<i64>());
    let lengths: Vec<usize> = lists.map(|lists| lists.offsets().lengths().collect()).unwrap_or_default();
    let each: BTreeSet<usize> = lengths.iter().copied().collect();
    if each.len() < 2 {
        return Ok(vec![columns]);
    }
    let of_length = |wanted: usize| {
        let rows = BooleanArray::from(lengths.iter().map(|length| *length == wanted).collect::<Vec<bool>>());
        columns.iter().map(|column| Ok(filter(column, &rows)?)).collect::<Result<Vec<ArrayRef>>>()
    };
    each.into_iter().map(of_length).collect()
}

/// Rows of the columns label, score, and a threshold and a weight where they are given.
pub fn rows(label: &ArrayRef, score: &ArrayRef, threshold: Option<&ArrayRef>, weight: Option<&ArrayRef>) -> Result<Rows> {
    let column =
        |column: Option<&ArrayRef>| column.map_or(Ok(Vec::new()), |column| Ok::<_, DataFusionError>(numbers(column)?.values().to_vec()));
    let (width, scores) = scores(score)?;
    let rows = Rows::new(width, labels(label)?, scores).map_err(refused)?;
    Ok(rows.with_thresholds(column(threshold)?).with_weights(column(weight)?))
}

/// A whole number that is the same for all rows.
pub fn constant(expression: Option<&Arc<dyn PhysicalExpr>>, usage: Usage) -> Result<i64> {
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let value = expression.map(|expression| expression.evaluate(&none));
    match value {
        Some(Ok(ColumnarValue::Scalar(value))) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(number))) => Ok(number),
            _ => plan_err!("{usage}: a constant is no whole number"),
        },
        _ => plan_err!("{usage}: the numbers at the end are constants"),
    }
}

/// Refuses DISTINCT: two predictions that are alike are two predictions.
pub fn every_row_counts(is_distinct: bool, usage: Usage) -> Result<()> {
    if is_distinct {
        return not_impl_err!("{usage}: every row counts, and DISTINCT is not supported; choose rows in a subquery");
    }
    Ok(())
}

/// The type in which a column travels between partial and final aggregation.
pub fn packed(of: DataType) -> DataType {
    DataType::LargeList(Arc::new(Field::new_list_field(of, true)))
}

/// A field of a state.
pub fn state_field(aggregate: &str, what: &str, of: DataType) -> FieldRef {
    Arc::new(Field::new(format!("{aggregate}[{what}]"), packed(of), true))
}

/// The two fields of a state that are a column of numbers: the large batches, whose bytes travel as they lie, and what came behind them.
pub fn column_fields(aggregate: &str, what: &str) -> [FieldRef; 2] {
    [state_field(aggregate, &format!("large {what}"), DataType::BinaryView), state_field(aggregate, what, DataType::Float64)]
}

/// A column of a state, without copying it.
pub fn pack(column: ArrayRef) -> ScalarValue {
    let field = Arc::new(Field::new_list_field(column.data_type().clone(), true));
    let lengths = OffsetBuffer::from_lengths([column.len()]);
    ScalarValue::LargeList(Arc::new(LargeListArray::new(field, lengths, column, None)))
}

/// Numbers as the bytes they are.
struct Bytes(Shared);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref().to_byte_slice()
    }
}

/// The most numbers of a batch that travels as it lies: a view counts bytes in 32 bits.
const MOST_VIEWED: usize = 1 << 28;

/// A column of numbers in the two fields of its state; large batches are not copied.
pub fn pack_column(column: Column) -> Result<[ScalarValue; 2]> {
    let (pieces, last) = column.into_parts();
    let mut large = BinaryViewBuilder::new();
    let mut view = |numbers: Shared| {
        let bytes = Buffer::from(bytes::Bytes::from_owner(Bytes(numbers)));
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let block = large.append_block(bytes);
        large.try_append_view(block, 0, length)
    };
    for piece in pieces {
        if (*piece).as_ref().len() <= MOST_VIEWED {
            view(piece)?;
            continue;
        }
        for part in (*piece).as_ref().chunks(MOST_VIEWED) {
            view(Arc::new(part.to_vec()))?;
        }
    }
    Ok([pack(Arc::new(large.finish())), pack(Arc::new(Float64Array::from(last)))])
}

/// The doubles that state `row` of a packed column holds.
pub fn unpack(column: &ArrayRef, row: usize) -> Result<Float64Array> {
    match column.as_list_opt::<i64>() {
        Some(lists) if lists.is_valid(row) => numbers(&lists.value(row)),
        Some(_) => Ok(Float64Array::from(Vec::<f64>::new())),
        None => exec_err!("a state is a list of numbers"),
    }
}

/// The column of numbers that state `row` holds in its two fields.
pub fn unpack_column(large: &ArrayRef, last: &ArrayRef, row: usize) -> Result<Column> {
    let Some(lists) = large.as_list_opt::<i64>() else { return exec_err!("a state is a list of batches") };
    let batches = if lists.is_valid(row) { lists.value(row) } else { new_empty_array(&DataType::BinaryView) };
    let pieces = (0..batches.len()).map(|batch| piece(batches.as_binary_view(), batch)).collect();
    Ok(Column::of_parts(pieces, unpack(last, row)?.values()))
}

/// The numbers that one view holds, which are copied only where no double can lie there.
fn piece(batches: &BinaryViewArray, batch: usize) -> Shared {
    let bytes = batches.value(batch);
    let view = ByteView::from(batches.views()[batch]);
    match batches.data_buffers().get(view.buffer_index as usize) {
        Some(buffer) if bytes.len() > MAX_INLINE_VIEW_LEN as usize && bytes.as_ptr().cast::<f64>().is_aligned() => {
            let lies = buffer.slice_with_length(view.offset as usize, bytes.len());
            Arc::new(ScalarBuffer::<f64>::from(lies))
        }
        _ => Arc::new(bytes.chunks_exact(8).map(|eight| f64::from_ne_bytes(eight.try_into().unwrap_or_default())).collect::<Vec<_>>()),
    }
}
