//! An independent replay: the labels of random histories, worked out line by line without SQL, must be what the views give at any moment.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{EventCode, NoteKind, NoteStatus, Task};

use crate::settings::Settings;
use crate::views::history::{DAY, Line, What, batch, history, instant};
use crate::{AsOf, Format, Warehouse, render};

/// Of a claim: (time, asserted, known, status).
type Decisions = Vec<(i64, i64, i64, String)>;

/// What was said of one visit.
#[derive(Default, Clone)]
struct Visit {
    person: String,
    said_by: i64,
    admitted: Option<i64>,
    admitted_said: i64,
    cancelled_said: i64,
    ends: Vec<(i64, i64, Option<String>)>,
    taken_back: i64,
    department: (i64, String),
    codes: BTreeSet<String>,
    claims: BTreeMap<String, Decisions>,
    /// Kind, document, since when it says something that is known, and what was last said of it.
    notes: BTreeMap<(NoteKind, String), (Option<i64>, i64, NoteStatus)>,
}

/// A stay that stands.
#[derive(Clone)]
struct Stay {
    visit: String,
    person: String,
    came: i64,
    left: Option<i64>,
    disposition: Option<String>,
}

/// What became of the claims for a stay.
enum Claimed {
    Withdrawn,
    /// Nobody decided on any.
    Open,
    /// One was paid, and nobody decided on another.
    Waits,
    /// Whether one was denied at first, and when that came to be.
    Decided(bool, i64),
}

/// What is expected of a label: the class, or why there is none, and when its note could be read.
type Expected = BTreeMap<(String, String), (Answer, Option<i64>)>;

