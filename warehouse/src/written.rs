//! Bytes that rows take where they are written out, value by value. Nothing is copied for it, and of a slice only what it shows counts.

use std::ops::Range;

use datafusion::arrow::array::{Array, AsArray, GenericByteArray, GenericListArray, OffsetSizeTrait, RecordBatch};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{ByteArrayType, DataType};

/// A text of the engine's, and what it takes beside what it points to.
const VIEW: usize = 16;

/// What a batch may take of values that are written out, or computed, at once.
pub(crate) const BATCH_BYTES: usize = 64 << 20;

/// What a text counts for that is a view into a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Views {
    /// For itself: whoever copies it points to the same text.
    Shared,
    /// For its text, as often as it stands there.
    Written,
}

/// Bytes of these rows of the array, without what says where each begins.
pub(crate) fn bytes(array: &dyn Array, rows: Range<usize>, views: Views) -> usize {
    match array.data_type() {
        DataType::Utf8 => of_bytes(array.as_string::<i32>(), &rows),
        DataType::LargeUtf8 => of_bytes(array.as_string::<i64>(), &rows),
        DataType::Binary => of_bytes(array.as_binary::<i32>(), &rows),
        DataType::LargeBinary => of_bytes(array.as_binary::<i64>(), &rows),
        DataType::Utf8View => of_views(array.as_string_view().views(), rows, views),
        DataType::BinaryView => of_views(array.as_binary_view().views(), rows, views),
        DataType::List(_) => of_lists(array.as_list::<i32>(), &rows, views),
        DataType::LargeList(_) => of_lists(array.as_list::<i64>(), &rows, views),
        DataType::Map(..) => bytes(array.as_map().entries(), elements(array.as_map().offsets(), &rows), views),
        DataType::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).unwrap_or(0);
            bytes(array.as_fixed_size_list().values().as_ref(), rows.start * length..rows.end * length, views)
        }
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            columns.fold(0, |sum: usize, column| sum.saturating_add(bytes(column.as_ref(), rows.clone(), views)))
        }
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(0).saturating_mul(rows.len()),
        other => other.primitive_width().unwrap_or(VIEW).saturating_mul(rows.len()),
    }
}

/// Bytes of the longest value, at most.
pub(crate) fn longest(array: &dyn Array) -> usize {
    match array.data_type() {
        DataType::Utf8 => most(array.as_string::<i32>().offsets()),
        DataType::LargeUtf8 => most(array.as_string::<i64>().offsets()),
        DataType::Binary => most(array.as_binary::<i32>().offsets()),
        DataType::LargeBinary => most(array.as_binary::<i64>().offsets()),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Map(..) => {
            (0..array.len()).map(|row| bytes(array, row..row + 1, Views::Shared)).max().unwrap_or(0)
        }
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            columns.fold(0, |sum: usize, column| sum.saturating_add(longest(column.as_ref())))
        }
        _ => 0,
    }
}

fn most<T: OffsetSizeTrait>(offsets: &OffsetBuffer<T>) -> usize {
    offsets.lengths().max().unwrap_or(0)
}

fn of_bytes<T: ByteArrayType>(texts: &GenericByteArray<T>, rows: &Range<usize>) -> usize {
    elements(texts.offsets(), rows).len()
}

fn of_views(texts: &[u128], rows: Range<usize>, views: Views) -> usize {
    let own = VIEW.saturating_mul(rows.len());
    if views == Views::Shared {
        return own;
    }
    // The lowest 32 bits of a view are its text's length.
    let length = |view: &u128| usize::try_from(view & u128::from(u32::MAX)).unwrap_or(0);
    texts.get(rows).unwrap_or_default().iter().fold(own, |sum, view| sum.saturating_add(length(view)))
}

fn of_lists<T: OffsetSizeTrait>(lists: &GenericListArray<T>, rows: &Range<usize>, views: Views) -> usize {
    bytes(lists.values().as_ref(), elements(lists.offsets(), rows), views)
}

/// What lies between the first and the last of these rows.
pub(crate) fn elements<T: OffsetSizeTrait>(offsets: &OffsetBuffer<T>, rows: &Range<usize>) -> Range<usize> {
    let [from, until] = [rows.start, rows.end].map(|row| offsets.get(row).map_or(0, |place| place.as_usize()));
    from..until
}

/// Whether values of this kind may be long.
pub(crate) fn is_long(kind: &DataType) -> bool {
    !kind.is_primitive() && !matches!(kind, DataType::Boolean | DataType::Null)
}

