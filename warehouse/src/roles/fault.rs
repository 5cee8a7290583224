//! What was wrong with a statement, in PostgreSQL's error classes, with the place in its text where one is known.
//!
//! The query engine's words go to who asked, never into a log: they may quote values. Words that name files do not go out.

mod filtered;
mod places;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

use super::texts;
use crate::error::QueryError;
use crate::widths::Wide;

/// A statement was refused or given up, as PostgreSQL would say it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    /// SQLSTATE.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the statement's text, in characters from 1.
    pub position: Option<usize>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, position: None }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The first place where `word` stands in the text by itself.
    fn at_word(self, sql: &str, word: &str) -> Self {
        Self { position: self.position.or_else(|| places::of_word(sql, word)), ..self }
    }

    /// Where in the text the engine's words are about, if that can be told.
    fn at_reason(self, sql: &str, reason: &str) -> Self {
        Self { position: places::of(reason, sql), ..self }
    }
}

/// What was asked, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The text as it came.
    pub sql: &'a str,
    /// Whether the role sees texts and raw messages.
    pub notes: bool,
}

/// The error as PostgreSQL's.
pub(crate) fn refusal(error: &DataFusionError, asked: Asked<'_>) -> Refusal {
    let mut refusal = of_engine(error.find_root(), asked);
    if refusal.position.is_none()
        && let Some(span) = error.diagnostic().and_then(|diagnostic| diagnostic.span)
    {
        refusal.position = character(asked.sql, span.start.line, span.start.column);
    }
    refusal
}

/// A table that cannot be read, or a version that is gone.
pub(crate) fn of_tables(error: &QueryError, asked: Asked<'_>) -> Refusal {
    match error {
        QueryError::Engine { reason } => planning(reason, asked),
        QueryError::Version { .. } | QueryError::NoVersion { .. } => Refusal::new("22023", error.to_string()),
        QueryError::Log { .. } | QueryError::Row { .. } => Refusal::new("58030", error.to_string()),
    }
}

/// What the engine says where a statement may have no more disk.
const DISK: &str = "disk space";

fn full() -> Refusal {
    Refusal::new("53100", "the statement needs more disk than it may use").with_hint("ask for fewer rows or groups at a time")
}

fn unread() -> Refusal {
    Refusal::new("58030", "the tables could not be read")
}

fn of_engine(root: &DataFusionError, asked: Asked<'_>) -> Refusal {
    match root {
        DataFusionError::SQL(error, _) => syntax(error, asked.sql),
        DataFusionError::SchemaError(error, _) => names(error, asked),
        DataFusionError::Plan(reason) => planning(reason, asked),
        DataFusionError::NotImplemented(reason) => not_there(reason, asked),
        DataFusionError::Configuration(reason) => Refusal::new("22023", reason.clone()),
        DataFusionError::ArrowError(error, _) => values(error, asked),
        DataFusionError::Execution(reason) => running(reason, asked),
        DataFusionError::ResourcesExhausted(reason) if reason.contains(DISK) => full(),
        DataFusionError::IoError(error) if error.to_string().contains(DISK) => full(),
        DataFusionError::ParquetError(error) => match filtered::of(&error.to_string()) {
            Some(error) => values(&error, asked),
            None => unread(),
        },
        DataFusionError::ResourcesExhausted(_) => Refusal::new("53200", "out of memory: the statement needs more than it may use")
            .with_hint("ask for fewer rows or groups at a time, or for a role with a larger memory_limit_mb"),
        DataFusionError::External(error) => match (error.downcast_ref::<Refusal>(), error.downcast_ref::<Wide>()) {
            (Some(refusal), _) => refusal.clone(),
            (None, Some(_)) => Refusal::new("53200", "out of memory: rows are too wide to be joined or unnested")
                .with_hint("join without the long values, and look them up for the rows that remain"),
            (None, None) => outside(error.as_ref()),
        },
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => unread(),
        _ => Refusal::new("XX000", "internal error of the query engine").with_hint(root.strip_backtrace()),
    }
}

/// What does not parse; the parser says the place at the end of its words.
pub(crate) fn syntax(error: &ParserError, sql: &str) -> Refusal {
    let words = match error {
        ParserError::RecursionLimitExceeded => {
            return Refusal::new("54001", "stack depth limit exceeded").with_hint("the statement is nested too deeply");
        }
        ParserError::ParserError(words) | ParserError::TokenizerError(words) => words,
    };
    let (said, place) = match words.rsplit_once(" at Line: ") {
        Some((said, place)) => (said, place.split_once(", Column: ")),
        None => (words.as_str(), None),
    };
    let place = place.and_then(|(line, column)| character(sql, line.parse().ok()?, column.trim().parse().ok()?));
    let end = said.ends_with("found: EOF");
    let message = if end { format!("syntax error at end of input: {said}") } else { format!("syntax error: {said}") };
    let position = place.or_else(|| end.then(|| sql.chars().count() + 1));
    Refusal { position, ..Refusal::new("42601", message) }
}

