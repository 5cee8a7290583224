//! Who stands for whom after merges: a forest over identities, newest merge first, circles cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ListBuilder, StringBuilder, StructBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::structs::Columns;

/// `merge_roots(merges)`: of a list of structs (`prior`, `survivor`, `at` in microseconds) in whatever order, a list of (`patient_id`, `survivor_id`),
/// one for each identity that does not stand for itself.
pub fn merge_roots() -> ScalarUDF {
    ScalarUDF::from(MergeRoots { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MergeRoots {
    signature: Signature,
}

/// The columns of an answer.
pub(super) fn columns() -> Fields {
    Fields::from(vec![Field::new("patient_id", DataType::Utf8, true), Field::new("survivor_id", DataType::Utf8, true)])
}

impl ScalarUDFImpl for MergeRoots {
    fn name(&self) -> &'static str {
        "merge_roots"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Struct(columns()), true))))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [merges] = arrays.as_slice() else { return exec_err!("merge_roots(merges)") };
        let mut lists = ListBuilder::new(StructBuilder::from_fields(columns(), 0));
        for row in 0..merges.len() {
            append(&mut lists, &roots(&told(&Columns::of(merges, row, (["prior", "survivor"], ["at"]))?)));
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

/// (prior, survivor) from the oldest merge to the newest.
pub(super) fn told(merges: &Columns<2, 1>) -> Vec<(&str, &str)> {
    let mut merges: Vec<_> = merges.pairs().map(|(prior, survivor, at)| (at, prior, survivor)).collect();
    merges.sort_unstable();
    merges.into_iter().map(|(_, prior, survivor)| (prior, survivor)).collect()
}

/// One row's answer: identities and who stands for each.
pub(super) fn append(lists: &mut ListBuilder<StructBuilder>, standing: &[(&str, &str)]) {
    for (patient, survivor) in standing {
        for (column, text) in [patient, survivor].into_iter().enumerate() {
            if let Some(builder) = lists.values().field_builder::<StringBuilder>(column) {
                builder.append_value(text);
            }
        }
        lists.values().append(true);
    }
    lists.append(true);
}

/// The survivor of each identity that was merged away. `merges`: (prior, survivor), oldest first.
pub(super) fn roots<'a>(merges: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut newest: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (age, (prior, survivor)) in merges.iter().enumerate().filter(|(_, (prior, survivor))| prior != survivor) {
        newest.insert(prior, (age, survivor));
    }
    let mut walked = BTreeSet::new();
    for start in newest.keys().copied().collect::<Vec<_>>() {
        cut_circle(start, &mut newest, &mut walked);
    }
    let mut ends: BTreeMap<&str, &str> = BTreeMap::new();
    for start in newest.keys() {
        let (mut way, mut patient) = (Vec::new(), *start);
        while let (None, Some((_, next))) = (ends.get(patient), newest.get(patient)) {
            way.push(patient);
            patient = *next;
        }
        let end = ends.get(patient).copied().unwrap_or(patient);
        ends.extend(way.into_iter().map(|patient| (patient, end)));
    }
    ends.into_iter().collect()
}

/// If the way from `start` runs into a circle, the survivor of the circle's newest merge stands from now on. From those that were `walked` no way runs
/// into one any more, so that a long chain is walked once.
fn cut_circle<'a>(start: &'a str, newest: &mut BTreeMap<&'a str, (usize, &'a str)>, walked: &mut BTreeSet<&'a str>) {
    let mut way = BTreeSet::new();
    let mut patient = start;
    let entry = loop {
        if walked.contains(patient) {
            break None;
        }
        if !way.insert(patient) {
            break Some(patient);
        }
        match newest.get(patient) {
            Some((_, next)) => patient = *next,
            None => break None,
        }
    };
    walked.extend(way);
    let Some(entry) = entry else { return };
    let mut last = None;
    while let Some(merge) = newest.get(patient).copied() {
        last = last.max(Some(merge));
        patient = merge.1;
        if patient == entry {
            break;
        }
    }
    if let Some((_, survivor)) = last {
        newest.remove(survivor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_at_its_last_survivor_in_whatever_order_it_was_told() {
        let all = vec![("a", "d"), ("b", "d"), ("c", "d")];
        assert_eq!(roots(&[("a", "b"), ("b", "c"), ("c", "d")]), all);
        assert_eq!(roots(&[("c", "d"), ("b", "c"), ("a", "b")]), all);
    }

    /// As many steps as it has merges would each take would not come to an end.
    #[test]
    fn a_long_chain_is_walked_once() {
        let names: Vec<String> = (0..200_000).map(|name| format!("{name:06}")).collect();
        let chain: Vec<(&str, &str)> = names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        let ends = roots(&chain);
        assert_eq!(ends.len(), chain.len());
        assert!(ends.iter().all(|(_, end)| *end == "199999"));
    }

    #[test]
    fn in_a_circle_the_newest_merge_counts() {
        assert_eq!(roots(&[("a", "b"), ("b", "a")]), vec![("b", "a")]);
        assert_eq!(roots(&[("a", "b"), ("b", "c"), ("c", "a")]), vec![("b", "a"), ("c", "a")]);
        assert_eq!(roots(&[("x", "a"), ("b", "a"), ("a", "b")]), vec![("a", "b"), ("x", "b")]);
    }

    #[test]
    fn a_second_merge_of_one_identity_corrects_the_first() {
        assert_eq!(roots(&[("a", "b"), ("a", "c")]), vec![("a", "c")]);
        assert_eq!(roots(&[("a", "a")]), vec![]);
    }

    #[test]
    fn every_identity_of_random_merges_ends_at_one_that_stands() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let mut state = 11_usize;
        let mut pick = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            names.get((state >> 33) % names.len()).copied().unwrap_or("a")
        };
        for _ in 0..500 {
            let merges: Vec<_> = (0..8).map(|_| (pick(), pick())).collect();
            let resolved: BTreeMap<_, _> = roots(&merges).into_iter().collect();
            assert!(resolved.values().all(|survivor| !resolved.contains_key(survivor)), "{merges:?}");
        }
    }
}
