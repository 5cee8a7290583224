//! Who is one person: merges that were told, and beyond them numbers that a sender lists together as one person's.
//!
//! A listing says less than a merge: numbers are given again, lent, and typed into the wrong record. So an identity that is listed with several
//! people joins none of them, and no listing says anything about what was merged by telling.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StructBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::merges::{append, columns, roots, told};

/// So many times over may it depend on who is one person whether others are. Each time all listings are looked at.
const TURNS: usize = 16;

/// `person_roots(priors, survivors, names, others, name_since, other_since)`: as `merge_roots` of the first two, and of listings: the best number
/// of a record, another that stands beside it, and since when (microseconds) there are records of either. Whoever was known first stands, so that
/// nobody known before changes; whom a merge was told into stands before all.
pub fn person_roots() -> ScalarUDF {
    ScalarUDF::from(PersonRoots { signature: Signature::any(6, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PersonRoots {
    signature: Signature,
}

impl ScalarUDFImpl for PersonRoots {
    fn name(&self) -> &'static str {
        "person_roots"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Struct(columns()), true))))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
        let (text, instant) = (list(DataType::Utf8), list(DataType::Int64));
        let kinds = [&text, &text, &text, &text, &instant, &instant];
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let arrays = arrays.iter().zip(kinds).map(|(array, kind)| Ok(cast(array, kind)?)).collect::<Result<Vec<ArrayRef>>>()?;
        let [priors, survivors, names, others, name_since, other_since] = arrays.as_slice() else {
            return exec_err!("person_roots(priors, survivors, names, others, name_since, other_since)");
        };
        let mut lists = ListBuilder::new(StructBuilder::from_fields(columns(), 0));
        for row in 0..priors.len() {
            let (priors, survivors) = (items(priors, row), items(survivors, row));
            let (names, others) = (items(names, row), items(others, row));
            let listings = listings((&names, &others), (&items(name_since, row), &items(other_since, row)));
            append(&mut lists, &persons(&told(&priors, &survivors), &listings));
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

/// What stands in a row's list; nothing where there is none.
fn items(lists: &ArrayRef, row: usize) -> ArrayRef {
    let lists = lists.as_list::<i32>();
    let items = lists.value(row);
    if lists.is_null(row) { items.slice(0, 0) } else { items }
}

/// A number that stands beside the best one of a record, and since when (microseconds) there are records of either.
#[derive(Clone, Copy)]
struct Listing<'a> {
    name: &'a str,
    other: &'a str,
    name_since: i64,
    other_since: i64,
}

fn listings<'a>((names, others): (&'a ArrayRef, &'a ArrayRef), (name_since, other_since): (&ArrayRef, &ArrayRef)) -> Vec<Listing<'a>> {
    let texts = names.as_string::<i32>().iter().zip(others.as_string::<i32>().iter());
    let since = name_since.as_primitive::<Int64Type>().iter().zip(other_since.as_primitive::<Int64Type>().iter());
    let all = texts.zip(since).filter_map(|((name, other), (name_since, other_since))| {
        Some(Listing { name: name?, other: other?, name_since: name_since?, other_since: other_since? })
    });
    all.collect()
}

/// (identity, the one that stands for it), of each that does not stand for itself. `told`: (prior, survivor), oldest first.
fn persons<'a>(told: &[(&'a str, &'a str)], listings: &[Listing<'a>]) -> Vec<(&'a str, &'a str)> {
    let merged: BTreeMap<&str, &str> = roots(told).into_iter().collect();
    let survivor = |identity: &'a str| merged.get(identity).copied().unwrap_or(identity);
    let (mut beside, mut since) = (Beside::new(), BTreeMap::<&str, i64>::new());
    for listing in listings {
        let (name, other) = (survivor(listing.name), survivor(listing.other));
        if name != other {
            beside.entry(other).or_default().insert(name);
        }
        for (identity, root, at) in [(listing.name, name, listing.name_since), (listing.other, other, listing.other_since)] {
            let at = if identity == root { at } else { i64::MIN };
            since.entry(root).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
    }
    let mut stands: BTreeMap<&str, &str> = BTreeMap::new();
    for group in Groups::of(&beside).members {
        let first = group.iter().copied().min_by_key(|identity| (since.get(identity).copied(), *identity));
        stands.extend(first.into_iter().flat_map(|first| group.iter().map(move |identity| (*identity, first))));
    }
    let standing = |root: &'a str| stands.get(root).copied().unwrap_or(root);
    let told = merged.iter().map(|(&identity, &root)| (identity, standing(root)));
    told.chain(stands.iter().filter(|(identity, first)| identity != first).map(|(identity, first)| (*identity, *first))).collect()
}

/// Of each identity the better ones that it stands beside.
type Beside<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Identities that are one person.
#[derive(Default)]
struct Groups<'a> {
    of: BTreeMap<&'a str, usize>,
    members: Vec<Vec<&'a str>>,
}