/// A label, and the reason where there is none.
type Answer = (Option<i32>, Option<&'static str>);

/// Whether a note of these histories says anything: at least ten words, and `<NA>` is none.
fn says_something(text: &str) -> bool {
    text.split(' ').filter(|word| !word.is_empty() && *word != "<NA>").count() >= 10
}

struct World {
    visits: BTreeMap<String, Visit>,
    born: BTreeMap<String, String>,
    /// When, and whether no hour of it was stated.
    died: BTreeMap<String, (i64, bool)>,
    now: i64,
}

fn world(lines: &[Line], now: i64) -> World {
    let known: Vec<&Line> = lines.iter().filter(|line| line.known <= now).collect();
    let merged = names(&known);
    let newest = known.iter().filter(|line| !matches!(line.what, What::Prediction { .. })).map(|line| line.known).max();
    let mut world = World { visits: BTreeMap::new(), born: BTreeMap::new(), died: BTreeMap::new(), now: newest.unwrap_or(0) };
    for line in known {
        let person = merged.get(&line.patient).unwrap_or(&line.patient).clone();
        world.hear(line, person);
    }
    world
}

/// Of second numbers the first number of the same person: merges that were told, and numbers that are listed together where both have records of
/// their own and birth dates do not differ; of one kind of number both must be stated. What a record under a logical id lists it must have listed last.
fn names(known: &[&Line]) -> BTreeMap<String, String> {
    let (mut names, mut recorded, mut born) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let (mut listed, mut said) = (Vec::new(), BTreeMap::new());
    for line in known {
        let What::Fact { code, text, related, .. } = &line.what else { continue };
        let other = related.as_deref().map(|related| related.trim_start_matches("H|").to_owned());
        if *code == EventCode::PatientIdentified {
            said.insert(line.patient.clone(), line.asserted);
        }
        match (code, text, other) {
            (EventCode::PatientMerged, _, Some(other)) => drop(names.insert(other, line.patient.clone())),
            (EventCode::PatientBirthDate, Some(date), _) => drop(born.insert(line.patient.clone(), date.clone())),
            (EventCode::PatientIdentified, None, None) => drop(recorded.insert(line.patient.clone())),
            (EventCode::PatientIdentified, Some(tie), Some(other)) => listed.push((*line, other, tie.starts_with("own"))),
            _ => {}
        }
    }
    for (line, other, is_own) in listed {
        let agree = match (born.get(&line.patient), born.get(&other)) {
            (Some(one), Some(other)) => one == other,
            _ => is_own,
        };
        let stands = !line.patient.starts_with('|') || said[&line.patient] == line.asserted;
        if agree && stands && recorded.contains(&other) {
            names.insert(other, line.patient.clone());
        }
    }
    names
}

impl World {
    fn hear(&mut self, line: &Line, person: String) {
        if let What::Fact { code, time, text, .. } = &line.what {
            match (code, text, time) {
                (EventCode::PatientBirthDate, Some(date), _) => drop(self.born.insert(person.clone(), date.clone())),
                (EventCode::PatientDied, by, Some(at)) => drop(self.died.insert(person.clone(), (*at, by.as_deref() == Some("day")))),
                _ => {}
            }
        }
        if line.visit.is_empty() {
            return;
        }
        let visit = self.visits.entry(line.visit.clone()).or_default();
        match &line.what {
            What::Fact { code, time, text, related } => {
                if matches!(code, EventCode::ClaimSubmitted | EventCode::ClaimDecided) {
                    let claim = visit.claims.entry(related.clone().unwrap_or_default()).or_default();
                    if let (EventCode::ClaimDecided, Some(text)) = (code, text) {
                        claim.push((time.unwrap_or(line.asserted), line.asserted, line.known, text.clone()));
                    }
                    return;
                }
                if line.asserted >= visit.said_by && code.as_str().starts_with("encounter.") {
                    (visit.said_by, visit.person) = (line.asserted, person);
                }
                match code {
                    EventCode::EncounterAdmitted => (visit.admitted, visit.admitted_said) = (*time, line.asserted),
                    EventCode::EncounterAdmissionCancelled => visit.cancelled_said = line.asserted,
                    EventCode::EncounterDischarged => visit.ends.push((line.asserted, time.unwrap_or(0), text.clone())),
                    EventCode::EncounterDischargeCancelled => visit.taken_back = line.asserted,
                    EventCode::EncounterDepartment if line.asserted >= visit.department.0 => {
                        visit.department = (line.asserted, text.clone().unwrap_or_default());
                    }
                    EventCode::EncounterDiagnosed => drop(visit.codes.insert(text.clone().unwrap_or_default())),
                    _ => {}
                }
            }
            What::Note { kind, document, status, text } => {
                let entry = visit.notes.entry((*kind, document.clone())).or_insert((None, i64::MIN, *status));
                if says_something(text) && *status != NoteStatus::Retracted {
                    entry.0 = Some(entry.0.map_or(line.known, |known| known.min(line.known)));
                }
                if line.asserted > entry.1 {
                    (entry.1, entry.2) = (line.asserted, *status);
                }
            }
            What::Prediction { .. } => {}
        }
    }

    fn stays(&self) -> Vec<Stay> {
        let standing = self.visits.iter().filter(|(_, visit)| visit.admitted.is_some() && visit.cancelled_said < visit.admitted_said);
        let stay = |(name, visit): (&String, &Visit)| {
            let last = visit.ends.iter().max().cloned().filter(|end| end.0 > visit.taken_back);
            // The disposition that was stated last, by whatever discharge since one was taken back.
            let stated = visit.ends.iter().filter(|end| end.2.is_some() && end.0 > visit.taken_back).max().and_then(|end| end.2.clone());
            Stay {
                visit: name.clone(),
                person: visit.person.clone(),
                came: visit.admitted.unwrap_or(0),
                left: last.as_ref().map(|end| end.1),
                disposition: last.and(stated),
            }
        };
        standing.map(stay).collect()
    }

    fn expected(&self) -> Expected {
        let stays = self.stays();
        let mut expected = Expected::new();
        for (name, visit) in &self.visits {
            if visit.admitted.is_some() && !stays.iter().any(|stay| stay.visit == *name) {
                for task in Task::ALL {
                    let note = Self::prompt(visit, task.note_kind());
                    expected.insert((task.to_string(), name.clone()), ((None, Some("cancelled")), note));
                }
            }
        }
        for stay in &stays {
            for task in Task::ALL {
                let note = Self::prompt(&self.visits[&stay.visit], task.note_kind());
                expected.insert((task.to_string(), stay.visit.clone()), (self.label(task, stay, &stays), note));
            }
        }
        expected
    }

    fn label(&self, task: Task, stay: &Stay, stays: &[Stay]) -> Answer {
        let Some(left) = stay.left else { return (None, None) };
        let (clock, horizon, delay) = match task {
            Task::Readmission => (left, 30, 7),
            Task::Mortality | Task::LengthOfStay => (stay.came, 28, 2),
            Task::Comorbidity => (stay.came, 30, 30),
            Task::Denial => (stay.came, 30, 120),
        };
        let over = (clock + horizon * DAY).max(left);
        let settled = (over + delay * DAY).max(self.outcome_at(task, stay, stays));
        let reason = self.excluded(task, stay, stays);
        let answer = match reason {
            Some(reason) => (None, Some(reason)),
            None if self.waits(task, stay) => (None, None),
            None => (Some(self.outcome(task, stay, stays)), None),
        };
        if settled <= self.now { answer } else { (None, None) }
    }

    fn died(&self, stay: &Stay) -> bool {
        let left = stay.left.unwrap_or(0);
        let in_stay = self
            .died
            .get(&stay.person)
            .is_some_and(|(at, by_day)| *at <= left && if *by_day { *at > stay.came - DAY } else { *at >= stay.came });
        stay.disposition.as_deref() == Some("20") || (stay.disposition.is_none() && in_stay)
    }

    /// Whether the patient goes on in another stay of the same episode, and when they come back after it.
    fn course(stay: &Stay, stays: &[Stay]) -> (bool, Option<i64>) {
        let mut own: Vec<&Stay> = stays.iter().filter(|other| other.person == stay.person).collect();
        own.sort_by_key(|other| other.came);
        let mut episodes: Vec<Vec<&Stay>> = Vec::new();
        let mut held = i64::MIN;
        for one in own {
            if one.came > held {
                episodes.push(Vec::new());
            }
            let bridge = if matches!(one.disposition.as_deref(), Some("02")) { DAY } else { 0 };
            held = held.max(one.left.map_or(one.came, |left| left + bridge));
            episodes.last_mut().expect("one was begun").push(one);
        }
        let place = episodes.iter().position(|episode| episode.iter().any(|one| one.visit == stay.visit)).expect("the stay is in one");
        let last = episodes[place].iter().max_by_key(|one| (one.left.unwrap_or(i64::MAX), one.came)).expect("not empty");
        let back = episodes.get(place + 1).map(|episode| episode[0].came);
        (last.visit != stay.visit, back)
    }

    fn claimed(visit: &Visit) -> Claimed {
        let stands = |claim: &&Decisions| !claim.iter().any(|decision| decision.3 == "cancelled");
        let standing: Vec<_> = visit.claims.values().filter(stands).collect();
        if standing.is_empty() && !visit.claims.is_empty() {
            return Claimed::Withdrawn;
        }
        let first = |claim: &&Decisions| {
            let finals = claim.iter().filter(|decision| matches!(decision.3.as_str(), "paid" | "denied" | "appeal_won"));
            finals.min().map(|first| (first.3 != "paid", first.0))
        };
        let firsts: Vec<Option<(bool, i64)>> = standing.iter().map(first).collect();
        let decided = firsts.iter().flatten();
        if let Some(at) = decided.clone().filter(|first| first.0).map(|first| first.1).min() {
            return Claimed::Decided(true, at);
        }
        match decided.map(|first| first.1).max() {
            None => Claimed::Open,
            Some(_) if firsts.contains(&None) => Claimed::Waits,
            Some(at) => Claimed::Decided(false, at),
        }
    }

    fn waits(&self, task: Task, stay: &Stay) -> bool {
        task == Task::Denial && matches!(Self::claimed(&self.visits[&stay.visit]), Claimed::Waits)
    }

    fn outcome_at(&self, task: Task, stay: &Stay, stays: &[Stay]) -> i64 {
        let left = stay.left.unwrap_or(0);
        match task {
            Task::Readmission => Self::course(stay, stays).1.map_or(left + 30 * DAY, |back| back.min(left + 30 * DAY)),
            Task::Denial => match Self::claimed(&self.visits[&stay.visit]) {
                Claimed::Decided(_, at) => at,
                Claimed::Withdrawn | Claimed::Open | Claimed::Waits => i64::MIN,
            },
            Task::Mortality if self.died(stay) => match self.died.get(&stay.person).copied().filter(|(at, _)| *at < left) {
                Some((at, true)) if at + DAY > stay.came => left.min(at + DAY),
                Some((at, _)) if at > stay.came => at,
                _ => left,
            },
            _ => left,
        }
    }

    fn excluded(&self, task: Task, stay: &Stay, stays: &[Stay]) -> Option<&'static str> {
        let visit = &self.visits[&stay.visit];
        let day = |at: i64| instant(at).strftime("%Y-%m-%d").to_string();
        let born = self.born.get(&stay.person);
        let newborn = born.is_some_and(|born| *born >= day(stay.came - DAY) && *born <= day(stay.came + DAY));
        let own = match task {
            _ if newborn => Some("newborn"),
            Task::Readmission if self.died(stay) => Some("died"),
            Task::Readmission if stay.disposition.as_deref() == Some("50") => Some("hospice"),
            Task::Readmission if visit.department.1 == "REH" => Some("not_acute_care"),
            Task::Readmission if Self::course(stay, stays).0 => Some("continued"),
            Task::Comorbidity if visit.codes.is_empty() => Some("no_codes"),
            Task::Denial => match Self::claimed(visit) {
                Claimed::Withdrawn => Some("claim_withdrawn"),
                Claimed::Open => Some("no_decided_claim"),
                Claimed::Waits | Claimed::Decided(..) => None,
            },
            _ => None,
        };
        if own.is_none() && self.waits(task, stay) {
            return None;
        }
        let note = Self::prompt(visit, task.note_kind());
        let late = task.note_kind() == NoteKind::Admission && note.is_some_and(|note| stay.left.is_some_and(|left| left <= note));
        own.or_else(|| note.is_some_and(|note| self.outcome_at(task, stay, stays) <= note).then_some("outcome_before_prediction"))
            .or_else(|| late.then_some("note_after_discharge"))
    }

    fn prompt(visit: &Visit, kind: NoteKind) -> Option<i64> {
        visit.notes.iter().filter(|((one, _), note)| *one == kind && note.2 != NoteStatus::Retracted).filter_map(|(_, note)| note.0).min()
    }

    fn outcome(&self, task: Task, stay: &Stay, stays: &[Stay]) -> i32 {
        let left = stay.left.unwrap_or(0);
        let visit = &self.visits[&stay.visit];
        match task {
            Task::Readmission => i32::from(Self::course(stay, stays).1.is_some_and(|back| back <= left + 30 * DAY)),
            Task::Mortality => i32::from(self.died(stay)),
            Task::LengthOfStay => match (left - stay.came).div_euclid(DAY) {
                i64::MIN..=2 => 0,
                3 => 1,
                4..=5 => 2,
                _ => 3,
            },
            Task::Comorbidity => {
                let weight = |code: &String| match code.as_str() {
                    "ICD10CM/C78.0" => 6,
                    "ICD10CM/I50.9" | "ICD10CM/E11.9" => 1,
                    _ => 0,
                };
                match visit.codes.iter().map(weight).sum::<i64>() {
                    0 => 0,
                    1..=2 => 1,
                    3..=4 => 2,
                    5..=7 => 3,
                    _ => 4,
                }
            }
            Task::Denial => i32::from(matches!(Self::claimed(visit), Claimed::Decided(true, _))),
        }
    }
}

