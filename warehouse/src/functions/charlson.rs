//! Charlson's index of a stay's codes: conditions after Quan 2005 (ICD-9-CM and ICD-10), weights of Charlson 1987,
//! severe forms over mild ones, no points for age.

use std::collections::BTreeSet;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use std::sync::{Arc, LazyLock};

const CODES: &str = include_str!("../../codes/charlson-quan-2005.tsv");

/// Version of the code set; part of every dataset's id.
pub const VERSION: &str = "charlson-quan-2005/1";

struct Condition {
    name: &'static str,
    weight: i64,
    icd10: Vec<&'static str>,
    icd9: Vec<&'static str>,
}

/// The file's lines: name, weight, ICD-10 prefixes, ICD-9-CM prefixes, tab-separated; codes without their dot.
static CONDITIONS: LazyLock<Vec<Condition>> = LazyLock::new(|| {
    let lines = CODES.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .filter_map(|line| {
            let mut columns = line.split('\t');
            let (name, weight) = (columns.next()?, columns.next()?.parse().ok()?);
            let mut codes = || columns.next().map(|column| column.split(' ').filter(|code| !code.is_empty()).collect());
            Some(Condition { name, weight, icd10: codes()?, icd9: codes()? })
        })
        .collect()
});

/// Mild forms that do not count beside their severe ones.
const SUPERSEDED: [(&str, &str); 3] = [("mild_liver", "severe_liver"), ("diabetes", "diabetes_complicated"), ("cancer", "metastatic")];

/// The index of codes written `ICD10CM/I50.9`, `ICD9CM/428.0`.
pub fn index<'a>(codes: impl Iterator<Item = &'a str>) -> i64 {
    let mut found = BTreeSet::new();
    for code in codes {
        let Some((system, code)) = code.split_once('/') else { continue };
        let bare: String = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
        for condition in CONDITIONS.iter() {
            let prefixes = if system == "ICD9CM" { &condition.icd9 } else { &condition.icd10 };
            if prefixes.iter().any(|prefix| bare.starts_with(prefix)) {
                found.insert(condition.name);
            }
        }
    }
    for (mild, severe) in SUPERSEDED {
        if found.contains(severe) {
            found.remove(mild);
        }
    }
    CONDITIONS.iter().filter(|condition| found.contains(condition.name)).map(|condition| condition.weight).sum()
}

/// `charlson(code)` over the codes of a group; 0 where none of them counts.
pub fn aggregate() -> AggregateUDF {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    create_udaf(
        "charlson",
        vec![DataType::Utf8],
        Arc::new(DataType::Int64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::<Codes>::default())),
        Arc::new(vec![list]),
    )
}

#[derive(Debug, Default)]
struct Codes(BTreeSet<String>);

impl Codes {
    fn take_in(&mut self, codes: &ArrayRef) -> Result<()> {
        let codes = cast(codes, &DataType::Utf8)?;
        self.0.extend(codes.as_string::<i32>().iter().flatten().map(str::to_owned));
        Ok(())
    }
}

impl Accumulator for Codes {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.iter().try_for_each(|codes| self.take_in(codes))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut list = ListBuilder::new(StringBuilder::new());
        self.0.iter().for_each(|code| list.values().append_value(code));
        list.append(true);
        Ok(vec![ScalarValue::List(Arc::new(list.finish()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states {
            let lists = state.as_list::<i32>();
            (0..lists.len()).try_for_each(|row| self.take_in(&lists.value(row)))?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(index(self.0.iter().map(String::as_str)))))
    }

    fn size(&self) -> usize {
        std::mem::size_of_val(self) + self.0.iter().map(|code| code.capacity() + 24).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severe_forms_stand_for_mild_ones() {
        let cases: [(&[&str], i64); 8] = [
            (&[], 0),
            (&["ICD10CM/I50.9"], 1),
            (&["ICD10CM/I50.9", "ICD9CM/428.0"], 1),
            (&["ICD10CM/E11.9", "ICD10CM/E11.22", "ICD10CM/N18.3"], 4),
            (&["ICD10CM/C34.90", "ICD10CM/C78.00"], 6),
            (&["ICD9CM/571.5", "ICD9CM/572.3"], 3),
            (&["ICD10CM/J44.9", "ICD10CM/F03.90", "ICD10CM/Z59.0"], 2),
            (&["ICD10CM/B20", "SNOMED/38341003"], 6),
        ];
        for (codes, expected) in cases {
            assert_eq!(index(codes.iter().copied()), expected, "{codes:?}");
        }
    }
}
