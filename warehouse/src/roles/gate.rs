//! The gate: what a statement wants, and the refusal of everything but reading. Nothing else in the server decides that.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CloseCursor, ContextModifier, CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, DataType, Expr,
    FetchDirection, ObjectName, Query, Reset, Set, SetExpr, Statement, TableFactor, TransactionAccessMode, TransactionMode, UnaryOperator,
    Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::parser::ParserError;

use super::fault::Refusal;
use super::parse;
use crate::spelling;
use crate::spelling::apart::folded;

/// Words that begin what PostgreSQL would change something by, and the parser does not know.
const UNREAD: [&str; 7] = ["CHECKPOINT", "CLUSTER", "DO", "IMPORT", "REASSIGN", "REFRESH", "REINDEX"];

/// What is wanted of a moment within a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Savepoint {
    /// That one can go back to it.
    Set,
    /// That it is forgotten, with those after it.
    Release,
    /// Back to it: its settings, and a transaction that goes on.
    GoBack,
}

/// What a statement wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// Rows.
    Ask(Box<Statement>),
    /// Rows as a file's bytes.
    CopyOut(Box<Statement>, Vec<CopyOption>),
    /// A setting of the session; `local` ends with the transaction.
    Set { name: String, value: Option<String>, local: bool },
    /// A setting's default; all where none is named.
    Reset(Option<String>),
    /// A setting's value; all where none is named.
    Show(Option<String>),
    /// One moment for all statements until the end.
    Begin,
    /// The end of it.
    Commit,
    /// The end of it, with the settings as they were.
    Rollback,
    /// Something about a savepoint of this name.
    Savepoint(Savepoint, String),
    /// A cursor over rows; `hold` outlives the transaction.
    Declare { name: String, ask: Box<Statement>, hold: bool },
    /// Rows of a cursor, all where no count is given.
    Fetch { name: String, rows: Option<usize> },
    /// The end of a cursor; of all where none is named.
    Close(Option<String>),
    /// A statement kept under a name, with the types that are stated for its parameters.
    Prepare { name: String, ask: Box<Statement>, types: Vec<DataType> },
    /// That statement's rows, with these values.
    Execute { name: String, values: Vec<Expr> },
    /// The end of a prepared statement; of all where none is named.
    Deallocate(Option<String>),
    /// Everything of the session as at its start.
    Discard,
    /// What changes nothing here; the answer's tag.
    Nothing(&'static str),
}

/// What `statement` wants.
///
/// # Errors
/// 25006 where it wants to write, 42501 where it names a file or another user, 0A000 where it is not there.
pub(crate) fn wish(statement: Statement) -> Result<Wish, Refusal> {
    match statement {
        Statement::Query(_) | Statement::ShowTables { .. } | Statement::ShowColumns { .. } => asking(statement),
        Statement::Explain { ref statement, .. } if !matches!(**statement, Statement::Query(_)) => Err(writing(statement)),
        Statement::Explain { .. } => asking(statement),
        Statement::Copy { source, to, target, options, legacy_options, .. } => {
            let options =
                options.into_iter().map(Ok).chain(legacy_options.into_iter().flat_map(unparenthesized)).collect::<Result<_, _>>()?;
            copying(source, Copying { to, target, options })
        }
        Statement::Set(set) => setting(set),
        Statement::Reset(reset) => Ok(Wish::Reset(match reset.reset {
            Reset::ALL => None,
            Reset::ConfigurationParameter(name) => Some(plain_name(&name)),
        })),
        Statement::ShowVariable { variable } => {
            let words: Vec<&str> = variable.iter().map(|word| word.value.as_str()).collect();
            Ok(Wish::Show(shown_name(&words)))
        }
        Statement::StartTransaction { modes, .. } => access(&modes).map(|()| Wish::Begin),
        Statement::Commit { .. } => Ok(Wish::Commit),
        Statement::Rollback { savepoint: None, .. } => Ok(Wish::Rollback),
        Statement::Rollback { savepoint: Some(name), .. } => Ok(Wish::Savepoint(Savepoint::GoBack, name.value)),
        Statement::Savepoint { name } => Ok(Wish::Savepoint(Savepoint::Set, name.value)),
        Statement::ReleaseSavepoint { name } => Ok(Wish::Savepoint(Savepoint::Release, name.value)),
        Statement::UNLISTEN { .. } => Ok(Wish::Nothing("UNLISTEN")),
        Statement::Discard { .. } => Ok(Wish::Discard),
        Statement::Deallocate { name, .. } => Ok(Wish::Deallocate(Some(folded(&name)).filter(|name| name != "all"))),
        Statement::Declare { .. } | Statement::Fetch { .. } | Statement::Close { .. } => cursor(statement),
        Statement::Prepare { name, data_types, statement } => match wish(*statement)? {
            Wish::Ask(ask) => Ok(Wish::Prepare { name: folded(&name), ask, types: data_types }),
            _ => Err(absent("PREPARE of anything but a query")),
        },
        Statement::Execute { name: Some(name), parameters, immediate: false, .. } => {
            let name = spelling::last(&name).map(folded).unwrap_or_default();
            Ok(Wish::Execute { name, values: parameters })
        }
        Statement::LISTEN { .. } | Statement::NOTIFY { .. } => Err(absent("LISTEN and NOTIFY")),
        other => Err(writing(&other)),
    }
}