/// The same history, in which every third claim is followed by another for the stay: denied, paid or never decided.
fn with_second_claims(mut lines: Vec<Line>) -> Vec<Line> {
    let is_sent = |line: &&Line| matches!(line.what, What::Fact { code: EventCode::ClaimSubmitted, .. });
    let sent: Vec<Line> = lines.iter().filter(is_sent).cloned().collect();
    for (nth, first) in sent.iter().enumerate().filter(|(nth, _)| nth % 3 == 0) {
        let mut say = |days: i64, code: EventCode, text: Option<&str>| {
            let asserted = first.asserted + days * DAY;
            let related = Some(format!("d{}", first.visit));
            let what = What::Fact { code, time: Some(asserted), text: text.map(str::to_owned), related };
            let (patient, visit) = (first.patient.clone(), first.visit.clone());
            lines.push(Line { known: asserted + 7, asserted, patient, visit, what });
        };
        say(3, EventCode::ClaimSubmitted, None);
        match nth % 9 {
            0 => say(50, EventCode::ClaimDecided, Some("denied")),
            3 => say(50, EventCode::ClaimDecided, Some("paid")),
            _ => {}
        }
    }
    lines.sort_by_key(|line| line.known);
    lines
}

/// The same history, in which three of four second numbers are merged by nobody: from two days after their first record on they stand beside the
/// first one, or are logical ids whose record lists the first one, and leaves it out after a hundred days. Their birth dates agree or do not.
fn with_listed_numbers(lines: Vec<Line>) -> Vec<Line> {
    let is_merge = |line: &Line| matches!(line.what, What::Fact { code: EventCode::PatientMerged, .. });
    let (merges, mut lines): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(is_merge);
    for (nth, merge) in merges.into_iter().enumerate() {
        let What::Fact { related: Some(related), .. } = &merge.what else { continue };
        let (first, mut second) = (merge.patient.clone(), related.trim_start_matches("H|").to_owned());
        let (tie, born) = match nth % 4 {
            0 => ("own", Some("1961-06-06")),
            1 => ("own", None),
            2 => {
                lines.push(merge);
                continue;
            }
            _ => ("alike", Some("1950-05-05")),
        };
        let is_logical = nth % 3 == 1;
        if is_logical {
            let logical = format!("|{second}");
            lines.iter_mut().filter(|line| line.patient == second).for_each(|line| line.patient.clone_from(&logical));
            second = logical;
        }
        let since = |patient: &str| lines.iter().find(|line| line.patient == patient).map_or(0, |line| line.known);
        let (since_first, since_second) = (since(&first), since(&second));
        let mut say = |known: i64, patient: &str, code, text: Option<String>, related: Option<&str>| {
            let what = What::Fact { code, time: None, text, related: related.map(|number| format!("H|{number}")) };
            lines.push(Line { known, asserted: known, patient: patient.to_owned(), visit: String::new(), what });
        };
        say(since_first, &first, EventCode::PatientIdentified, None, None);
        if born.is_some() {
            say(since_second, &second, EventCode::PatientBirthDate, born.map(str::to_owned), None);
        }
        if is_logical {
            say(since_second + 2 * DAY, &second, EventCode::PatientIdentified, Some(format!("{tie}_now")), Some(first.as_str()));
            say(since_second + 100 * DAY, &second, EventCode::PatientIdentified, None, None);
        } else {
            say(since_second, &second, EventCode::PatientIdentified, None, None);
            say(since_second + 2 * DAY, &first, EventCode::PatientIdentified, Some(tie.to_owned()), Some(second.as_str()));
        }
    }
    lines.sort_by_key(|line| line.known);
    lines
}

