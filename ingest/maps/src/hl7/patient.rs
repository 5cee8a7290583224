//! PID: who the patient is, under which numbers, and what is said of the person.

use std::collections::HashSet;

use jiff::Timestamp;
use schemas::{EventCode, Fact, Stage};

use super::chart::Chart;
use super::identity::{self, Merged, joined};
use super::reader::Segment;
use super::time;
use crate::BY_DAY;

/// Takes the patient of `pid` as the one at hand and says under which numbers the sender knows them.
pub(crate) fn identify(chart: &mut Chart<'_>, pid: &Segment<'_>) {
    identify_survivor(chart, pid, &Merged::default());
}

/// As `identify`, where the numbers in `merged` are being merged away.
pub(crate) fn identify_survivor(chart: &mut Chart<'_>, pid: &Segment<'_>, merged: &Merged) {
    let mut numbers = identity::of_pid(pid, &chart.facility.authority);
    identity::put_survivor_first(&mut numbers, merged);
    chart.patient = numbers.first().map(|number| number.identifier.clone());
    let Some(patient) = chart.patient.clone() else {
        chart.reject(Stage::Map, pid.position(3), "the patient has no number");
        return;
    };
    let stands_elsewhere = pid.field(3).repetitions().all(|number| number.component(1).text().is_none());
    if stands_elsewhere {
        chart.flag(pid.position(3), "no number here; PID-2 or PID-4 names the patient");
    }
    chart.facts.push(chart.of_patient(EventCode::PatientIdentified));
    let of_others = if numbers.len() > 1 { identity::of_others(pid) } else { HashSet::new() };
    for other in numbers.iter().skip(1).filter(|other| other.identifier != patient) {
        let best = numbers.first().filter(|_| !stands_elsewhere);
        let tie = best.and_then(|best| identity::tie(best, other, &of_others));
        let (related, text_value) = (Some(joined(&other.identifier)), tie.map(str::to_owned));
        chart.facts.push(Fact { related, text_value, ..chart.of_patient(EventCode::PatientIdentified) });
    }
}

/// What PID says about the person at hand; `""` takes back what was said.
pub(crate) fn describe(chart: &mut Chart<'_>, pid: &Segment<'_>, corrects: Corrects) {
    if chart.patient.is_none() {
        return;
    }
    if pid.field(7).component(1).is_delete() {
        say(chart, EventCode::PatientBirthDate, None);
    } else if let Some(date) = chart.date(pid, 7) {
        say(chart, EventCode::PatientBirthDate, Some(date));
    }
    match pid.field(8).component(1) {
        sex if sex.is_delete() => say(chart, EventCode::PatientSex, None),
        sex => {
            if let Some(sex) = sex.text() {
                say(chart, EventCode::PatientSex, Some(sex_of(&sex).to_owned()));
            }
        }
    }
    let race = pid.field(10);
    if race.is_delete() {
        say(chart, EventCode::PatientRace, None);
    } else if let Some(race) = race.component(1).text().or_else(|| race.component(2).text()) {
        say(chart, EventCode::PatientRace, Some(race));
    }
    let stated_at = chart.instant(pid, 29);
    let stamp = pid.field(29).component(1).subcomponent(1).text();
    let by_day = stamp.as_ref().is_some_and(|stamp| time::is_of_a_day(stamp.as_bytes()));
    let died_at = stated_at.filter(|_| stamp.is_none_or(|stamp| !time::is_of_no_day(stamp.as_bytes())));
    if stated_at.is_some() && died_at.is_none() {
        chart.flag(pid.position(29), "a month or a year is no time of death: when the patient died is not known");
    }
    let death = death(pid);
    if matches!(death, Death::Denied) && stated_at.is_some() {
        chart.flag(pid.position(30), "PID-29 states a death that PID-30 denies; PID-30 decides");
    }
    match death {
        Death::Stated => chart.facts.push(died(chart, died_at, by_day)),
        Death::Dated if stated_at.is_some() => chart.facts.push(died(chart, died_at, by_day)),
        Death::Retracted => chart.facts.push(chart.of_patient(EventCode::PatientDeathRetracted)),
        Death::Denied if corrects == Corrects::Yes => chart.facts.push(chart.of_patient(EventCode::PatientDeathRetracted)),
        Death::Dated | Death::Denied | Death::Unsaid => {}
    }
}

fn died(chart: &Chart<'_>, time: Option<Timestamp>, by_day: bool) -> Fact {
    let text_value = (by_day && time.is_some()).then(|| BY_DAY.to_owned());
    Fact { time, text_value, ..chart.of_patient(EventCode::PatientDied) }
}

/// Whether a message corrects what was said before (A08, A13, A31), so that `N` in PID-30 is news: most senders put it into every message
/// about anybody. `""` in PID-29 or PID-30 is news everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corrects {
    Yes,
    No,
}

/// What PID-29 and PID-30 say together.
enum Death {
    /// `Y`.
    Stated,
    /// A time, and no indicator.
    Dated,
    /// `N`.
    Denied,
    /// `""`.
    Retracted,
    Unsaid,
}

fn death(pid: &Segment<'_>) -> Death {
    let (time, indicator) = (pid.field(29).component(1), pid.field(30).component(1));
    let is = |words: [&str; 4]| words.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(indicator.raw().trim_ascii()));
    if is(["Y", "YES", "1", "TRUE"]) {
        Death::Stated
    } else if is(["N", "NO", "0", "FALSE"]) {
        if time.is_delete() { Death::Retracted } else { Death::Denied }
    } else if time.is_delete() || (time.is_empty() && indicator.is_delete()) {
        Death::Retracted
    } else if time.is_empty() {
        Death::Unsaid
    } else {
        Death::Dated
    }
}

fn say(chart: &mut Chart<'_>, code: EventCode, text_value: Option<String>) {
    chart.facts.push(Fact { text_value, ..chart.of_patient(code) });
}

/// HL7 table 0001, and words for it.
fn sex_of(code: &str) -> &'static str {
    match code.to_ascii_uppercase().as_str() {
        "M" | "MALE" => "male",
        "F" | "FEMALE" => "female",
        "O" | "A" | "X" | "OTHER" | "AMBIGUOUS" => "other",
        _ => "unknown",
    }
}