fn absent(what: &str) -> Refusal {
    Refusal::new("0A000", format!("{what} are not supported"))
}

/// The refusal of a statement that would change something.
fn writing(statement: &Statement) -> Refusal {
    let text = statement.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    let kind = match words.first().copied() {
        Some(first @ ("CREATE" | "DROP" | "ALTER")) => {
            let object = words.iter().skip(1).find(|word| !["OR", "REPLACE", "TEMPORARY", "TEMP", "UNIQUE"].contains(word));
            format!("{first} {}", object.unwrap_or(&""))
        }
        Some(first) => first.to_owned(),
        None => "this statement".to_owned(),
    };
    changing(kind.trim())
}

fn changing(kind: &str) -> Refusal {
    Refusal::new("25006", format!("cannot execute {kind} in a read-only transaction"))
        .with_hint("this server only reads: SELECT, EXPLAIN, SHOW, SET and COPY ... TO STDOUT are answered")
}

/// The refusal of a text in which the parser came upon a statement that would change something, and that it does not know. `None` where something else is wrong.
pub(super) fn unread(error: &ParserError) -> Option<Refusal> {
    let ParserError::ParserError(words) = error else { return None };
    let (_, found) = words.split_once("Expected: an SQL statement, found: ")?;
    let word = found.split_whitespace().next()?;
    UNREAD.iter().find(|known| known.eq_ignore_ascii_case(word)).map(|known| changing(known))
}

/// Finds a query that writes or locks, however deep it stands.
struct Writes;