#[tokio::test]
async fn the_labels_of_any_history_are_what_a_plain_reading_gives() {
    let (mut labelled, mut unread, mut reasons) = (0, 0, BTreeSet::new());
    let (mut listed, mut tied, mut left_out) = (0, 0, 0);
    for seed in 21..24_u64 {
        let folder = std::env::temp_dir().join(format!("wardstream-replay-{}-{seed}", std::process::id()));
        let settings = Settings { url: folder.display().to_string(), ..Settings::default() };
        let warehouse = Warehouse::open(&settings).await.expect("opens");
        // Fewer than a hundred facts of a kind: delays are the configured ones.
        let lines = with_listed_numbers(with_second_claims(history(seed, 38)));
        let code = |line: &Line| if let What::Fact { code, related: Some(_), .. } = line.what { Some(code) } else { None };
        let unmerged: Vec<&Line> = lines.iter().filter(|line| code(line) != Some(EventCode::PatientMerged)).collect();
        listed += unmerged.iter().filter(|line| code(line) == Some(EventCode::PatientIdentified)).count();
        let leaves_out = |line: &Line| {
            line.patient.starts_with('|') && matches!(line.what, What::Fact { code: EventCode::PatientIdentified, related: None, .. })
        };
        let ever: Vec<&Line> = unmerged.iter().copied().filter(|line| !leaves_out(line)).collect();
        tied += names(&ever).len();
        left_out += names(&ever).len() - names(&unmerged).len();
        warehouse.append(&mut batch(&lines, 0)).await.expect("appends");
        let last = lines[lines.len() - 1].known;
        for known in [last / 3, last / 2, last - 40 * DAY, last, last + 400 * DAY] {
            let mut lines = lines.clone();
            if known > last {
                // Somebody says something a year later, so that everything is mature.
                let what = What::Fact { code: EventCode::PatientSex, time: None, text: Some("female".to_owned()), related: None };
                lines.push(Line { known, asserted: known, patient: "nobody".to_owned(), visit: String::new(), what });
                warehouse.append(&mut batch(&lines[lines.len() - 1..], lines.len() - 1)).await.expect("appends");
            }
            let at = AsOf { known_at: Some(instant(known)), ..AsOf::default() };
            let sql = "SELECT l.task, s.visit_number, l.label, l.excluded_because, l.prediction_at FROM labels AS l JOIN stays AS s ON s.encounter_id = l.encounter_id";
            let answer = render(&warehouse.query(sql, &at).await.expect("answers"), Format::Csv).expect("csv");
            let expected = world(&lines, known).expected();
            let line = |((task, visit), ((label, reason), note)): (&(String, String), &(Answer, Option<i64>))| {
                labelled += usize::from(label.is_some());
                unread += usize::from(label.is_some() && note.is_none());
                reasons.extend(*reason);
                let (label, note) = (label.map(|label| label.to_string()), note.map(|known| instant(known).to_string()));
                format!("{task},{visit},{},{},{}", label.unwrap_or_default(), reason.unwrap_or_default(), note.unwrap_or_default())
            };
            let mut wanted: Vec<String> = expected.iter().map(line).collect();
            let mut given: Vec<&str> = answer.lines().skip(1).collect();
            wanted.sort_unstable();
            given.sort_unstable();
            let wrong: Vec<_> = wanted.iter().zip(&given).filter(|(wanted, given)| wanted != given).take(8).collect();
            assert!(
                wrong.is_empty() && wanted.len() == given.len(),
                "seed {seed}, known at {}: wanted and given\n{wrong:#?}",
                instant(known)
            );
        }
        std::fs::remove_dir_all(&folder).expect("was made");
    }
    assert!(labelled > 1_000 && unread > 50 && reasons.len() == 11, "{labelled} labels, {unread} without a note, {reasons:?}");
    assert!(tied > 4 && listed > tied + 4, "of {listed} numbers that are listed beside another, {tied} are the same person's");
    assert!(left_out > 0 && left_out < tied, "{left_out} of them are left out later");
}
