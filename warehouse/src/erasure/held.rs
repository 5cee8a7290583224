//! Records that say nothing of a person in any fact, and whose bytes, key or headers hold one of the person's identifiers all the same: what was
//! refused or ignored, and what tells of others and names the person beside.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::bytes::{Counts, Telling};
use super::search::{Found, Left, Person, Place, places};
use crate::error::QueryError;
use crate::literal::quoted;
use crate::read::{AsOf, binaries, instants, ints, texts};
use crate::store::Warehouse;

fn bytes_of(column: &[Option<Vec<u8>>], row: usize) -> &[u8] {
    column.get(row).and_then(Option::as_deref).unwrap_or_default()
}

fn text_of(column: &[Option<String>], row: usize) -> &str {
    column.get(row).and_then(Option::as_deref).unwrap_or_default()
}

/// Adds such records of the person's facility to what was found. `first` is when the first of all records became known.
pub async fn look(warehouse: &Warehouse, person: &Person, found: &mut Found, first: &mut Option<Timestamp>) -> Result<(), QueryError> {
    let telling = Telling::of(person.values());
    let sql = format!(
        "SELECT topic, \"partition\", \"offset\", known_at, key, headers, payload, digest, \
         COALESCE(outcome = 'mapped', false) AND COALESCE(event_count, 0) + COALESCE(note_count, 0) > 0 AS mapped, \
         COALESCE(event_count, 0) AS events, COALESCE(note_count, 0) AS notes \
         FROM standing_messages WHERE facility = {}",
        quoted(person.facility())
    );
    let session = warehouse.session(&AsOf::default()).await?;
    let mut batches = session.sql(&sql).await?.execute_stream().await?;
    let mut alike: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    while let Some(batch) = batches.try_next().await? {
        let (known, payloads, keys) = (instants(&batch, "known_at")?, binaries(&batch, "payload")?, binaries(&batch, "key")?);
        let (headers, digests) = (texts(&batch, "headers")?, texts(&batch, "digest")?);
        let (mapped, events, notes) = (ints(&batch, "mapped")?, ints(&batch, "events")?, ints(&batch, "notes")?);
        for (row, place) in places(&batch)?.into_iter().enumerate() {
            let count = |column: &[Option<i64>]| column.get(row).copied().flatten().unwrap_or(0);
            let is_mapped = count(&mapped) == 1;
            // Nobody vouches for a number of whom no fact is left.
            let counts = if is_mapped || !person.is_known() { Counts::AsIdentifier } else { Counts::Anywhere };
            let holds = || {
                telling.stand_in(bytes_of(&payloads, row), counts)
                    || telling.stand_in(bytes_of(&keys, row), Counts::Anywhere)
                    || telling.stand_in(text_of(&headers, row).as_bytes(), counts)
            };
            if !found.records.contains_key(&place) && holds() {
                found.records.insert(place.clone(), Left { events: count(&events), notes: count(&notes), repeats: None });
                let counted = if is_mapped { &mut found.traces.named_messages } else { &mut found.traces.unread_messages };
                *counted += 1;
                *first = first.iter().copied().chain(known.get(row).copied().flatten()).min();
            }
            if found.records.get(&place).is_some_and(|left| left.events > 0) {
                alike.entry(text_of(&digests, row).to_owned()).or_default().push(place);
            }
        }
    }
    for places in alike.into_values() {
        repeat(found, places);
    }
    Ok(())
}

/// Records of the same bytes are told by their digests to be the same, and their facts stand once. It goes with the bytes, so that the first of them
/// gives the others another.
fn repeat(found: &mut Found, mut places: Vec<Place>) {
    places.sort();
    let mut places = places.into_iter();
    let Some(first) = places.next() else { return };
    for place in places {
        if let Some(left) = found.records.get_mut(&place) {
            left.repeats = Some(first.clone());
        }
    }
}