impl<'a> Groups<'a> {
    /// Joins an identity with those that it stands beside where these are one person, until nothing is left to be joined. In whatever order that is
    /// done the same comes out: what is joined makes several persons one, and never one several.
    fn of(beside: &Beside<'a>) -> Self {
        let mut groups = Self::default();
        for &identity in beside.iter().flat_map(|(other, names)| names.iter().chain(std::iter::once(other))) {
            if let Entry::Vacant(place) = groups.of.entry(identity) {
                place.insert(groups.members.len());
                groups.members.push(vec![identity]);
            }
        }
        for _ in 0..TURNS {
            let mut joined = false;
            for (other, names) in beside {
                let own = groups.of.get(other).copied();
                let of_names: BTreeSet<usize> = names.iter().filter_map(|name| groups.of.get(name).copied()).collect();
                let mut others = of_names.into_iter().filter(|group| Some(*group) != own);
                if let (Some(own), Some(one), None) = (own, others.next(), others.next()) {
                    groups.join(own, one);
                    joined = true;
                }
            }
            if !joined {
                break;
            }
        }
        groups
    }

    /// The smaller becomes part of the larger.
    fn join(&mut self, one: usize, other: usize) {
        let size = |group: usize| self.members.get(group).map_or(0, Vec::len);
        let (into, from) = if size(one) >= size(other) { (one, other) } else { (other, one) };
        let moved = self.members.get_mut(from).map(std::mem::take).unwrap_or_default();
        for &identity in &moved {
            self.of.insert(identity, into);
        }
        if let Some(members) = self.members.get_mut(into) {
            members.extend(moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (name, other), of which the name's records began at its place among these identities.
    fn listed<'a>(known: &[&'a str], pairs: &[(&'a str, &'a str)]) -> Vec<Listing<'a>> {
        let since =
            |identity: &str| known.iter().position(|one| *one == identity).and_then(|place| i64::try_from(place).ok()).unwrap_or(i64::MAX);
        pairs.iter().map(|&(name, other)| Listing { name, other, name_since: since(name), other_since: since(other) }).collect()
    }

    fn joined<'a>(told: &[(&'a str, &'a str)], known: &[&'a str], pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut all = persons(told, &listed(known, pairs));
        all.sort_unstable();
        all
    }

    #[test]
    fn whoever_was_known_first_stands_for_the_numbers_that_came_later() {
        assert_eq!(joined(&[], &["temporary", "record"], &[("record", "temporary")]), [("record", "temporary")]);
        assert_eq!(joined(&[], &["record", "temporary"], &[("record", "temporary")]), [("temporary", "record")]);
        let chain = [("record", "temporary"), ("enterprise", "temporary"), ("enterprise", "record")];
        let all = [("enterprise", "temporary"), ("record", "temporary")];
        assert_eq!(joined(&[], &["temporary", "record", "enterprise"], &chain), all);
        assert_eq!(joined(&[], &["temporary", "record", "enterprise"], &chain[..1]), all[1..], "and stands from the first listing on");
        assert_eq!(joined(&[], &["a", "b"], &[("a", "b"), ("b", "a")]), [("b", "a")], "listed now in this order, now in that");
    }

    #[test]
    fn a_number_that_is_listed_with_several_people_joins_none() {
        let shared = [("one", "shared"), ("another", "shared")];
        assert_eq!(joined(&[], &["shared", "one", "another"], &shared), vec![]);
        let below = [shared[0], shared[1], ("shared", "below"), ("third", "theirs")];
        assert_eq!(joined(&[], &["shared", "below", "theirs", "third"], &below), [("below", "shared"), ("third", "theirs")]);
        let merged = [("another", "one")];
        assert_eq!(
            joined(&merged, &["shared", "one", "another"], &shared),
            [("another", "one"), ("shared", "one")],
            "they are one by telling"
        );
    }

    #[test]
    fn a_told_merge_goes_before_every_listing() {
        let listed = [("record", "temporary")];
        let known = ["temporary", "record"];
        assert_eq!(joined(&[("temporary", "record")], &known, &listed), [("temporary", "record")]);
        assert_eq!(
            joined(&[("record", "survivor")], &known, &listed),
            [("record", "survivor"), ("temporary", "survivor")],
            "whom they were merged into stands, not who was known first"
        );
        assert_eq!(joined(&[("prior", "record")], &known, &listed), [("prior", "temporary"), ("record", "temporary")]);
    }

    #[test]
    fn the_same_listings_in_any_order_make_the_same_persons_and_each_ends_at_one_that_stands() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut state = 11_usize;
        let mut pick = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        let mut several = 0;
        for _ in 0..500 {
            let told: Vec<_> = (0..2).map(|_| (names[pick(8)], names[pick(8)])).collect();
            let mut pairs: Vec<_> = (0..6).map(|_| (names[pick(8)], names[pick(8)])).collect();
            let before = joined(&told, &names, &pairs);
            several += usize::from(before.len() > 3);
            for last in (1..pairs.len()).rev() {
                pairs.swap(last, pick(last + 1));
            }
            assert_eq!(joined(&told, &names, &pairs), before, "{told:?} {pairs:?}");
            let stands: BTreeMap<_, _> = before.iter().copied().collect();
            assert_eq!(stands.len(), before.len(), "an identity has one that stands for it: {told:?} {pairs:?}");
            assert!(stands.values().all(|one| !stands.contains_key(one)), "{told:?} {pairs:?}");
        }
        assert!(several > 100, "{several} of the draws join more than three");
    }
}
