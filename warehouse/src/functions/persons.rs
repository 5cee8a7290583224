//! Who is one person: merges that were told, and beyond them numbers that a sender lists together as one person's.
//!
//! A listing says less than a merge: numbers are given again, lent, and typed into the wrong record. So an identity that is listed with several
//! people joins none of them, no listing says anything about what was merged by telling, and numbers that only others tie together stay apart where
//! their birth dates or an unlinking speak against it: none can say which of the ties is the wrong one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ListBuilder, StructBuilder};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::merges::{append, columns, roots, told};
use super::structs::{Columns, number, text};

/// So many times over may it depend on who is one person whether others are. Each time all listings are looked at.
const TURNS: usize = 16;

/// Characters of a birth date to the day.
const DAY: usize = 10;

/// `person_roots(merges, listings, unlinked)`: of three lists of structs in whatever order, as `merge_roots` of the first and of what the others say.
/// Instants are microseconds.
///
/// * `merges`: `prior`, `survivor`, `at`;
/// * `listings`: the best number of a record (`name`) and another beside it (`other`), `listed_at`, since when there are records of either
///   (`name_since`, `other_since`), and the birth dates that were first and last stated of the one and last of the other (`name_first_born`,
///   `name_born`, `other_born`);
/// * `unlinked`: `one`, `other`, `at`.
///
/// Whoever was known first stands, so that nobody known before changes. A listing of a number beside itself says since when a survivor is known; where
/// nothing does, a survivor stands before all.
pub fn person_roots() -> ScalarUDF {
    ScalarUDF::from(PersonRoots { signature: Signature::any(3, Volatility::Immutable) })
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
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [merges, listings, unlinked] = arrays.as_slice() else { return exec_err!("person_roots(merges, listings, unlinked)") };
        let mut lists = ListBuilder::new(StructBuilder::from_fields(columns(), 0));
        for row in 0..merges.len() {
            let merges = Columns::of(merges, row, (["prior", "survivor"], ["at"]))?;
            let texts = ["name", "other", "name_first_born", "name_born", "other_born"];
            let listings = Columns::of(listings, row, (texts, ["listed_at", "name_since", "other_since"]))?;
            let unlinked = Columns::of(unlinked, row, (["one", "other"], ["at"]))?;
            append(&mut lists, &persons(&told(&merges), unlinked.pairs(), listings.listings()));
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

impl Columns<5, 3> {
    fn listings(&self) -> impl Iterator<Item = Listing<'_>> {
        let ([name, other, first, last, of_other], [listed_at, name_since, other_since]) = (self.texts(), self.numbers());
        (0..name.len()).filter_map(move |row| {
            Some(Listing {
                name: text(name, row)?,
                other: text(other, row)?,
                listed_at: number(listed_at, row)?,
                name_since: number(name_since, row)?,
                other_since: number(other_since, row)?,
                born: [text(first, row), text(last, row), text(of_other, row)],
            })
        })
    }
}

/// A number that stands beside the best one of a record.
#[derive(Clone, Copy)]
struct Listing<'a> {
    name: &'a str,
    other: &'a str,
    /// Microseconds, as all instants here: when the two were last listed together, and since when there are records of either.
    listed_at: i64,
    name_since: i64,
    other_since: i64,
    /// Birth dates: the first and the last that were stated of the name, and the last of the other.
    born: [Option<&'a str>; 3],
}

/// (identity, the one that stands for it), of each that does not stand for itself. `told`: (prior, survivor), oldest first.
fn persons<'a>(
    told: &[(&'a str, &'a str)],
    unlinked: impl Iterator<Item = (&'a str, &'a str, i64)>,
    listings: impl Iterator<Item = Listing<'a>>,
) -> Vec<(&'a str, &'a str)> {
    let merged: BTreeMap<&str, &str> = roots(told).into_iter().collect();
    let survivor = |identity: &'a str| merged.get(identity).copied().unwrap_or(identity);
    let mut unlinked = Unlinked::of(unlinked.map(|(one, other, at)| (survivor(one), survivor(other), at)));
    let mut people = People::default();
    for listing in listings {
        let roots = [survivor(listing.name), survivor(listing.other)];
        if unlinked.is_over(roots, listing.listed_at) {
            people.list(&listing, roots);
        }
    }
    people.join();
    let standing = people.standing(unlinked.pairs());
    let stands = |root: &'a str| people.places.get(root).map_or(root, |place| people.identities[standing[*place]]);
    let told = merged.iter().map(|(&identity, &root)| (identity, stands(root)));
    told.chain(people.identities.iter().map(|&root| (root, stands(root))).filter(|(root, first)| root != first)).collect()
}

/// Pairs of identities that were unlinked, the smaller first, each as whom it was merged into: when that was said last, and whether the two were
/// listed together since.
struct Unlinked<'a>(HashMap<(&'a str, &'a str), (i64, bool)>);

