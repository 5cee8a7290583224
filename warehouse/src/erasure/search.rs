//! Looking for a person: every identity, every row, every record, and what is left of records that speak of others too.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;
use jiff::Timestamp;
use schemas::{Facility, Identifier, PatientId};

use super::{Subject, Traces, held};
use crate::error::{EraseError, QueryError};
use crate::literal::{listed, quoted};
use crate::read::{AsOf, instants, ints, texts};
use crate::store::Warehouse;

/// Facts whose `related` is an identifier, `system|value`.
const NAMING: &str = "'patient.identified', 'patient.linked', 'patient.unlinked', 'patient.merged', 'encounter.moved'";

/// One person: the identities that resolve to the same survivor, and what names them. No identity is left of whom no fact is.
pub struct Person {
    facility: String,
    ids: BTreeSet<String>,
    identifiers: BTreeSet<(String, String)>,
    /// How many others carry what. Of the same value under another system, too.
    carried: BTreeMap<(String, String), usize>,
    namesakes: usize,
}

impl Person {
    /// Identifiers that name nobody else.
    fn names(&self) -> impl Iterator<Item = &(String, String)> {
        self.identifiers.iter().filter(|identifier| !self.carried.contains_key(*identifier))
    }

    /// How many others carry this value, under whatever system.
    fn others(&self, value: &str) -> usize {
        self.carried.iter().filter(|((_, carried), _)| carried == value).map(|(_, others)| others).sum()
    }

    /// Where the person is known.
    pub fn facility(&self) -> &str {
        &self.facility
    }

