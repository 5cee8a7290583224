//! Alarms: which are open, since when, and which were.
//!
//! Open is what alarms in the newest month that was judged, about a feed or about the model that answers: a model that answers no more is nobody's concern.

use jiff::Timestamp;
use schemas::DriftAlert;

use super::facts::{Facts, Judged, Told};
use super::markup::Markup;
use super::words;

/// Alarms of the past that are listed.
const PAST: usize = 100;

/// An alarm that is open, with all months in which it has stood.
pub struct Open<'a> {
    /// The newest month.
    pub judged: &'a Judged,
    /// The first month.
    pub since: Timestamp,
    /// How many months were judged since.
    pub months: usize,
    /// When the first of them was published, in the log's time.
    pub published_at: Option<Timestamp>,
}

/// Those that are open, newest first; an alarm that lasts is one.
pub fn open(facts: &Facts) -> Told<Vec<Open<'_>>> {
    let drift = facts.drift.as_ref().map_err(Clone::clone)?;
    let landed = facts.landed.as_deref().unwrap_or_default();
    let mut all: Vec<Open<'_>> = Vec::new();
    for judged in drift.iter().filter(|judged| is_open(facts, judged)) {
        let published_at = landed.iter().find(|alert| judged.is(alert)).map(|alert| alert.alarmed_at);
        match all.iter_mut().find(|one| one.judged.is_like(judged)) {
            Some(one) => {
                one.since = one.since.min(judged.month);
                one.months += 1;
                one.published_at = published_at.or(one.published_at);
            }
            None => all.push(Open { judged, since: judged.month, months: 1, published_at }),
        }
    }
    Ok(all)
}

fn is_open(facts: &Facts, judged: &Judged) -> bool {
    let concerns = match &facts.champion {
        Ok(champion) => champion.as_ref().is_some_and(|champion| champion.model_version.0 == judged.model_version),
        // Who answers is not known: better one alarm too many.
        Err(_) => true,
    };
    judged.standing && (judged.model_version.is_empty() || concerns)
}

/// The section.
pub fn show(html: &mut Markup, facts: &Facts) {
    html.raw("<section aria-labelledby=\"alarms\"><h2 id=\"alarms\">Alarms</h2>");
    html.told(&open(facts), |html, open| {
        if open.is_empty() {
            show_none(html, facts);
        } else {
            html.raw("<ul class=\"alarms\">");
            open.iter().for_each(|one| show_one(html, facts, one));
            html.raw("</ul>");
        }
    });
    if let Err(sentence) = &facts.landed {
        html.raw("<p class=\"trouble\">").text(sentence).raw("</p>");
    }
    if facts.drift.is_ok() {
        show_past(html, facts);
    }
    html.raw("</section>");
}

fn show_none(html: &mut Markup, facts: &Facts) {
    let newest = facts.drift.as_deref().unwrap_or_default().first().map(|judged| judged.month);
    html.raw("<p class=\"calm\"><span aria-hidden=\"true\">✓</span> No alarm is open. ");
    match newest {
        Some(month) => html.text(format_args!("The newest month that was judged is {}.", words::month(month))),
        None => html.raw("No month of any model has been judged yet: a month is, once all of its labels are mature."),
    };
    html.raw("</p>");
}

fn show_one(html: &mut Markup, facts: &Facts, open: &Open<'_>) {
    html.raw("<li><strong>").text(words::subject(open.judged)).raw("</strong> ").text(words::sentence(open.judged));
    html.raw("<br><small>");
    if open.months > 1 {
        html.text(format_args!("In alarm since {}, {}. ", words::month(open.since), words::count(as_count(open.months), "month")));
    }
    match open.published_at {
        Some(at) => html.text(format_args!("Published on {}. ", words::day(at))),
        None if facts.landed.is_ok() => html.raw("Not published yet. "),
        None => html,
    };
    html.raw(words::consequence(&open.judged.kind)).raw("</small></li>");
}

fn as_count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row of the past: what alarmed, or what was published and is no alarm by what has become known since.
enum Past<'a> {
    Judged(&'a Judged),
    Fallen(&'a DriftAlert),
}

impl Past<'_> {
    fn month(&self) -> Timestamp {
        match self {
            Self::Judged(judged) => judged.month,
            Self::Fallen(alert) => alert.month,
        }
    }
}

fn past(facts: &Facts) -> Vec<Past<'_>> {
    let alarms: Vec<&Judged> = facts.drift.as_deref().unwrap_or_default().iter().filter(|judged| judged.alarm).collect();
    let landed = facts.landed.as_deref().unwrap_or_default();
    let fallen = landed.iter().filter(|alert| !alarms.iter().any(|judged| judged.is(alert))).map(Past::Fallen);
    let mut all: Vec<Past<'_>> = alarms.iter().filter(|judged| !is_open(facts, judged)).map(|judged| Past::Judged(judged)).collect();
    all.extend(fallen);
    all.sort_by_key(|one| std::cmp::Reverse(one.month()));
    all
}

fn show_past(html: &mut Markup, facts: &Facts) {
    let past = past(facts);
    if past.is_empty() {
        return;
    }
    html.raw("<details><summary>").text(words::count(as_count(past.len()), "alarm")).raw(" of the past</summary>");
    html.table("Alarms of the past", &["Month", "About", "What", "Model"], |html| {
        for one in past.iter().take(PAST) {
            html.raw("<tr><th scope=\"row\">").text(words::month(one.month())).raw("</th><td>");
            match one {
                Past::Judged(judged) => {
                    html.text(words::subject(judged)).raw("</td><td class=\"words\">").text(words::sentence(judged));
                    html.raw("</td><td><code>").text(&judged.model_version);
                }
                Past::Fallen(alert) => {
                    let about = if alert.model_version.is_empty() { "Feed".to_owned() } else { words::task(&alert.task) };
                    html.text(about)
                        .raw("</td><td class=\"words\">")
                        .text(&alert.measure)
                        .raw(" was published on ")
                        .text(words::day(alert.alarmed_at));
                    html.raw(", and is no alarm by what is known now.</td><td><code>").text(&alert.model_version);
                }
            }
            html.raw("</code></td></tr>");
        }
    });
    if past.len() > PAST {
        html.raw("<p>Older ones: <code>SELECT * FROM drift WHERE alarm</code></p>");
    }
    html.raw("</details>");
}