impl<'a> Unlinked<'a> {
    fn of(pairs: impl Iterator<Item = (&'a str, &'a str, i64)>) -> Self {
        let mut all: HashMap<(&str, &str), (i64, bool)> = HashMap::new();
        for (one, other, at) in pairs.filter(|(one, other, _)| one != other) {
            let said = all.entry((one.min(other), one.max(other))).or_insert((at, false));
            said.0 = said.0.max(at);
        }
        Self(all)
    }

    /// Whether none says otherwise since the two were listed at this instant; one that came before is over.
    fn is_over(&mut self, [one, other]: [&'a str; 2], listed_at: i64) -> bool {
        let Some((at, listed_since)) = self.0.get_mut(&(one.min(other), one.max(other))) else { return true };
        *listed_since |= listed_at > *at;
        listed_at > *at
    }

    /// Those that were not listed together since.
    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter(|(_, (_, listed_since))| !listed_since).map(|(pair, _)| *pair)
    }
}

/// Whoever stands in the listings, each by a place: of millions of them little is held. Who was merged away is here whom they were merged into.
#[derive(Default)]
struct People<'a> {
    places: HashMap<&'a str, usize>,
    /// By place: the identity, since when there are records of it, and another of the same person, in the end one for all of it.
    identities: Vec<&'a str>,
    since: Vec<Option<i64>>,
    joined: Vec<usize>,
    /// Places: another number, and a better one that it stands beside.
    beside: Vec<(usize, usize)>,
    /// Place, and a birth date to the day that was stated of it.
    born: Vec<(usize, &'a str)>,
}

impl<'a> People<'a> {
    /// `roots`: whom the name and the other were merged into, else themselves.
    fn list(&mut self, listing: &Listing<'a>, roots: [&'a str; 2]) {
        let [first, last, of_other] = listing.born;
        let since = |identity: &str, root: &str, since| (identity == root).then_some(since);
        let name = self.place(roots[0], since(listing.name, roots[0], listing.name_since), [first, last]);
        let other = self.place(roots[1], since(listing.other, roots[1], listing.other_since), [of_other, None]);
        if name != other {
            self.beside.push((other, name));
        }
    }

    fn place(&mut self, identity: &'a str, since: Option<i64>, born: [Option<&'a str>; 2]) -> usize {
        let next = self.identities.len();
        let place = *self.places.entry(identity).or_insert(next);
        if place == next {
            self.identities.push(identity);
            self.since.push(since);
            self.joined.push(place);
        }
        self.since[place] = self.since[place].into_iter().chain(since).min();
        self.born.extend(born.into_iter().flatten().filter(|date| date.len() == DAY).map(|date| (place, date)));
        place
    }

    /// Joins an identity with those that it stands beside where these are one person, until nothing is left to be joined. In whatever order that is
    /// done the same comes out: what is joined makes several persons one, and never one several.
    fn join(&mut self) {
        let Self { identities, joined, beside, .. } = self;
        beside.sort_unstable_by_key(|(other, name)| (identities[*other], identities[*name]));
        beside.dedup();
        for _ in 0..TURNS {
            let mut goes_on = false;
            for listed in beside.chunk_by(|one, next| one.0 == next.0) {
                if let Some((own, person)) = one_person(joined, listed) {
                    joined[own] = person;
                    goes_on = true;
                }
            }
            if !goes_on {
                break;
            }
        }
        self.born.sort_unstable();
        self.born.dedup();
    }

    /// By place, who stands for it. `unlinked`: identities that are not one person.
    fn standing(&mut self, unlinked: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<usize> {
        let mut torn = BTreeSet::new();
        for (one, other) in unlinked {
            let (Some(&one), Some(&other)) = (self.places.get(one), self.places.get(other)) else { continue };
            let person = root(&mut self.joined, one);
            if one != other && person == root(&mut self.joined, other) {
                torn.insert(person);
            }
        }
        let mut all: Vec<(usize, usize)> = (0..self.joined.len()).map(|place| (root(&mut self.joined, place), place)).collect();
        all.sort_unstable();
        let mut standing: Vec<usize> = (0..all.len()).collect();
        for group in all.chunk_by(|one, next| one.0 == next.0) {
            let first = group.iter().map(|(_, place)| *place).min_by_key(|place| (self.since[*place], self.identities[*place]));
            let Some(first) = first.filter(|_| group.len() > 1 && !torn.contains(&group[0].0) && self.were_born_once(group)) else {
                continue;
            };
            group.iter().for_each(|(_, place)| standing[*place] = first);
        }
        standing
    }

    /// Whether the birth dates of these may be one person's: of any two there are others between, each of which shares one with the next. A number
    /// without one says nothing, so that it holds nobody together whose dates differ.
    fn were_born_once(&self, group: &[(usize, usize)]) -> bool {
        let (mut dates, mut joined) = (HashMap::new(), Vec::new());
        for (_, place) in group {
            let from = self.born.partition_point(|(born, _)| born < place);
            let mut first = None;
            for (_, date) in self.born[from..].iter().take_while(|(born, _)| born == place) {
                let next = joined.len();
                let date = *dates.entry(*date).or_insert(next);
                if date == next {
                    joined.push(next);
                }
                let (one, other) = (root(&mut joined, *first.get_or_insert(date)), root(&mut joined, date));
                joined[one] = other;
            }
        }
        let births: HashSet<usize> = (0..joined.len()).map(|date| root(&mut joined, date)).collect();
        births.len() <= 1
    }
}

