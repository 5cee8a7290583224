//! What a configuration asks, checked before a row is read.

use std::collections::BTreeMap;

use jiff::{Span, SpanRelativeTo};
use regex::Regex;
use serde::Deserialize;

/// A configuration that is not read here: mend it, or ask ACES.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not the YAML of a configuration.
    #[error("not a configuration of ACES that is read here (predicates over codes, a trigger, windows)")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// A part of ACES that is not built.
    #[error("`{what}` of {part} is not read here: {reads}")]
    Unread {
        /// Predicate or window.
        part: String,
        /// As stated.
        what: String,
        /// What could stand there.
        reads: &'static str,
    },
    /// A name that no predicate has.
    #[error("{part} names the predicate `{name}`, and there is none")]
    NoPredicate {
        /// Who names it.
        part: String,
        /// The name.
        name: String,
    },
    /// No pattern.
    #[error("the pattern of predicate `{predicate}` is none")]
    Pattern {
        /// Of which predicate.
        predicate: String,
        /// Why.
        source: Box<regex::Error>,
    },
}

/// Predicates that one event may match: bit `n` for predicate `n`.
pub type Matches = u32;

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    predicates: Vec<Codes>,
    /// What triggers.
    pub(crate) trigger: Matches,
    /// The last such event up to a trigger is its index, and without one the trigger does not count; where this is none, the trigger is its own index.
    pub(crate) index: Option<Matches>,
    /// What is counted from each trigger on.
    pub(crate) windows: Vec<Window>,
}

/// The codes of a predicate.
#[derive(Debug)]
enum Codes {
    Exactly(Vec<String>),
    Like(Regex),
}

/// A window from a trigger on.
#[derive(Debug)]
pub(crate) struct Window {
    /// Whether what happens at the trigger's own instant counts.
    pub with_start: bool,
    pub end: End,
    /// Whether what happens at the end's own instant counts.
    pub with_end: bool,
    /// How many events of these there are at least and at most.
    pub has: Vec<(Matches, usize, usize)>,
    /// What is asked about, in the one window that has the label.
    pub label: Option<Matches>,
}