fn names(error: &SchemaError, asked: Asked<'_>) -> Refusal {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            if !asked.notes && texts::hides(&field.name) {
                return denied(&field.name).at_word(asked.sql, &field.name);
            }
            let table = field.relation.as_ref().map(|relation| relation.table());
            let is_known =
                |table: &str| valid_fields.iter().any(|valid| valid.relation.as_ref().is_some_and(|known| known.table() == table));
            if let Some(table) = table.filter(|table| !valid_fields.is_empty() && !is_known(table)) {
                return Refusal::new("42P01", format!("missing FROM-clause entry for table \"{table}\"")).at_word(asked.sql, table);
            }
            let refusal = Refusal::new("42703", format!("column \"{}\" does not exist", field.flat_name()));
            let likely = valid_fields.iter().find(|valid| valid.name.eq_ignore_ascii_case(&field.name));
            let refusal = match likely {
                Some(likely) => refusal.with_hint(format!("perhaps you meant to reference the column \"{}\"", likely.flat_name())),
                None => refusal,
            };
            refusal.at_word(asked.sql, &field.name)
        }
        SchemaError::AmbiguousReference { field } => {
            Refusal::new("42702", format!("column reference \"{}\" is ambiguous", field.name)).at_word(asked.sql, &field.name)
        }
        // Two relations of one name have columns of one name.
        SchemaError::DuplicateQualifiedField { qualifier, .. } => {
            Refusal::new("42712", format!("table name \"{}\" specified more than once", qualifier.table()))
                .at_word(asked.sql, qualifier.table())
        }
        SchemaError::DuplicateUnqualifiedField { name } => Refusal::new("42701", format!("column \"{name}\" specified more than once")),
    }
}

/// A column that the role does not see.
pub(crate) fn denied(column: &str) -> Refusal {
    Refusal::new("42501", format!("permission denied for column {column}"))
        .with_hint("texts of notes, and bytes, keys and headers of messages are shown to roles with notes = true alone")
}

/// The words between the first two quotes.
fn quoted(reason: &str) -> Option<&str> {
    reason.split('\'').nth(1)
}

/// What the engine says of plans, and the class it belongs to.
const PLANNING: &[(&str, &str)] = &[
    ("Aggregate functions are not allowed", "42803"),
    ("Aggregate function calls cannot be nested", "42803"),
    ("Order by column out of bounds", "42P10"),
    ("Cannot find column with position", "42P10"),
    ("names given as column alias", "42P10"),
    ("should only return one column", "42601"),
    ("data length across values list", "42601"),
    ("SELECT * with no tables", "42601"),
    ("Unsupported compound identifier", "42601"),
    ("Invalid qualifier", "42P01"),
    ("Invalid window frame", "42P20"),
    ("is not defined!", "42704"),
    ("requires a boolean expression", "42804"),
    ("logical boolean operation", "42804"),
    ("non-boolean predicate", "42804"),
    ("OFFSET must be", "2201X"),
    ("Expected LIMIT to be", "42804"),
    ("Step cannot be zero", "22023"),
    ("Percentile value must be", "22003"),
    ("failed to match any signature", "42883"),
    ("GROUP BY", "42803"),
    ("aggregate function", "42803"),
    ("Failed to coerce arguments", "42883"),
    ("No function matches", "42883"),
    ("does not support", "42883"),
    ("Cannot coerce", "42883"),
    ("Cannot infer common argument type", "42883"),
    ("Cannot get result type", "42883"),
    ("Unary operator", "42883"),
    ("Substring without", "42883"),
    ("Unsupported CAST", "42846"),
    ("Cannot automatically convert", "42846"),
    ("annot cast", "42846"),
    ("Unsupported SQL type", "42704"),
    ("specified more than once", "42712"),
    ("unique expression names", "42701"),
    ("same number of columns", "42601"),
    ("different number of columns", "42601"),
    ("must not be negative", "2201W"),
    ("LIMIT", "2201W"),
    ("not supported", "0A000"),
    ("parameter", "42P02"),
    ("laceholder", "42P02"),
    ("could not be coerced", "42804"),
    ("type", "42804"),
];

