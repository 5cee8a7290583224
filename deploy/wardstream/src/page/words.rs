//! Names, instants, numbers and measures as people say them.

use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use trainer::Reason;

use super::facts::Judged;

/// A task's name: `length_of_stay` is "Length of stay".
pub fn task(name: &str) -> String {
    let spaced = name.replace('_', " ");
    let mut signs = spaced.chars();
    signs.next().map_or_else(String::new, |first| first.to_uppercase().chain(signs).collect())
}

/// `May 2024`.
pub fn month(at: Timestamp) -> String {
    at.strftime("%b %Y").to_string()
}

/// `31 May 2024`.
pub fn day(at: Timestamp) -> String {
    at.strftime("%-d %b %Y").to_string()
}

/// `31 May 2024, 14:05 UTC`.
pub fn instant(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M UTC").to_string()
}

/// A length of time in its largest whole unit.
pub fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().abs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    count(number, unit)
}

/// `1 feed`, `1,204 feeds`.
pub fn count(number: i64, noun: &str) -> String {
    format!("{} {noun}{}", whole(number), if number == 1 { "" } else { "s" })
}

/// With a comma between thousands.
pub fn whole(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three places, or a dash.
pub fn figure(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// What an alarm is about: a task, or the feed that stands behind the measure's name.
pub fn subject(judged: &Judged) -> String {
    match judged.measure.split_once(':') {
        Some((_, feed)) if judged.model_version.is_empty() => format!("Feed {feed}"),
        _ if judged.model_version.is_empty() => "All feeds".to_owned(),
        _ => task(&judged.task),
    }
}

/// What happened, in a sentence with the value and its limit.
pub fn sentence(judged: &Judged) -> String {
    let measure = judged.measure.split_once(':').map_or(judged.measure.as_str(), |(measure, _)| measure);
    let (month, value, limit) = (month(judged.month), figure(judged.value), figure(judged.limit));
    let moved = |what: &str| format!("{what}: population stability index {value} in {month}, limit {limit}.");
    let share = |what: &str| format!("{} of {what} in {month}, limit {}.", percent(judged.value), percent(judged.limit));
    match (judged.kind.as_str(), measure) {
        ("performance", "auroc") => format!("AUROC {value} in {month}, below its limit of {limit}."),
        (_, "score") => moved("Probabilities are spread otherwise than in the year before"),
        (_, "score_mean") => format!("The mean score moved by {value} standard deviations in {month}, limit {limit}."),
        (_, "department") => moved("Other departments admit than in the year before"),
        (_, "sex") => moved("The sexes of those admitted are mixed otherwise than in the year before"),
        (_, "age") => moved("Those admitted are of other ages than in the year before"),
        (_, "length_of_admission_note") => moved("Admission notes are of another length than in the year before"),
        (_, "length_of_discharge_note") => moved("Discharge notes are of another length than in the year before"),
        (_, "rejected_share") => share("messages were refused"),
        (_, "partly_mapped_share") => share("messages were read only in part"),
        (_, "missing_visit_number") => share("notes came without a visit number"),
        (_, "missing_text") => share("notes came without text"),
        (_, "missing_department") => share("stays name no department"),
        (_, "new_template_admission") => share("admission notes follow a template that is new"),
        (_, "new_template_discharge") => share("discharge notes follow a template that is new"),
        _ => format!("{}: {value} in {month}, limit {limit}.", task(measure)),
    }
}

/// What follows from an alarm of this kind.
pub fn consequence(kind: &str) -> &'static str {
    match kind {
        "performance" => "It calls the trainer for a refresh, once enough recent examples are mature.",
        "plumbing" => "It calls for a person: ask whoever sends this feed.",
        _ => "Labels will tell whether the model still holds.",
    }
}

/// A line of a model's history.
pub fn event(name: &str) -> &str {
    match name {
        "registered" => "registered",
        "refused" => "refused by the gate",
        "promoted" => "promoted",
        "rolled_back" => "brought back",
        "took_over" => "taken over by the scorer",
        "weights_removed" => "weights removed",
        other => other,
    }
}

/// Why something was done to a model: a trainer writes it as JSON, people as they like.
pub fn reason(stated: &str) -> String {
    match serde_json::from_str(stated) {
        Ok(Reason::First) => "it was to learn from nothing".to_owned(),
        Ok(Reason::Scheduled) => "the calendar had come round".to_owned(),
        Ok(Reason::Alarm { since }) => format!("performance alarmed about {}", month(since)),
        Err(_) => stated.to_owned(),
    }
}

/// Several as one: `a`, `a and b`, `a, b and c`.
pub fn listed(names: &[impl Display]) -> String {
    let mut text = String::new();
    for (place, name) in names.iter().enumerate() {
        let before = match place {
            0 => "",
            place if place + 1 == names.len() => " and ",
            _ => ", ",
        };
        text = format!("{text}{before}{name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_said_as_people_say_them() {
        assert_eq!([0, 7, 999, 1_000, 1_234_567, -1_000].map(whole), ["0", "7", "999", "1,000", "1,234,567", "-1,000"]);
        assert_eq!((count(1, "feed"), count(2, "feed")), ("1 feed".to_owned(), "2 feeds".to_owned()));
        let said = [1, 59, 60, 7_200, 172_799, 172_800, -90].map(|seconds| span(SignedDuration::from_secs(seconds)));
        assert_eq!(said, ["1 second", "59 seconds", "1 minute", "2 hours", "47 hours", "2 days", "1 minute"]);
        assert_eq!((figure(Some(0.7)), figure(Some(f64::NAN)), figure(None)), ("0.700".to_owned(), "–".to_owned(), "–".to_owned()));
        assert_eq!((task("length_of_stay"), task("")), ("Length of stay".to_owned(), String::new()));
        assert_eq!([&["a"][..], &["a", "b"], &["a", "b", "c"]].map(listed), ["a", "a and b", "a, b and c"]);
    }

    #[test]
    fn why_a_model_answers_is_told_in_words() {
        let written = |reason: Reason| serde_json::to_string(&reason).expect("is JSON");
        let since = "2024-02-01T00:00:00Z".parse().expect("an instant");
        let told = [Reason::First, Reason::Scheduled, Reason::Alarm { since }].map(|why| reason(&written(why)));
        assert_eq!(told, ["it was to learn from nothing", "the calendar had come round", "performance alarmed about Feb 2024"]);
        assert_eq!(reason("it answers {\"better\"}"), "it answers {\"better\"}");
    }

    /// Of every measure that `drift` has, and of one that it does not have yet.
    #[test]
    fn an_alarm_is_told_in_plain_words() {
        let judged = |model: &str, kind: &str, measure: &str| Judged {
            task: if model.is_empty() { "all" } else { "length_of_stay" }.to_owned(),
            model_version: model.to_owned(),
            month: "2024-05-01T00:00:00Z".parse().expect("an instant"),
            kind: kind.to_owned(),
            measure: measure.to_owned(),
            value: Some(0.375),
            limit: Some(0.25),
            alarm: true,
            standing: true,
        };
        let fell = judged("m", "performance", "auroc");
        assert_eq!(
            (subject(&fell).as_str(), sentence(&fell).as_str()),
            ("Length of stay", "AUROC 0.375 in May 2024, below its limit of 0.250.")
        );
        let short = judged("", "plumbing", "missing_visit_number:north:2");
        assert_eq!(subject(&short), "Feed north:2");
        assert_eq!(sentence(&short), "37.5 % of notes came without a visit number in May 2024, limit 25.0 %.");
        let ages = judged("", "population", "age:south");
        assert_eq!(
            sentence(&ages),
            "Those admitted are of other ages than in the year before: population stability index 0.375 in May 2024, limit 0.250."
        );
        assert_eq!(sentence(&judged("m", "estimated", "some_gap")), "Some gap: 0.375 in May 2024, limit 0.250.");
    }
}