    /// Whether a fact of the person is left.
    pub fn is_known(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Values that nobody else carries, under whatever system: bytes say a value, and seldom whose it is.
    pub fn values(&self) -> BTreeSet<&str> {
        self.identifiers.iter().map(|(_, value)| value.as_str()).filter(|value| self.others(value) == 0).collect()
    }

    /// Systems of the identifiers that others carry too, and how many do.
    fn shared(&self) -> BTreeMap<String, usize> {
        let mut shared: BTreeMap<String, usize> = BTreeMap::new();
        for (system, value) in &self.identifiers {
            let others = self.others(value);
            if others > 0 {
                let most = shared.entry(system.clone()).or_default();
                *most = others.max(*most);
            }
        }
        shared
    }
}

/// Topic, partition and offset of a record.
pub type Place = (String, i32, i64);

/// What is left of a record that speaks of the person.
#[derive(Clone, Default)]
pub struct Left {
    pub events: i64,
    pub notes: i64,
    /// The first of the records of the same bytes, where it is not this one.
    pub repeats: Option<Place>,
}

/// What has to go.
#[derive(Default)]
pub struct Found {
    pub traces: Traces,
    pub records: BTreeMap<Place, Left>,
    /// Ids of facts, in the order in which they go: those that only another fact tells to be the person's, those under one of their ids, and
    /// those that tie their ids together.
    pub events: [BTreeMap<Place, BTreeSet<String>>; 3],
    /// Ids of facts that only lose a name, of note versions and of predictions, with where they stand.
    pub blanked: BTreeMap<Place, BTreeSet<String>>,
    pub notes: BTreeMap<Place, BTreeSet<String>>,
    pub predictions: BTreeMap<Place, BTreeSet<String>>,
}

/// A row of `events` or `notes` in a record that speaks of the person.
struct Row {
    id: String,
    /// Whether its reading is the one that stands.
    stands: bool,
    /// Whether it is about the person, and whether about somebody else.
    mine: bool,
    other: bool,
    /// Whether it is about somebody else and names the person.
    names: bool,
    /// Its place in the order in which facts go.
    goes: usize,
}

async fn asked(warehouse: &Warehouse, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    warehouse.query(sql, &AsOf::default()).await
}

async fn column(warehouse: &Warehouse, sql: &str, name: &'static str) -> Result<BTreeSet<String>, QueryError> {
    let mut found = BTreeSet::new();
    for batch in asked(warehouse, sql).await? {
        found.extend(texts(&batch, name)?.into_iter().flatten());
    }
    Ok(found)
}

/// Whom the identifier means. A FHIR Patient that lists a number as HL7 v2 names it is meant by that where the two are one person, else by its logical id or the
/// identifier as sent: another patient, who has no number but this, could not be named otherwise.
pub async fn person(warehouse: &Warehouse, subject: &Subject) -> Result<Person, EraseError> {
    let (system, value) = (quoted(&subject.system), quoted(&subject.value));
    let stated = quoted(&format!("{}|{}", subject.system, subject.value));
    let identifier = Identifier { system: subject.system.clone(), value: subject.value.clone() };
    // The identifier's own identity too, which merges or notes may name without a fact of its own.
    let facilities = column(warehouse, "SELECT DISTINCT facility FROM message_rows", "facility").await?;
    let derived: Vec<String> =
        facilities.iter().map(|facility| PatientId::derive(&Facility::new(facility), &identifier).to_string()).collect();
    let derived = listed(derived.iter().map(String::as_str));
    let sql = format!(
        "WITH named AS ( \
             SELECT DISTINCT patient_id FROM events WHERE (patient_system = {system} AND patient_value = {value}) \
             OR (code IN ('patient.identified', 'patient.merged') AND related = {stated} \
                 AND COALESCE(text_value NOT IN ('own_now', 'alike_now'), true)) \
         ), \
         standing AS ( \
             SELECT e.facility, e.patient_id FROM events AS e JOIN named AS n ON n.patient_id = e.patient_id \
             UNION SELECT facility, patient_id FROM event_rows WHERE patient_id IN ({derived}) \
             UNION SELECT facility, patient_id FROM note_rows WHERE patient_id IN ({derived}) \
         ) \
         SELECT DISTINCT f.facility, COALESCE(s.survivor_id, f.patient_id) AS survivor_id FROM standing AS f \
         LEFT JOIN survivors AS s ON s.patient_id = f.patient_id ORDER BY 1, 2"
    );
    let mut persons: BTreeSet<(String, String)> = BTreeSet::new();
    for batch in asked(warehouse, &sql).await? {
        let survivors = texts(&batch, "survivor_id")?.into_iter().flatten();
        persons.extend(texts(&batch, "facility")?.into_iter().flatten().zip(survivors));
    }
    persons.retain(|(facility, _)| subject.facility.as_ref().is_none_or(|wanted| wanted == facility));
    let mut each = persons.iter();
    let (facility, survivor) = match (each.next(), each.next()) {
        (None, _) => return nameless(warehouse, subject, &facilities).await,
        (Some(one), None) => one.clone(),
        (Some(_), Some(_)) => {
            let facilities: BTreeSet<String> = persons.iter().map(|(facility, _)| facility.clone()).collect();
            return Err(EraseError::Several { persons: persons.len(), facilities: facilities.into_iter().collect() });
        }
    };
    let sql = format!("SELECT patient_id FROM survivors WHERE survivor_id = {}", quoted(&survivor));
    let mut ids = column(warehouse, &sql, "patient_id").await?;
    ids.insert(survivor);
    let listed = listed(ids.iter().map(String::as_str));
    let sql = format!("SELECT DISTINCT patient_id FROM identifiers WHERE value = {value} AND patient_id NOT IN ({listed})");
    let namesakes = column(warehouse, &sql, "patient_id").await?.len();
    let mut identifiers = identifiers(warehouse, &ids).await?;
    identifiers.insert((subject.system.clone(), subject.value.clone()));
    let carried = carried(warehouse, &facility, &ids, &identifiers).await?;
    Ok(Person { facility, ids, identifiers, carried, namesakes })
}

/// Whoever is known by no fact any more, and whose identifier stands in records all the same.
async fn nameless(warehouse: &Warehouse, subject: &Subject, facilities: &BTreeSet<String>) -> Result<Person, EraseError> {
    let mut persons = Vec::new();
    let wanted = |facility: &&String| subject.facility.as_ref().map_or(*facility != "wardstream", |wanted| wanted == *facility);
    for facility in facilities.iter().filter(wanted) {
        let (ids, identifiers) = (BTreeSet::new(), BTreeSet::from([(subject.system.clone(), subject.value.clone())]));
        let carried = carried(warehouse, facility, &ids, &identifiers).await?;
        let person = Person { facility: facility.clone(), ids, identifiers, carried, namesakes: 0 };
        if !find(warehouse, &person).await?.traces.is_empty() {
            persons.push(person);
        }
    }
    let facilities: Vec<String> = persons.iter().map(|person| person.facility.clone()).collect();
    match (persons.pop(), persons.len()) {
        (Some(person), 0) => Ok(person),
        (None, _) => Err(EraseError::Nobody),
        (Some(_), others) => Err(EraseError::Several { persons: others + 1, facilities }),
    }
}

/// What others of the facility carry of these identifiers, and how many of them do.
async fn carried(
    warehouse: &Warehouse,
    facility: &str,
    ids: &BTreeSet<String>,
    identifiers: &BTreeSet<(String, String)>,
) -> Result<BTreeMap<(String, String), usize>, QueryError> {
    let (facility, ids) = (quoted(facility), listed(ids.iter().map(String::as_str)));
    let values = listed(identifiers.iter().map(|(_, value)| value.as_str()));
    let sql = format!(
        "SELECT system, value, count(DISTINCT patient_id) AS others FROM ( \
             SELECT patient_id, COALESCE(patient_system, '') AS system, patient_value AS value FROM event_rows WHERE facility = {facility} \
             UNION ALL SELECT patient_id, split_part(related, '|', 1) AS system, substr(related, strpos(related, '|') + 1) AS value FROM event_rows \
             WHERE facility = {facility} AND code IN ('patient.identified', 'patient.merged') AND related IS NOT NULL \
         ) AS stated WHERE value IN ({values}) AND patient_id IS NOT NULL AND COALESCE(patient_id NOT IN ({ids}), true) GROUP BY system, value"
    );
    let mut carried = BTreeMap::new();
    for batch in asked(warehouse, &sql).await? {
        let (systems, values, others) = (texts(&batch, "system")?, texts(&batch, "value")?, ints(&batch, "others")?);
        for ((system, value), others) in systems.into_iter().zip(values).zip(others) {
            let others = others.and_then(|others| usize::try_from(others).ok()).unwrap_or(0);
            carried.extend(value.map(|value| ((system.unwrap_or_default(), value), others)));
        }
    }
    Ok(carried)
}

async fn identifiers(warehouse: &Warehouse, ids: &BTreeSet<String>) -> Result<BTreeSet<(String, String)>, QueryError> {
    let ids = listed(ids.iter().map(String::as_str));
    let sql = format!(
        "SELECT DISTINCT patient_system AS system, patient_value AS value FROM event_rows WHERE patient_id IN ({ids}) AND patient_value IS NOT NULL \
         UNION SELECT split_part(related, '|', 1) AS system, substr(related, strpos(related, '|') + 1) AS value FROM event_rows \
         WHERE patient_id IN ({ids}) AND code IN ('patient.identified', 'patient.merged') AND related IS NOT NULL"
    );
    let mut found = BTreeSet::new();
    for batch in asked(warehouse, &sql).await? {
        let values = texts(&batch, "value")?;
        found.extend(
            texts(&batch, "system")?.into_iter().zip(values).filter_map(|(system, value)| Some((system.unwrap_or_default(), value?))),
        );
    }
    Ok(found)
}

/// The conditions by which a row is about the person.
struct Conditions {
    mine: String,
    /// The place of a fact in the order in which facts go.
    goes: String,
    notes: String,
    names: String,
    /// Records that speak of the person, and those among them that have not landed in `messages`.
    touched: String,
    underway: String,
}

/// How far `messages` has come.
const LANDED: &str = "SELECT topic, \"partition\", max(\"offset\") AS upto FROM message_rows GROUP BY topic, \"partition\"";

impl Conditions {
    async fn of(warehouse: &Warehouse, person: &Person) -> Result<Self, QueryError> {
        let ids = listed(person.ids.iter().map(String::as_str));
        // What was told of a stay of theirs under somebody else, before it was moved to them.
        let sql = format!(
            "SELECT DISTINCT e.encounter_id || '/' || p.patient_id AS told FROM moved_stays AS m \
             JOIN stays AS s ON s.encounter_id = m.encounter_id AND s.patient_id IN ({ids}) \
             JOIN (SELECT encounter_id, survivor_id FROM encounter_survivors UNION ALL SELECT encounter_id, encounter_id AS survivor_id FROM stays) AS e \
             ON e.survivor_id = m.encounter_id \
             JOIN (SELECT patient_id, survivor_id FROM survivors UNION ALL SELECT patient_id, patient_id AS survivor_id FROM patients) AS p \
             ON p.survivor_id = m.patient_id"
        );
        let told = column(warehouse, &sql, "told").await?;
        let named =
            format!("(patient_id IN ({ids}) OR encounter_id || '/' || patient_id IN ({}))", listed(told.iter().map(String::as_str)));
        // A stay is theirs where nobody else's facts stand in it.
        let sql = format!(
            "SELECT encounter_id FROM event_rows WHERE encounter_id IS NOT NULL AND patient_id IS NOT NULL GROUP BY encounter_id \
             HAVING count(*) FILTER (WHERE {named}) = count(*)"
        );
        let stays = column(warehouse, &sql, "encounter_id").await?;
        let stays = listed(stays.iter().map(String::as_str));
        let mine = format!("COALESCE({named} OR (patient_id IS NULL AND encounter_id IN ({stays})), false)");
        let notes = column(warehouse, &format!("SELECT DISTINCT note_id FROM note_rows WHERE {mine}"), "note_id").await?;
        let theirs = format!("COALESCE(note_id IN ({}), false)", listed(notes.iter().map(String::as_str)));
        let stated: Vec<String> = person.names().map(|(system, value)| format!("{system}|{value}")).collect();
        let names = format!(
            "COALESCE(facility = {} AND code IN ({NAMING}) AND related IN ({}), false)",
            quoted(&person.facility),
            listed(stated.iter().map(String::as_str))
        );
        let place = "source_topic AS topic, source_partition AS \"partition\", source_offset AS \"offset\"";
        let speaking = format!(
            "SELECT {place} FROM event_rows WHERE {mine} OR {names} UNION SELECT {place} FROM note_rows WHERE {mine} OR {theirs} \
             UNION SELECT {place} FROM prediction_rows WHERE {mine} OR {theirs}"
        );
        // Birth dates and deletions tell which numbers are one person's, beside what names them: they go together.
        let goes = format!(
            "CASE WHEN code IN ({NAMING}, 'patient.birth_date', 'patient.deleted') THEN 2 WHEN COALESCE(patient_id IN ({ids}), false) THEN 1 ELSE 0 END"
        );
        let places = format!("({speaking}) AS p LEFT JOIN ({LANDED}) AS l ON l.topic = p.topic AND l.\"partition\" = p.\"partition\"");
        // Beyond what has landed rows are on their way, and their writer counts on them.
        let touched = format!("SELECT p.topic, p.\"partition\", p.\"offset\" FROM {places} WHERE p.\"offset\" <= l.upto");
        let underway = format!("SELECT count(*) AS rows FROM {places} WHERE l.upto IS NULL OR p.\"offset\" > l.upto");
        Ok(Self { notes: format!("({mine} OR {theirs})"), mine, goes, names, touched, underway })
    }