fn planning(reason: &str, asked: Asked<'_>) -> Refusal {
    if reason.starts_with("table ") && reason.ends_with(" not found") || reason.starts_with("No table named") {
        let full = quoted(reason).unwrap_or(reason);
        let name = full.strip_prefix("wardstream.public.").unwrap_or(full);
        let word = name.rsplit('.').next().unwrap_or(name);
        if asked.sql.to_lowercase().contains(&format!("{}(", word.to_lowercase())) {
            return Refusal::new("42883", format!("function {name} does not exist")).at_word(asked.sql, word);
        }
        return Refusal::new("42P01", format!("relation \"{name}\" does not exist")).at_word(asked.sql, word);
    }
    if let Some(rest) = reason.strip_prefix("Invalid function ").or_else(|| reason.strip_prefix("Table function ")) {
        let name = rest.split('\'').nth(1).unwrap_or(rest);
        let refusal = Refusal::new("42883", format!("function {name} does not exist")).at_word(asked.sql, name);
        return match reason.split_once("Did you mean ") {
            Some((_, likely)) => refusal.with_hint(format!("perhaps you meant {likely}")),
            None => refusal,
        };
    }
    let code = PLANNING.iter().find(|(words, _)| reason.contains(words)).map_or("42000", |(_, code)| code);
    let refusal = match (reason.split_once("given name and argument types '"), reason.split_once("Candidate functions:")) {
        (Some((words, called)), Some((_, known))) => unfitting(words, called, known),
        _ => Refusal::new(code, reason.to_owned()),
    };
    refusal.at_reason(asked.sql, reason)
}

/// A call whose arguments fit no function of the name. Of the engine's words before it, what a function says of its own arguments counts, not what the engine says
/// of itself.
fn unfitting(words: &str, called: &str, known: &str) -> Refusal {
    let called = called.split('\'').next().unwrap_or(called);
    let own = words.split_once("coercion failed with: ").and_then(|(_, own)| own.split(". No function").next());
    let why = own.map_or("no function is called by these arguments", |own| own.rsplit_once("rror: ").map_or(own, |(_, own)| own));
    let known: Vec<&str> = known.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Refusal::new("42883", format!("{why}: {called}")).with_hint(format!("there is {}", known.join(", ")))
}

fn not_there(reason: &str, asked: Asked<'_>) -> Refusal {
    if reason.starts_with("Unsupported SQL type") || reason.contains("Unsupported custom") {
        return Refusal::new("42704", reason.to_owned()).at_reason(asked.sql, reason);
    }
    if reason.contains("does not support logical expression WindowFunction") {
        let refusal =
            Refusal::new("42P20", "window functions are not allowed in WHERE").with_hint("choose by them in a query around this one");
        return refusal.at_reason(asked.sql, reason);
    }
    if reason.contains("Unsupported compound identifier") || reason.contains("Unsupported value") {
        return planning(reason, asked);
    }
    if reason.contains("with AS alias not supported") {
        return Refusal::new("42601", "syntax error: a list of all columns has no name").at_reason(asked.sql, reason);
    }
    Refusal::new("0A000", reason.to_owned())
}

fn values(error: &ArrowError, asked: Asked<'_>) -> Refusal {
    match error {
        ArrowError::DivideByZero => Refusal::new("22012", "division by zero").at_word(asked.sql, "0"),
        ArrowError::ArithmeticOverflow(reason) if reason.contains("imestamp") => Refusal::new("22008", reason.clone()),
        ArrowError::ArithmeticOverflow(reason) => Refusal::new("22003", reason.clone()),
        ArrowError::CastError(reason) => literal(reason, asked),
        ArrowError::ParseError(reason) => literal(reason, asked),
        ArrowError::InvalidArgumentError(reason) | ArrowError::ComputeError(reason) => running(reason, asked),
        ArrowError::IoError(reason, _) if reason.contains(DISK) => full(),
        ArrowError::MemoryError(_) => Refusal::new("53200", "out of memory"),
        ArrowError::ExternalError(error) => match (error.downcast_ref::<Refusal>(), error.downcast_ref::<DataFusionError>()) {
            (Some(refusal), _) => refusal.clone(),
            (None, Some(inner)) => of_engine(inner.find_root(), asked),
            (None, None) => outside(error.as_ref()),
        },
        ArrowError::OffsetOverflowError(_) => Refusal::new("54000", "a value of the statement is too large"),
        other => Refusal::new("XX000", "internal error of the query engine").with_hint(other.to_string()),
    }
}