impl Visitor for Writes {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        let refused = |kind: &str| ControlFlow::Break(Refusal::new("25006", format!("cannot execute {kind} in a read-only transaction")));
        if !query.locks.is_empty() {
            return refused("SELECT FOR UPDATE");
        }
        match query.body.as_ref() {
            SetExpr::Insert(_) => refused("INSERT"),
            SetExpr::Update(_) => refused("UPDATE"),
            SetExpr::Delete(_) => refused("DELETE"),
            SetExpr::Merge(_) => refused("MERGE"),
            SetExpr::Select(select) if select.into.is_some() => refused("SELECT INTO"),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, from: &TableFactor) -> ControlFlow<Refusal> {
        match from {
            // The engine would give all rows.
            TableFactor::Table { sample: Some(_), .. } => ControlFlow::Break(
                Refusal::new("0A000", "TABLESAMPLE is not supported")
                    .with_hint("take rows by a hash of their key, as in WHERE permille(encounter_id) < 10"),
            ),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn asking(statement: Statement) -> Result<Wish, Refusal> {
    match statement.visit(&mut Writes) {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(Wish::Ask(Box::new(statement))),
    }
}

/// The parts of COPY beside its source.
struct Copying {
    to: bool,
    target: CopyTarget,
    options: Vec<CopyOption>,
}

/// An option as it was written before PostgreSQL 9.0, and is written still: `TO STDOUT CSV HEADER`.
fn unparenthesized(option: CopyLegacyOption) -> Vec<Result<CopyOption, Refusal>> {
    let format = |name: &str| Ok(CopyOption::Format(name.into()));
    let of_csv = |option| {
        Ok(match option {
            CopyLegacyCsvOption::Header => CopyOption::Header(true),
            CopyLegacyCsvOption::Quote(character) => CopyOption::Quote(character),
            CopyLegacyCsvOption::Escape(character) => CopyOption::Escape(character),
            CopyLegacyCsvOption::ForceQuote(columns) => CopyOption::ForceQuote(columns),
            other @ CopyLegacyCsvOption::ForceNotNull(_) => return Err(absent(&format!("COPY option {other}"))),
        })
    };
    match option {
        CopyLegacyOption::Csv(options) => std::iter::once(format("csv")).chain(options.into_iter().map(of_csv)).collect(),
        CopyLegacyOption::Binary => vec![format("binary")],
        CopyLegacyOption::Header => vec![Ok(CopyOption::Header(true))],
        CopyLegacyOption::Delimiter(character) => vec![Ok(CopyOption::Delimiter(character))],
        CopyLegacyOption::Null(word) => vec![Ok(CopyOption::Null(word))],
        other => vec![Err(absent(&format!("COPY option {other}")))],
    }
}

fn copying(source: CopySource, copying: Copying) -> Result<Wish, Refusal> {
    match (copying.to, &copying.target) {
        (_, CopyTarget::File { .. }) => return Err(Refusal::new("42501", "permission denied to COPY to or from a file")),
        (_, CopyTarget::Program { .. }) => {
            return Err(Refusal::new("42501", "permission denied to COPY to or from an external program"));
        }
        (true, CopyTarget::Stdout) => {}
        _ => return Err(Refusal::new("25006", "cannot execute COPY FROM in a read-only transaction")),
    }
    let query = match source {
        CopySource::Query(query) => Statement::Query(query),
        CopySource::Table { table_name, columns } => {
            let columns = columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let columns = if columns.is_empty() { "*" } else { &columns };
            let parsed = parse::statements(&format!("SELECT {columns} FROM {table_name}"))?;
            parsed.into_iter().next().ok_or_else(|| Refusal::new("42601", "COPY names no relation"))?
        }
    };
    match asking(query)? {
        Wish::Ask(query) => Ok(Wish::CopyOut(query, copying.options)),
        other => Ok(other),
    }
}

/// The name without quotes, in lower case.
fn plain_name(name: &ObjectName) -> String {
    let parts: Vec<String> =
        name.0.iter().map(|part| part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone())).collect();
    parts.join(".").to_lowercase()
}

/// The setting that SHOW names, also in its spellings of several words.
fn shown_name(words: &[&str]) -> Option<String> {
    let name = words.join(" ").to_lowercase();
    match name.as_str() {
        "all" => None,
        "time zone" => Some("timezone".to_owned()),
        "transaction isolation level" => Some("transaction_isolation".to_owned()),
        "session authorization" => Some("session_authorization".to_owned()),
        _ => Some(words.join(".").to_lowercase()),
    }
}

fn access(modes: &[TransactionMode]) -> Result<(), Refusal> {
    if modes.iter().any(|mode| matches!(mode, TransactionMode::AccessMode(TransactionAccessMode::ReadWrite))) {
        return Err(Refusal::new("25006", "cannot set transaction read-write mode: this server only reads"));
    }
    Ok(())
}

fn setting(set: Set) -> Result<Wish, Refusal> {
    let other_user = || Refusal::new("42501", "permission denied to set another user or role");
    match set {
        Set::SingleAssignment { scope, hivevar: false, variable, values } => {
            let local = matches!(scope, Some(ContextModifier::Local));
            let value = values.iter().map(text_of).collect::<Vec<_>>().join(", ");
            let value = Some(value).filter(|value| !value.eq_ignore_ascii_case("default"));
            Ok(Wish::Set { name: plain_name(&variable), value, local })
        }
        Set::SetTimeZone { local, value } => {
            let value = Some(text_of(&value)).filter(|value| !["default", "local"].contains(&value.to_lowercase().as_str()));
            Ok(Wish::Set { name: "timezone".to_owned(), value, local })
        }
        Set::SetNames { charset_name, .. } => {
            Ok(Wish::Set { name: "client_encoding".to_owned(), value: Some(charset_name.value), local: false })
        }
        Set::SetNamesDefault {} => Ok(Wish::Reset(Some("client_encoding".to_owned()))),
        Set::SetTransaction { modes, snapshot: None, .. } => access(&modes).map(|()| Wish::Nothing("SET")),
        Set::SetRole { role_name: None, .. } => Ok(Wish::Nothing("SET")),
        Set::SetRole { .. } | Set::SetSessionAuthorization(_) => Err(other_user()),
        other => Err(Refusal::new("0A000", format!("{other} is not supported"))),
    }
}

/// A setting's value as a text.
fn text_of(value: &Expr) -> String {
    match value {
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) | Value::EscapedStringLiteral(text) => text.clone(),
            other => other.to_string(),
        },
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => format!("-{}", text_of(expr)),
        other => other.to_string(),
    }
}

