//! What was wrong with a statement, in PostgreSQL's error classes, with the place in its text where one is known.
//!
//! The query engine's words go to who asked, never into a log: they may quote values. Words that name files do not go out.

mod classes;
pub(crate) mod clauses;
mod constants;
mod filtered;
pub(crate) mod grammar;
mod operators;
mod places;
mod tokens;
pub(super) mod typing;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

use super::desk::CATALOG;
use super::texts;
use crate::error::QueryError;
use crate::widths::Wide;
use classes::{NOT_THERE, PLANNING, RUNNING};
use tokens::Tokens;

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
    let refusal = placed(error, asked);
    // The values of a statement that was prepared in words stand in this text, and the statement in another.
    if !refusal.code.starts_with("22") && Tokens::of(asked.sql).is(0, "execute") {
        return Refusal { position: None, ..refusal };
    }
    refusal
}

fn placed(error: &DataFusionError, asked: Asked<'_>) -> Refusal {
    let root = error.find_root();
    let mut refusal = of_engine(root, asked);
    let may_be_of_clauses = refusal.code.starts_with("42") && !["42501", "42P01"].contains(&refusal.code);
    if (may_be_of_clauses || ["0A000", "XX000"].contains(&refusal.code))
        && let Some(better) = clauses::fault(asked.sql)
    {
        return better;
    }
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let told = span.and_then(|span| character(asked.sql, span.start.line, span.start.column));
    // Where a name stands the engine knows best; of anything else it tells all that takes part.
    if names_something(root) {
        refusal.position = told.map(|place| places::whole(asked.sql, place)).or(refusal.position);
    } else {
        refusal.position = refusal.position.or(told);
    }
    refusal
}

/// Whether the error is about a name alone.
fn names_something(root: &DataFusionError) -> bool {
    match root {
        DataFusionError::SchemaError(..) => true,
        DataFusionError::Plan(reason) => is_of_relation(reason) || reason.starts_with("Invalid function "),
        _ => false,
    }
}

fn is_of_relation(reason: &str) -> bool {
    reason.starts_with("table ") && reason.ends_with(" not found") || reason.starts_with("No table named")
}