/// An error of neither the engine's nor our own: a pattern's, or the store's, whose words may name files.
fn outside(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Refusal {
    let words = error.to_string();
    if words.starts_with("regex parse error") {
        return Refusal::new("2201B", words);
    }
    unread()
}

/// A value that is none of its type.
fn literal(reason: &str, asked: Asked<'_>) -> Refusal {
    let lower = reason.to_lowercase();
    let value = quoted(reason).or_else(|| reason.split('"').nth(1));
    let is_of_time = ["timestamp", "date", "time", "interval"].iter().any(|kind| lower.contains(kind));
    let is_beyond = lower.contains("overflow")
        || lower.contains("out of range")
        || lower.contains("too large")
        || lower.starts_with("can't cast value");
    let code = match value {
        _ if lower.contains("type interval") => "22007",
        Some(value) if is_of_time && begins_as_date(value) => "22008",
        _ if is_of_time => "22007",
        // A whole number that is no value of a type of whole numbers has no place in it.
        Some(value)
            if value.trim().trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit()) && !value.trim().is_empty() =>
        {
            "22003"
        }
        _ if is_beyond => "22003",
        _ => "22P02",
    };
    let refusal = Refusal::new(code, format!("invalid input: {reason}"));
    // Seconds may have been added to what was written.
    let place =
        value.and_then(|value| place_of_literal(asked.sql, value).or_else(|| place_of_literal(asked.sql, value.strip_suffix(":00")?)));
    Refusal { position: place, ..refusal }
}

/// Whether a text is written as a date or a time of day is: then it is one that there is not.
fn begins_as_date(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.get(digits..).unwrap_or_default();
    let follows = |separator: char| rest.strip_prefix(separator).is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()));
    digits > 0 && (follows('-') || follows(':'))
}

/// What the engine says of values that it works on, and the class it belongs to.
const RUNNING: &[(&str, &str)] = &[
    ("cannot access field", "42809"),
    ("square root of a negative", "2201F"),
    ("zero raised to a negative", "2201F"),
    ("complex result", "2201F"),
    ("logarithm of", "2201E"),
    ("factorial", "22003"),
    ("negative count not allowed", "22011"),
    ("negative substring length", "22011"),
    ("field position must not be zero", "22023"),
    ("date part", "22023"),
    ("date_trunc granularity", "22023"),
    ("too large to store in a decimal", "22003"),
    ("failed to decode", "22023"),
    ("ntile requires", "22014"),
    ("unicode scalar", "22023"),
    ("unable to parse date from", "22008"),
    ("timestamp out of range", "22008"),
    ("the instant is out of range", "22008"),
];

fn running(reason: &str, asked: Asked<'_>) -> Refusal {
    let lower = reason.to_lowercase();
    if lower.contains("division by zero") || lower.contains("divide by zero") {
        return Refusal::new("22012", "division by zero");
    }
    if let Some((_, code)) = RUNNING.iter().find(|(words, _)| lower.contains(words)) {
        return Refusal::new(code, reason.to_owned());
    }
    if lower.contains("declared as non-nullable") && asked.sql.to_lowercase().contains("regclass") {
        return Refusal::new("42P01", "the relation does not exist");
    }
    if lower.starts_with("time zone") {
        return Refusal::new("22023", reason.to_owned());
    }
    if lower.starts_with("placeholder") {
        return Refusal::new("42P02", reason.to_owned()).at_reason(asked.sql, reason);
    }
    if lower.contains("regular expression") || lower.contains("regex") {
        return Refusal::new("2201B", reason.to_owned());
    }
    if lower.contains("more than one row") {
        return Refusal::new("21000", "more than one row returned by a subquery used as an expression");
    }
    if lower.contains("overflow") || lower.contains("out of range") {
        return Refusal::new("22003", reason.to_owned());
    }
    if lower.contains("cast") || lower.contains("parsing") || lower.contains("parse") {
        return literal(reason, asked);
    }
    Refusal::new("22000", reason.to_owned())
}

/// The character at a line and a column, both from 1.
fn character(sql: &str, line: u64, column: u64) -> Option<usize> {
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    let before: usize = sql.split('\n').take(line.checked_sub(1)?).map(|line| line.chars().count() + 1).sum();
    (column > 0).then_some(before + column)
}

/// Where a text stands within quotes.
fn place_of_literal(sql: &str, value: &str) -> Option<usize> {
    let at = sql.find(&format!("'{value}'"))?;
    Some(sql.get(..at)?.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_however_it_is_told() {
        let words = "The used disk space during the spilling process has exceeded the allowable limit of 4.0 GB.";
        let arrow = ArrowError::IoError(words.to_owned(), std::io::Error::other(words));
        for error in [
            DataFusionError::IoError(std::io::Error::other(words)),
            DataFusionError::ResourcesExhausted(words.to_owned()),
            DataFusionError::ArrowError(Box::new(arrow), None),
        ] {
            assert_eq!(refusal(&error, Asked { sql: "SELECT 1", notes: false }).code, "53100", "{error}");
        }
    }

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(character("SELECT\n 'ü', x", 2, 7), Some(14));
        assert_eq!(places::of_word("SELECT 'ü', labelled, Label FROM t", "label"), Some(23));
        assert_eq!(places::of_word("SELECT 1", "nothing"), None);
        assert_eq!(place_of_literal("SELECT 'ü', '12x'::int", "12x"), Some(13));
    }
}