fn cursor(statement: Statement) -> Result<Wish, Refusal> {
    match statement {
        Statement::Declare { stmts } => {
            let one = stmts.into_iter().next().ok_or_else(|| Refusal::new("42601", "DECLARE names no cursor"))?;
            let name = one.names.into_iter().next().ok_or_else(|| Refusal::new("42601", "DECLARE names no cursor"))?.value;
            let query = one.for_query.ok_or_else(|| absent("variables").with_hint("DECLARE name CURSOR FOR SELECT ..."))?;
            match asking(Statement::Query(query))? {
                Wish::Ask(ask) => Ok(Wish::Declare { name, ask, hold: one.hold == Some(true) }),
                other => Ok(other),
            }
        }
        Statement::Fetch { name, direction, .. } => {
            let count = |limit: &ValueWithSpan| {
                limit.to_string().parse().map(Some).map_err(|_| Refusal::new("22023", "FETCH takes a count from 0"))
            };
            let rows = match &direction {
                FetchDirection::Next | FetchDirection::Forward { limit: None } => Some(1),
                FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => count(limit)?,
                FetchDirection::All | FetchDirection::ForwardAll => None,
                _ => return Err(Refusal::new("55000", "cursor can only scan forward")),
            };
            Ok(Wish::Fetch { name: name.value, rows })
        }
        Statement::Close { cursor: CloseCursor::All } => Ok(Wish::Close(None)),
        Statement::Close { cursor: CloseCursor::Specific { name } } => Ok(Wish::Close(Some(name.value))),
        other => Err(writing(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(sql: &str) -> &'static str {
        match parse::statements(sql) {
            Ok(statements) => statements.into_iter().map(wish).find_map(Result::err).map_or("", |refusal| refusal.code),
            Err(refusal) => refusal.code,
        }
    }

    #[test]
    fn only_what_reads_is_let_through() {
        for sql in [
            "SELECT 1",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SHOW server_version",
            "SHOW ALL",
            "SET client_encoding = 'UTF8'",
            "SET wardstream.as_known_at = '2024-01-01'",
            "RESET ALL",
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            "COPY (SELECT 1) TO STDOUT WITH (FORMAT csv, HEADER)",
            "COPY labels (task, label) TO STDOUT",
            "COPY (SELECT 1) TO STDOUT CSV HEADER",
            "COPY (SELECT 1 AS a) TO STDOUT (FORMAT csv, FORCE_QUOTE (a))",
            "DECLARE c CURSOR FOR SELECT 1",
            "FETCH FORWARD 5 FROM c",
            "CLOSE ALL",
            "DISCARD ALL",
            "SAVEPOINT a",
            "VALUES (1), (2)",
            "TABLE labels",
            "COPY (TABLE labels) TO STDOUT",
            "PREPARE p (INT) AS SELECT $1",
            "EXECUTE p (1)",
        ] {
            assert_eq!(code(sql), "", "{sql}");
        }
    }

    #[test]
    fn what_writes_is_refused_however_deep_it_stands() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
            "TRUNCATE t",
            "CREATE TABLE t (a INT)",
            "CREATE TABLE t AS SELECT 1",
            "CREATE VIEW v AS SELECT 1",
            "CREATE FUNCTION f() RETURNS INT AS 'SELECT 1'",
            "DROP TABLE t",
            "ALTER TABLE t ADD COLUMN b INT",
            "GRANT ALL ON t TO u",
            "VACUUM",
            "DO $$BEGIN DELETE FROM t; END$$",
            "CLUSTER",
            "checkpoint",
            "REFRESH MATERIALIZED VIEW v",
            "REINDEX TABLE t",
            "REASSIGN OWNED BY a TO b",
            "SELECT 1; CLUSTER t",
            "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
            "EXPLAIN ANALYZE DELETE FROM t",
            "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
            "SELECT * FROM (WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x) AS y",
            "SELECT 1 INTO t",
            "SELECT * FROM t FOR UPDATE",
            "COPY t FROM STDIN",
            "BEGIN READ WRITE",
            "SELECT 1; DROP TABLE t",
            "PREPARE p AS INSERT INTO t VALUES (1)",
        ] {
            assert_eq!(code(sql), "25006", "{sql}");
        }
    }

    #[test]
    fn what_is_no_statement_at_all_is_none() {
        for sql in ["DOES", "\"do\" 1", "SELECT do do do"] {
            assert_eq!(code(sql), "42601", "{sql}");
        }
    }

    #[test]
    fn what_the_engine_would_pass_over_is_refused() {
        assert_eq!(code("SELECT count(*) FROM labels TABLESAMPLE BERNOULLI (1)"), "0A000");
        assert_eq!(code("SELECT * FROM (SELECT task FROM labels AS l TABLESAMPLE SYSTEM (0)) AS s"), "0A000");
    }

    #[test]
    fn files_and_other_users_are_refused() {
        for sql in [
            "COPY (SELECT 1) TO '/x'",
            "COPY t FROM '/etc/passwd'",
            "COPY t FROM PROGRAM 'id'",
            "SET ROLE other",
            "SET SESSION AUTHORIZATION other",
        ] {
            assert_eq!(code(sql), "42501", "{sql}");
        }
    }
}