/// The batch in parts that take so much, or have one row. `of` tells what some of its rows take; most batches fit, and are asked about once.
pub(crate) fn parts(batch: &RecordBatch, limit_bytes: usize, of: impl Fn(Range<usize>) -> usize) -> Vec<RecordBatch> {
    if batch.num_rows() > 0 && of(0..batch.num_rows()) <= limit_bytes {
        return vec![batch.clone()];
    }
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0_usize);
    for row in 0..batch.num_rows() {
        let more = of(row..row + 1);
        if row > from && bytes.saturating_add(more) > limit_bytes {
            parts.push(batch.slice(from, row - from));
            (from, bytes) = (row, 0);
        }
        bytes = bytes.saturating_add(more);
    }
    if from < batch.num_rows() {
        parts.push(batch.slice(from, batch.num_rows() - from));
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, DictionaryArray, FixedSizeListArray, Int64Array, ListArray, NullArray, StringArray, StringViewArray, StructArray,
    };
    use datafusion::arrow::datatypes::{Field, Int32Type, Int64Type};

    use super::*;

    fn lists(values: ArrayRef, lengths: &[usize]) -> ListArray {
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        ListArray::new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None)
    }

    fn shared(array: &dyn Array, rows: Range<usize>) -> usize {
        bytes(array, rows, Views::Shared)
    }

    #[test]
    fn a_slice_counts_what_it_shows() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["one", "two", "seventeen letters"]));
        assert_eq!((shared(&texts, 0..3), shared(&texts, 1..2), shared(&texts, 3..3)), (23, 3, 0));
        assert_eq!(shared(&texts.slice(1, 2), 1..2), 17);
        let nested = lists(Arc::clone(&texts), &[2, 0, 1]);
        assert_eq!((shared(&nested, 0..3), shared(&nested, 1..2), shared(&nested.slice(2, 1), 0..1)), (23, 0, 17));
        let twice = lists(Arc::new(nested), &[1, 2]);
        assert_eq!((shared(&twice, 0..1), shared(&twice.slice(1, 1), 0..1)), (6, 17));
        let both = StructArray::from(vec![
            (Arc::new(Field::new("text", DataType::Utf8, true)), Arc::clone(&texts)),
            (Arc::new(Field::new("number", DataType::Int64, true)), Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ]);
        assert_eq!(shared(&both.slice(2, 1), 0..1), 17 + 8);
    }

    #[test]
    fn a_view_counts_for_its_text_where_that_is_written() {
        let views = StringViewArray::from(vec!["short", "a text that lies in a buffer"]);
        assert_eq!((bytes(&views, 0..2, Views::Shared), bytes(&views, 0..2, Views::Written)), (32, 32 + 5 + 28));
        assert_eq!(bytes(&views.slice(1, 1), 0..1, Views::Written), 16 + 28);
        let nested = lists(Arc::new(views), &[0, 2]);
        assert_eq!((bytes(&nested, 0..1, Views::Written), bytes(&nested, 1..2, Views::Written)), (0, 65));
    }

    #[test]
    fn what_is_empty_or_of_a_rare_kind_is_measured() {
        let nothing = FixedSizeListArray::new_null(Arc::new(Field::new("item", DataType::Int64, true)), 0, 3);
        assert_eq!((shared(&nothing, 0..3), shared(&StringArray::from(Vec::<&str>::new()), 0..0)), (0, 0));
        let words: DictionaryArray<Int32Type> = ["one", "one", "two"].into_iter().collect();
        assert!(shared(&words, 0..3) <= 48 && shared(&NullArray::new(3), 0..3) <= 48);
    }

    #[test]
    fn the_longest_value_is_measured_whatever_its_kind() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), None, Some("seventeen letters")]));
        let lists: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), Some(2)]), None, Some(vec![None])]));
        let both = StructArray::from(vec![
            (Arc::new(Field::new("text", DataType::Utf8, true)), Arc::clone(&texts)),
            (Arc::new(Field::new("list", lists.data_type().clone(), true)), Arc::clone(&lists)),
        ]);
        assert_eq!(longest(texts.as_ref()), 17);
        assert_eq!(longest(texts.slice(0, 2).as_ref()), 3);
        assert!((16..=24).contains(&longest(lists.as_ref())), "{}", longest(lists.as_ref()));
        assert_eq!(longest(&both), 17 + longest(lists.as_ref()));
        assert_eq!(longest(&StringViewArray::from(vec!["a text that is a view into a buffer"])), 0);
        assert_eq!(longest(&Int64Array::from(vec![1, 2])), 0);
    }

    #[test]
    fn a_long_value_in_a_list_is_not_shared_out_among_short_ones() {
        let texts = std::iter::repeat_n("x".to_owned(), 999).chain(["x".repeat(100_000)]);
        let field = Arc::new(Field::new("item", DataType::Utf8, false));
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let lists = ListArray::new(field, OffsetBuffer::from_lengths(std::iter::repeat_n(1, 1_000)), values, None);
        assert_eq!(longest(&lists), 100_000);
        assert_eq!(longest(&lists.slice(0, 999)), 1);
        assert_eq!(longest(&lists.slice(0, 0)), 0);
    }
}