/// The one that all who are joined with `place` lead to.
fn root(joined: &mut [usize], mut place: usize) -> usize {
    while joined[place] != place {
        joined[place] = joined[joined[place]];
        place = joined[place];
    }
    place
}

/// Whose person a number is (its own root, theirs) where those that it stands beside, itself left out, are one. `listed`: (number, beside whom).
fn one_person(joined: &mut [usize], listed: &[(usize, usize)]) -> Option<(usize, usize)> {
    let mut person = None;
    for (other, name) in listed {
        let (own, named) = (root(joined, *other), root(joined, *name));
        if named != own && person.is_some_and(|(_, known)| known != named) {
            return None;
        }
        if named != own {
            person = Some((own, named));
        }
    }
    person
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (name, other), listed at instant 1, of which the records of either began at its place among these identities.
    fn listed<'a>(known: &[&'a str], pairs: &[(&'a str, &'a str)]) -> Vec<Listing<'a>> {
        let since =
            |identity: &str| known.iter().position(|one| *one == identity).and_then(|place| i64::try_from(place).ok()).unwrap_or(i64::MAX);
        let listing = |&(name, other): &(&'a str, &'a str)| Listing {
            name,
            other,
            listed_at: 1,
            name_since: since(name),
            other_since: since(other),
            born: [None; 3],
        };
        pairs.iter().map(listing).collect()
    }

    fn joined<'a>(told: &[(&'a str, &'a str)], known: &[&'a str], pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        parted(told, &[], &listed(known, pairs))
    }

    fn parted<'a>(told: &[(&'a str, &'a str)], unlinked: &[(&'a str, &'a str, i64)], listings: &[Listing<'a>]) -> Vec<(&'a str, &'a str)> {
        let mut all = persons(told, unlinked.iter().copied(), listings.iter().copied());
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
            [("another", "shared"), ("one", "shared")],
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
        let known = ["temporary", "record", "third", "survivor"];
        let merged = joined(&[("third", "record")], &known, &[listed[0], ("record", "third")]);
        assert_eq!(merged, [("record", "temporary"), ("third", "temporary")], "a merge of others into it makes nobody known sooner");
        let merged = joined(&[("record", "survivor")], &known, &[listed[0], ("survivor", "survivor")]);
        assert_eq!(merged, [("record", "temporary"), ("survivor", "temporary")], "known later than the one beside");
    }

    /// The mother's number without a birth date stands beside her record's, and her newborn's beside that number: each pair alone is one person.
    #[test]
    fn numbers_that_only_another_ties_together_are_not_one_person_where_their_birth_dates_differ() {
        let [mut record, mut newborn] = [("undated", "record"), ("newborn", "undated")].map(|pair| {
            let known = ["record", "undated", "newborn"];
            listed(&known, &[pair]).remove(0)
        });
        let of = |listings: &[Listing<'static>]| parted(&[], &[], listings);
        assert_eq!(of(&[record, newborn]), [("newborn", "record"), ("undated", "record")]);
        (record.born[2], newborn.born[1]) = (Some("1990-05-05"), Some("2024-01-02"));
        assert_eq!(of(&[record, newborn]), vec![]);
        assert_eq!(of(&[record]), [("undated", "record")]);
        assert_eq!(parted(&[("newborn", "record")], &[], &[record, newborn])[0], ("newborn", "record"), "by telling they are");
        newborn.born[1] = Some("2024");
        assert_eq!(of(&[record, newborn]).len(), 2, "a year is no day");
        newborn.born = [Some("1990-05-05"), Some("1990-05-06"), None];
        assert_eq!(of(&[record, newborn]).len(), 2, "a date that was corrected since is the person's, too");
    }

    #[test]
    fn an_unlinking_parts_the_two_by_whatever_way_they_are_one_person() {
        let listings = listed(&["a", "b", "c"], &[("b", "a"), ("c", "b")]);
        let all = [("b", "a"), ("c", "a")];
        assert_eq!(parted(&[], &[], &listings), all);
        assert_eq!(parted(&[], &[("b", "a", 0)], &listings), all, "listed since");
        assert_eq!(parted(&[], &[("a", "b", 1)], &listings), [("c", "b")], "in whatever order they are named");
        assert_eq!(parted(&[], &[("a", "c", 0)], &listings), vec![], "though nothing lists these two");
        assert_eq!(parted(&[("a", "d")], &[("d", "b", 2)], &listings), [("a", "d"), ("c", "b")], "one of them was merged since");
        assert_eq!(parted(&[("a", "c")], &[("a", "c", 2)], &listings), [("a", "b"), ("c", "b")], "a told merge is no tie");
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