    /// The rows of a table in the records that are touched.
    fn rows(&self, table: &str, columns: &str) -> String {
        format!(
            "WITH touched AS ({}) SELECT t.topic, t.\"partition\", t.\"offset\", t.known_at, {columns} FROM ( \
             SELECT *, source_topic AS topic, source_partition AS \"partition\", source_offset AS \"offset\" FROM {table}) AS t \
             JOIN touched AS u ON u.topic = t.topic AND u.\"partition\" = t.\"partition\" AND u.\"offset\" = t.\"offset\" \
             LEFT JOIN readings AS r ON r.topic = t.topic AND r.\"partition\" = t.\"partition\" AND r.\"offset\" = t.\"offset\"",
            self.touched
        )
    }
}

/// Everything that has to go.
pub async fn find(warehouse: &Warehouse, person: &Person) -> Result<Found, EraseError> {
    let conditions = Conditions::of(warehouse, person).await?;
    let stands = "COALESCE(r.rows_reading, 0) = t.reading AS stands";
    let about = |mine: &str| format!("{mine} AS mine, patient_id IS NOT NULL AND NOT {mine} AS other");
    let (names, goes) = (&conditions.names, &conditions.goes);
    let events = format!("event_id AS id, {stands}, {}, {names} AS names, {goes} AS goes", about(&conditions.mine));
    let notes = format!("note_version_id AS id, {stands}, {}, false AS names, 0 AS goes", about(&conditions.notes));
    let predictions = "prediction_id AS id, true AS stands, true AS mine, false AS other, false AS names, 0 AS goes";
    let mut found = Found::default();
    let mut first = None;
    let events = rows(warehouse, &conditions.rows("event_rows", &events), &mut first).await?;
    let notes = rows(warehouse, &conditions.rows("note_rows", &notes), &mut first).await?;
    let predictions = rows(warehouse, &conditions.rows("prediction_rows", predictions), &mut first).await?;
    let places: BTreeSet<&Place> = events.keys().chain(notes.keys()).chain(predictions.keys()).collect();
    for place in places {
        let of = |rows: &BTreeMap<Place, Vec<Row>>| rows.get(place).is_some_and(|rows| rows.iter().any(|row| row.other));
        let shared = of(&events) || of(&notes);
        let goes = |row: &&Row| row.mine || !shared;
        let mut left = Left::default();
        for row in events.get(place).into_iter().flatten() {
            if goes(&row) {
                found.traces.events += 1;
                if let Some(turn) = found.events.get_mut(row.goes) {
                    turn.entry(place.clone()).or_default().insert(row.id.clone());
                }
            } else {
                left.events += i64::from(row.stands);
                if row.names {
                    found.traces.blanked_events += 1;
                    found.blanked.entry(place.clone()).or_default().insert(row.id.clone());
                }
            }
        }
        for row in notes.get(place).into_iter().flatten() {
            if goes(&row) {
                found.traces.notes += 1;
                found.notes.entry(place.clone()).or_default().insert(row.id.clone());
            } else {
                left.notes += i64::from(row.stands);
            }
        }
        for row in predictions.get(place).into_iter().flatten() {
            found.traces.predictions += 1;
            found.predictions.entry(place.clone()).or_default().insert(row.id.clone());
        }
        found.traces.shared_messages += usize::from(shared);
        found.records.insert(place.clone(), left);
    }
    held::look(warehouse, person, &mut found, &mut first).await?;
    for batch in asked(warehouse, &conditions.underway).await? {
        let rows: i64 = ints(&batch, "rows")?.into_iter().flatten().sum();
        found.traces.underway += usize::try_from(rows).unwrap_or(0);
    }
    found.traces.messages = found.records.len();
    found.traces.namesakes = person.namesakes;
    found.traces.shared_identifiers = person.shared();
    found.traces.identities = person.ids.len();
    found.traces.identifiers = person.identifiers.len();
    found.traces.first_known_at = first;
    Ok(found)
}

/// Where the records of a batch stood.
pub fn places(batch: &RecordBatch) -> Result<Vec<Place>, QueryError> {
    let (topics, partitions, offsets) = (texts(batch, "topic")?, ints(batch, "partition")?, ints(batch, "offset")?);
    let whole = topics.into_iter().zip(partitions).zip(offsets);
    let whole = whole.map(|((topic, partition), offset)| Some((topic?, i32::try_from(partition?).ok()?, offset?)));
    whole.map(|place| place.ok_or(QueryError::Row { column: "offset" })).collect()
}

async fn rows(warehouse: &Warehouse, sql: &str, first: &mut Option<Timestamp>) -> Result<BTreeMap<Place, Vec<Row>>, QueryError> {
    let mut found: BTreeMap<Place, Vec<Row>> = BTreeMap::new();
    for batch in asked(warehouse, sql).await? {
        *first = first.iter().copied().chain(instants(&batch, "known_at")?.into_iter().flatten()).min();
        let ids = texts(&batch, "id")?;
        let flags = ["stands", "mine", "other", "names"].map(|name| ints(&batch, name));
        let [stands, mine, other, names] = flags;
        let (stands, mine, other, names, goes) = (stands?, mine?, other?, names?, ints(&batch, "goes")?);
        for (row, place) in places(&batch)?.into_iter().enumerate() {
            let says = |column: &[Option<i64>]| column.get(row).copied().flatten() == Some(1);
            let id = ids.get(row).cloned().flatten().ok_or(QueryError::Row { column: "id" })?;
            let goes = goes.get(row).copied().flatten().and_then(|goes| usize::try_from(goes).ok());
            let goes = goes.ok_or(QueryError::Row { column: "goes" })?;
            let read = Row { id, stands: says(&stands), mine: says(&mine), other: says(&other), names: says(&names), goes };
            found.entry(place).or_default().push(read);
        }
    }
    Ok(found)
}