/// Where a window ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// So many microseconds after the trigger.
    After(i64),
    /// With the next such event after the trigger; without one there is no window.
    Next(Matches),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    predicates: BTreeMap<String, StatedPredicate>,
    trigger: String,
    windows: BTreeMap<String, StatedWindow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatedPredicate {
    code: StatedCode,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StatedCode {
    One(String),
    Any { any: Vec<String> },
    Like { regex: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatedWindow {
    start: String,
    end: String,
    start_inclusive: bool,
    end_inclusive: bool,
    #[serde(default)]
    has: BTreeMap<String, String>,
    label: Option<String>,
    index_timestamp: Option<String>,
}

impl Config {
    /// Reads a configuration: predicates over one code, any of several, or a regular expression; windows whose start is the trigger and
    /// whose end is `start + DURATION` or `start -> PREDICATE`, with bounds of counts and one label; an index timestamp at the trigger, or where one
    /// window from `end <- PREDICATE` to the trigger starts.
    ///
    /// # Errors
    /// Where it is none, or asks for another part of ACES.
    pub fn read(text: &str) -> Result<Self, ConfigError> {
        let stated: Stated = serde_yaml_ng::from_str(text)?;
        if stated.predicates.len() > Matches::BITS as usize {
            return Err(unread("the configuration", format!("{} predicates", stated.predicates.len()), "at most 32 predicates"));
        }
        let names: Vec<&str> = stated.predicates.keys().map(String::as_str).collect();
        let (mut windows, mut index) = (Vec::new(), None);
        for (name, window) in &stated.windows {
            let part = format!("window `{name}`");
            match window.start.strip_prefix("end").and_then(|back| back.trim_start().strip_prefix("<-")) {
                Some(back) if index.is_none() => index = Some(led_back(&part, window, back.trim(), &names)?),
                Some(_) => return Err(unread(&part, window.start.clone(), "one window starts at `end <- PREDICATE`")),
                None => windows.push(checked(&part, window, &names)?),
            }
        }
        if windows.iter().filter(|window| window.label.is_some()).count() != 1 {
            return Err(unread("the configuration", "label".to_owned(), "one window has the label"));
        }
        let predicates = stated.predicates.iter().map(|(name, predicate)| codes(name, &predicate.code)).collect::<Result<_, _>>()?;
        Ok(Self { predicates, trigger: named("the trigger", &stated.trigger, &names)?, index, windows })
    }

    /// The predicates that a code matches.
    pub(crate) fn matches(&self, code: &str) -> Matches {
        let matched = |codes: &Codes| match codes {
            Codes::Exactly(each) => each.iter().any(|one| one == code),
            Codes::Like(pattern) => pattern.is_match(code),
        };
        self.predicates.iter().enumerate().fold(0, |all, (nth, codes)| all | Matches::from(matched(codes)) << nth)
    }
}

fn unread(part: &str, what: String, reads: &'static str) -> ConfigError {
    ConfigError::Unread { part: part.to_owned(), what, reads }
}

fn codes(name: &str, stated: &StatedCode) -> Result<Codes, ConfigError> {
    Ok(match stated {
        StatedCode::One(code) => Codes::Exactly(vec![code.clone()]),
        StatedCode::Any { any } => Codes::Exactly(any.clone()),
        StatedCode::Like { regex } => {
            Codes::Like(Regex::new(regex).map_err(|source| ConfigError::Pattern { predicate: name.to_owned(), source: Box::new(source) })?)
        }
    })
}

fn named(part: &str, name: &str, names: &[&str]) -> Result<Matches, ConfigError> {
    match names.iter().position(|known| *known == name) {
        Some(nth) => Ok(1 << nth),
        None => Err(ConfigError::NoPredicate { part: part.to_owned(), name: name.to_owned() }),
    }
}

/// What a window that ends at the trigger leads back to.
fn led_back(part: &str, stated: &StatedWindow, to: &str, names: &[&str]) -> Result<Matches, ConfigError> {
    let whole = stated.start_inclusive && stated.end_inclusive && stated.has.is_empty() && stated.label.is_none();
    if stated.end != "trigger" || !whole || stated.index_timestamp.as_deref() != Some("start") {
        return Err(unread(
            part,
            stated.start.clone(),
            "a window that starts at `end <- PREDICATE` ends at `trigger`, includes both, and has the index timestamp at its `start` and no more",
        ));
    }
    named(part, to, names)
}

fn checked(part: &str, stated: &StatedWindow, names: &[&str]) -> Result<Window, ConfigError> {
    if stated.start != "trigger" {
        return Err(unread(part, stated.start.clone(), "a window starts at `trigger` or at `end <- PREDICATE`"));
    }
    if let Some(at) = stated.index_timestamp.as_ref().filter(|at| *at != "start") {
        return Err(unread(part, at.clone(), "the index timestamp is a window's `start`"));
    }
    let end = match stated.end.strip_prefix("start").map(str::trim_start) {
        Some(after) if after.starts_with('+') => End::After(microseconds(part, after.trim_start_matches('+').trim())?),
        Some(next) if next.starts_with("->") && !stated.start_inclusive => {
            End::Next(named(part, next.trim_start_matches("->").trim(), names)?)
        }
        _ => {
            return Err(unread(
                part,
                stated.end.clone(),
                "a window ends at `start + DURATION`, or without its start at `start -> PREDICATE`",
            ));
        }
    };
    let has = stated.has.iter().map(|(name, bounds)| {
        let (least, most) = between(part, bounds)?;
        Ok((named(part, name, names)?, least, most))
    });
    let has = has.collect::<Result<_, ConfigError>>()?;
    let label = stated.label.as_ref().map(|name| named(part, name, names)).transpose()?;
    Ok(Window { with_start: stated.start_inclusive, end, with_end: stated.end_inclusive, has, label })
}

fn microseconds(part: &str, duration: &str) -> Result<i64, ConfigError> {
    let span = duration.parse::<Span>().ok().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let whole = span.and_then(|duration| i64::try_from(duration.as_micros()).ok());
    whole.ok_or_else(|| unread(part, duration.to_owned(), "a duration is written as `30 days` or `1s`"))
}

/// Both bounds of `(least, most)`, of which `None` is none.
fn between(part: &str, bounds: &str) -> Result<(usize, usize), ConfigError> {
    let bare = bounds.trim().strip_prefix('(').and_then(|bounds| bounds.strip_suffix(')'));
    let one = |bound: &str, none| if bound.trim() == "None" { Some(none) } else { bound.trim().parse().ok() };
    let both = bare.and_then(|bare| bare.split_once(',')).and_then(|(least, most)| Some((one(least, 0)?, one(most, usize::MAX)?)));
    both.ok_or_else(|| unread(part, bounds.to_owned(), "bounds are written as `(1, None)`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: &str, to: &str) -> String {
        let text = crate::READMISSION.replace(from, to);
        assert_ne!(text, crate::READMISSION, "{from}");
        Config::read(&text).expect_err(to).to_string()
    }

    #[test]
    fn our_own_configurations_are_read() {
        for text in [crate::READMISSION, crate::MORTALITY, crate::LENGTH_OF_STAY] {
            Config::read(text).expect("is read");
        }
    }

    #[test]
    fn a_window_that_leads_back_gives_the_index_and_nothing_else() {
        let refused = |from: &str, to: &str| {
            let text = crate::MORTALITY.replace(from, to);
            assert_ne!(text, crate::MORTALITY, "{from}");
            Config::read(&text).expect_err(to).to_string()
        };
        assert!(refused("end: trigger", "end: start + 1 day").contains("ends at `trigger`"));
        assert!(refused("index_timestamp: start", "label: admission").contains("ends at `trigger`"));
        assert!(refused("end <- admission", "end <- arrival").contains("names the predicate `arrival`"));
        assert!(refused("start: trigger\n    end: start -> over", "start: end <- over\n    end: trigger").contains("one window starts at"));
    }

    #[test]
    fn codes_match_as_stated() {
        let text = "predicates:\n  a: {code: X}\n  b: {code: {any: [X, Y]}}\n  c: {code: {regex: \"(?i)^x\"}}\ntrigger: a\n\
                    windows:\n  w: {start: trigger, end: start + 1 day, start_inclusive: False, end_inclusive: True, label: c}\n";
        let config = Config::read(text).expect("is read");
        assert_eq!(["X", "Y", "x2", "Z"].map(|code| config.matches(code)), [0b111, 0b010, 0b100, 0]);
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        assert_eq!(refused("trigger: discharge", "trigger: dismissal"), "the trigger names the predicate `dismissal`, and there is none");
        assert!(refused("end: start + 30 days", "end: start + a month").starts_with("`a month` of window `horizon` is not read here"));
        assert!(refused("end: start + 30 days", "end: end <- discharge").contains("a window ends at `start + DURATION`"));
        assert!(
            refused("start: trigger\n    end: start + 30 days", "start: now.end\n    end: start + 30 days").contains("starts at `trigger`")
        );
        assert!(refused("died: \"(None, 0)\"", "died: \"none\"").contains("bounds are written as"));
        assert!(refused("(?i)^EPISODE", "(^EPISODE").contains("pattern of predicate `died`"));
        assert!(refused("label: return", "index_timestamp: end").contains("index timestamp"));
        assert!(
            refused("{code: MATURE//readmission}", "{code: MATURE//readmission, value_min: 2}").contains("not a configuration of ACES")
        );
    }
}
