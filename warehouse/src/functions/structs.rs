//! The structs of a list, column by column. An aggregate that gathers them in whatever order holds them as they came; one that puts them in order holds
//! kilobytes for each.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, new_empty_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};

/// The columns of the structs of a row's list: texts, and whole numbers.
pub struct Columns<const T: usize, const N: usize> {
    texts: [ArrayRef; T],
    numbers: [ArrayRef; N],
}

impl<const T: usize, const N: usize> Columns<T, N> {
    /// Without rows where there is no list.
    ///
    /// # Errors
    /// Where it is no list of structs, or one of these columns is missing or of another kind.
    pub fn of(lists: &ArrayRef, row: usize, (texts, numbers): ([&str; T], [&str; N])) -> Result<Self> {
        let structs = match lists.as_list_opt::<i32>() {
            Some(lists) => lists.is_valid(row).then(|| lists.value(row)),
            None if lists.data_type() == &DataType::Null => None,
            None => return exec_err!("a list of structs is asked for"),
        };
        let mut found = Vec::with_capacity(T + N);
        for (name, kind) in texts.map(|name| (name, DataType::Utf8)).into_iter().chain(numbers.map(|name| (name, DataType::Int64))) {
            let Some(structs) = &structs else {
                found.push(new_empty_array(&kind));
                continue;
            };
            match structs.as_struct_opt().and_then(|structs| structs.column_by_name(name)) {
                Some(column) => found.push(cast(column, &kind)?),
                None => return exec_err!("structs that have {name} are asked for"),
            }
        }
        let mut found = found.into_iter();
        let mut next = || found.next().unwrap_or_else(|| new_empty_array(&DataType::Null));
        Ok(Self { texts: std::array::from_fn(|_| next()), numbers: std::array::from_fn(|_| next()) })
    }

    /// In the order asked for.
    pub fn texts(&self) -> [&StringArray; T] {
        self.texts.each_ref().map(|column| column.as_string::<i32>())
    }

    /// In the order asked for.
    pub fn numbers(&self) -> [&Int64Array; N] {
        self.numbers.each_ref().map(|column| column.as_primitive::<Int64Type>())
    }
}

/// The text of a row, unless it is NULL.
pub fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// The number of a row, unless it is NULL.
pub fn number(column: &Int64Array, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}

impl Columns<2, 1> {
    /// Two identities, and when something was said of them.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        let ([one, other], [at]) = (self.texts(), self.numbers());
        (0..one.len()).filter_map(move |row| Some((text(one, row)?, text(other, row)?, number(at, row)?)))
    }
}