/// A table that cannot be read, or a version that is gone.
pub(crate) fn of_tables(error: &QueryError, asked: Asked<'_>) -> Refusal {
    match error {
        QueryError::Engine { reason } => planning(reason, asked),
        QueryError::Refused { code, told } => Refusal::new(code, told.clone()),
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
    let (said, place) = grammar::placed(words, sql);
    let (said, place) = grammar::nearer(said, place, sql);
    if said.starts_with("Expect a char") {
        return Refusal {
            position: place,
            ..Refusal::new("0A000", format!("what separates and quotes values is a single character: {said}"))
        };
    }
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
            Refusal { position: places::of_column(asked.sql, table, &field.name), ..refusal }
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

fn planning(reason: &str, asked: Asked<'_>) -> Refusal {
    if is_of_relation(reason) {
        let full = quoted(reason).unwrap_or(reason);
        let name = full.strip_prefix("wardstream.public.").unwrap_or(full);
        let word = name.rsplit('.').next().unwrap_or(name);
        let at = |refusal: Refusal| Refusal { position: places::of_relation(asked.sql, word), ..refusal };
        if name.split('.').count() == 3 && name.split('.').next() != Some(CATALOG) {
            return at(Refusal::new("0A000", format!("cross-database references are not implemented: \"{name}\"")));
        }
        if asked.sql.to_lowercase().contains(&format!("{}(", word.to_lowercase())) {
            return Refusal::new("42883", format!("function {name} does not exist")).at_word(asked.sql, word);
        }
        return at(Refusal::new("42P01", format!("relation \"{name}\" does not exist")));
    }
    if let Some(rest) = reason.strip_prefix("Invalid function ").or_else(|| reason.strip_prefix("Table function ")) {
        let name = rest.split('\'').nth(1).unwrap_or(rest);
        let refusal = Refusal::new("42883", format!("function {name} does not exist")).at_word(asked.sql, name);
        return match reason.split_once("Did you mean ") {
            Some((_, likely)) => refusal.with_hint(format!("perhaps you meant {likely}")),
            None => refusal,
        };
    }
    let tokens = Tokens::of(asked.sql);
    if let Some(index) = operators::untimely(&tokens, reason) {
        let refusal = Refusal::new("22007", "invalid input: the text is reckoned with as an instant, and is none");
        return Refusal { position: Some(tokens.place(index)), ..refusal.with_hint("write interval '...' for a length of time") };
    }
    let code = match PLANNING.iter().find(|(words, _)| reason.contains(words)).map_or("42000", |(_, code)| code) {
        // A count that is written as a text.
        "42804" if reason.starts_with("Expected ") && reason.ends_with("got Utf8") => "22P02",
        "22007" if quoted(reason).is_some_and(begins_as_date) => "22008",
        code => code,
    };
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
    let code = match called.split('(').next() {
        Some("coalesce") if called == "coalesce()" => "42601",
        Some("coalesce" | "greatest" | "least" | "make_array" | "array_element") => "42804",
        Some("array_has") => "42809",
        _ => "42883",
    };
    Refusal::new(code, format!("{why}: {called}")).with_hint(format!("there is {}", known.join(", ")))
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
    if NOT_THERE.iter().any(|words| reason.contains(words)) {
        let refusal = planning(reason, asked);
        return Refusal { position: refusal.position.or_else(|| spanned(reason, asked.sql)), ..refusal };
    }
    if reason == "TOP" {
        let refusal = Refusal::new("42601", "syntax error: there is no TOP").with_hint("write LIMIT at the end");
        return Refusal { position: places::behind(asked.sql, "top"), ..refusal };
    }
    if reason.contains("with AS alias not supported") {
        return Refusal::new("42601", "syntax error: a list of all columns has no name").at_reason(asked.sql, reason);
    }
    Refusal::new("0A000", reason.to_owned())
}

fn values(error: &ArrowError, asked: Asked<'_>) -> Refusal {
    match error {
        ArrowError::DivideByZero => Refusal { position: places::of_zero(asked.sql), ..Refusal::new("22012", "division by zero") },
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
        _ if lower.contains("invalid timezone") => "22023",
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
        value.and_then(|value| places::of_literal(asked.sql, value).or_else(|| places::of_literal(asked.sql, value.strip_suffix(":00")?)));
    Refusal { position: place, ..refusal }
}

/// Whether a text is written as a date or a time of day is: then it is one that there is not.
pub(crate) fn begins_as_date(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.get(digits..).unwrap_or_default();
    let follows = |separator: char| rest.strip_prefix(separator).is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()));
    digits > 0 && (follows('-') || follows(':'))
}

fn running(reason: &str, asked: Asked<'_>) -> Refusal {
    let lower = reason.to_lowercase();
    if lower.contains("division by zero") || lower.contains("divide by zero") {
        return Refusal::new("22012", "division by zero");
    }
    if lower.contains("cannot access field") && !lower.contains("type list") {
        return Refusal::new("42P01", format!("what stands before the dot is no relation: {reason}"));
    }
    if let Some((_, code)) = RUNNING.iter().find(|(words, _)| lower.contains(words)) {
        let number = reason.split_once("represent ").and_then(|(_, rest)| rest.split(" in ").next());
        return Refusal {
            position: number.and_then(|number| places::of_literal(asked.sql, number)),
            ..Refusal::new(code, reason.to_owned())
        };
    }
    if lower.contains("declared as non-nullable") && asked.sql.to_lowercase().contains("regclass") {
        return Refusal::new("42P01", "the relation does not exist");
    }
    if lower.starts_with("time zone") {
        return Refusal::new("22023", reason.to_owned());
    }
    if lower.starts_with("placeholder") {
        let code = if lower.contains("'$") { "42P02" } else { "42601" };
        return Refusal::new(code, reason.to_owned()).at_reason(asked.sql, reason);
    }
    if lower.contains("regular expression") || lower.contains("regex") {
        return Refusal::new("2201B", reason.to_owned());
    }
    if lower.contains("more than one row") {
        return Refusal::new("21000", "more than one row returned by a subquery used as an expression");
    }
    if lower.contains("overflow") || lower.contains("out of range") {
        let is_of_time = ["interval", "timestamp", "date"].iter().any(|kind| lower.contains(kind));
        return Refusal::new(if is_of_time { "22008" } else { "22003" }, reason.to_owned());
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

/// The place of an expression that the engine's words quote with its lines and columns.
fn spanned(reason: &str, sql: &str) -> Option<usize> {
    let (_, at) = reason.split_once("Location(")?;
    let (line, rest) = at.split_once(',')?;
    character(sql, line.parse().ok()?, rest.split(')').next()?.parse().ok()?)
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
    fn a_prepared_statement_has_no_place_in_the_text_that_executes_it() {
        let told = |sql: &str| {
            let error = DataFusionError::Plan("table 'wardstream.public.p' not found".to_owned());
            refusal(&error, Asked { sql, notes: false }).position
        };
        assert_eq!((told("SELECT 1 FROM p"), told("EXECUTE p(1)")), (Some(15), None));
    }

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(character("SELECT\n 'ü', x", 2, 7), Some(14));
        assert_eq!(spanned("Dot access not supported for Span(Location(2,3)..Location(2,6))", "SELECT\n  user.task"), Some(10));
    }
}
