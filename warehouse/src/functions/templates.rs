//! PostgreSQL's templates of instants, for whoever writes and reads by them: `YYYY-MM-DD HH24:MI`. Patterns after its documentation, "Data Type Formatting Functions".

use datafusion::common::{Result, exec_err};

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// What stands between double quotes, as it is.
    Text(String),
    /// A letter or a sign that is no pattern, as it is.
    Letter(char),
    /// What stands for a part of an instant.
    Pattern(Pattern),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As in [`PATTERNS`].
    pub name: &'static str,
    pub case: Case,
    /// `FM`, and `TM`, which is of languages that we have not: without blanks and leading zeros.
    pub bare: bool,
    /// `TH` or `th` behind it.
    pub ordinal: Option<Case>,
}

/// How letters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Title,
    Lower,
}

/// Patterns by their names in upper case, the longer before those with which they begin.
const PATTERNS: [&str; 49] = [
    "SSSSS", "SSSS", "Y,YYY", "YYYY", "IYYY", "MONTH", "A.M.", "P.M.", "B.C.", "A.D.", "HH24", "HH12", "IDDD", "YYY", "IYY", "MON", "DAY",
    "DDD", "TZH", "TZM", "FX", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "HH", "MI", "SS", "MS", "US", "AM", "PM", "BC", "AD", "YY", "IY",
    "MM", "DY", "DD", "ID", "IW", "WW", "CC", "TZ", "OF", "RM", "J",
];
/// Those of one letter, which would be found within the others.
const LETTERS: [&str; 5] = ["Y", "I", "D", "W", "Q"];

/// The template's parts.
///
/// # Errors
/// Where it has a pattern that is not known here.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (text, behind) = quoted(rest);
            pieces.push(Piece::Text(text));
            rest = behind;
            continue;
        }
        let of_pattern = without_prefixes(rest);
        let bare = of_pattern.len() < rest.len();
        match pattern(of_pattern, bare) {
            Some((pattern, _)) if pattern.name == "RM" => {
                return exec_err!("a template does not know the pattern RM: write the month with MM or Mon");
            }
            Some((pattern, behind)) => {
                pieces.push(Piece::Pattern(pattern));
                rest = behind;
            }
            None => {
                let mut behind = of_pattern.chars();
                pieces.extend(behind.next().map(Piece::Letter));
                rest = behind.as_str();
            }
        }
    }
    Ok(pieces)
}

/// What stands behind `FM` and `TM`.
fn without_prefixes(template: &str) -> &str {
    let mut rest = template;
    while let Some(behind) = ["FM", "fm", "TM", "tm"].iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = behind;
    }
    rest
}

/// The text between double quotes at the beginning, and what stands behind them.
pub(super) fn quoted(template: &str) -> (String, &str) {
    let mut text = String::new();
    let mut letters = template.chars();
    let _quote = letters.next();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => text.extend(letters.next()),
            other => text.push(other),
        }
    }
    (text, letters.as_str())
}

/// The pattern at the beginning, and what stands behind it.
fn pattern(template: &str, bare: bool) -> Option<(Pattern, &str)> {
    let is_here = |name: &&&str| template.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    let name = PATTERNS.iter().chain(&LETTERS).find(is_here)?;
    let (head, behind) = template.split_at_checked(name.len())?;
    let mut letters = head.chars().filter(char::is_ascii_alphabetic);
    let case = match (letters.next(), letters.next()) {
        (Some(first), _) if first.is_ascii_lowercase() => Case::Lower,
        (_, Some(second)) if second.is_ascii_lowercase() => Case::Title,
        _ => Case::Upper,
    };
    let th = [("TH", Case::Upper), ("th", Case::Lower)].into_iter().find_map(|(th, case)| Some((behind.strip_prefix(th)?, case)));
    let (behind, ordinal) = th.map_or((behind, None), |(behind, case)| (behind, Some(case)));
    Some((Pattern { name, case, bare, ordinal }, behind))
}

pub(super) const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
pub(super) const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
