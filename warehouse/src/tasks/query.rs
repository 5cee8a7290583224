//! A task's query: what it must look like, and the SQL that makes relations of the tasks.

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::Statement as Parsed;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::definition::{AFTER, BEFORE, Effect, LAST, Rule, STAYS};
use super::{Definition, READABLE, TaskError, steady};
use crate::literal::quoted;
use crate::read::read_only;
use crate::roles::parse;
use crate::settings::Departments;

/// A query may hold this many operators and key words. A chain of them is a tree that is walked by recursion, wherever a session plans the task: on threads of two
/// megabytes of stack too, where fewer fit than in a statement to the server.
const OPERATOR_LIMIT: usize = 1_000;

/// Holds the query against what a task's query may be; `ctx` holds the relations that it may read.
pub async fn check(definition: &Definition, ctx: &SessionContext) -> Result<(), TaskError> {
    let wrong = |reason: String| TaskError::new(&definition.name, reason);
    let engine = |error: DataFusionError| wrong(format!("its query cannot be planned: {}", one_line(&error)));
    if is_deep(&definition.sql) {
        return Err(wrong(format!(
            "its query holds more than {OPERATOR_LIMIT} operators and key words, or nests too deeply; write a list as IN (...) or VALUES"
        )));
    }
    let mut statements = DFParser::parse_sql(&definition.sql).map_err(engine)?;
    let statement = match (statements.pop_front(), statements.is_empty()) {
        (Some(statement @ Statement::Statement(_)), true) => statement,
        _ => return Err(wrong("its query must be one SELECT".to_owned())),
    };
    if !matches!(&statement, Statement::Statement(parsed) if matches!(**parsed, Parsed::Query(_))) {
        return Err(wrong("its query must be a SELECT; a task reads and does nothing else".to_owned()));
    }
    let (relations, _) = resolve_table_references(&statement, true).map_err(engine)?;
    for relation in relations {
        if relation.schema().is_some() || !READABLE.contains(&relation.table()) {
            return Err(wrong(format!("its query reads `{relation}`, which no task may; it may read {}", READABLE.join(", "))));
        }
    }
    let frame = ctx.sql_with_options(&definition.sql, read_only()).await.map_err(engine)?;
    if let Some(cause) = steady::unsteady(frame.logical_plan()).map_err(engine)? {
        return Err(wrong(format!("its query {cause}, which gives another answer at another time")));
    }
    columns(definition, frame.schema().as_arrow()).map_err(wrong)
}

/// The engine's innermost words, without the fields that it lists on further lines.
pub fn one_line(error: &DataFusionError) -> String {
    error.find_root().strip_backtrace().lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// Whether the query is too much for those who walk it. What is no SQL at all is left to its parser to name.
fn is_deep(sql: &str) -> bool {
    let is_joining = |token: &Token| match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::LParen | Token::RParen | Token::SemiColon | Token::EOF => false,
        Token::Number(..) | Token::SingleQuotedString(_) => false,
        _ => true,
    };
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return false };
    tokens.iter().filter(|token| is_joining(token)).count() > OPERATOR_LIMIT
        || parse::statements(sql).err().is_some_and(|refusal| refusal.code.starts_with("54"))
}

/// Whether a column may be of this kind.
type Fits = fn(&DataType) -> bool;

/// The columns must be the three, and one for each rule.
fn columns(definition: &Definition, schema: &Schema) -> Result<(), String> {
    let of = |name: &str| schema.field_with_name(name).ok().map(|field| field.data_type());
    let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let number = |kind: &DataType| kind.is_numeric() || *kind == DataType::Boolean;
    let instant = |kind: &DataType| matches!(kind, DataType::Timestamp(_, _));
    let truth = |kind: &DataType| *kind == DataType::Boolean;
    let mut wanted: Vec<(&str, &str, Fits)> =
        vec![("encounter_id", "a text", text), ("outcome", "a number", number), ("outcome_at", "a timestamp", instant)];
    wanted.extend(definition.rules.iter().map(|rule| (rule.reason.as_str(), "a truth value, as its rule says", truth as Fits)));
    for (name, what, fits) in &wanted {
        match of(name) {
            None => return Err(format!("its query gives no column `{name}` ({what})")),
            Some(kind) if !fits(kind) => return Err(format!("its query's column `{name}` must be {what}, not {kind}")),
            Some(_) => {}
        }
    }
    match schema.fields().iter().find(|field| !wanted.iter().any(|(name, _, _)| name == field.name())) {
        Some(field) => Err(format!("its query gives a column `{}`, which no rule of the file names as its reason", field.name())),
        None => Ok(()),
    }
}

/// `VALUES` under these names; of no rows at all where there are none.
fn values(columns: &[(&str, &str)], rows: &[Vec<String>]) -> String {
    let cast = |(place, (name, kind)): (usize, &(&str, &str))| format!("CAST(column{} AS {kind}) AS \"{name}\"", place + 1);
    let names: Vec<String> = columns.iter().enumerate().map(cast).collect();
    let nothing = vec!["NULL"; columns.len()].join(", ");
    let (lines, limit) = match rows {
        [] => (format!("({nothing})"), " LIMIT 0"),
        rows => (rows.iter().map(|row| format!("({})", row.join(", "))).collect::<Vec<_>>().join(", "), ""),
    };
    format!("SELECT {} FROM (VALUES {lines}) AS stated{limit}", names.join(", "))
}

/// `department_kinds`: department in capitals, and what kind of care it gives that is not acute.
pub fn departments(departments: &Departments) -> String {
    let kinds =
        [("rehabilitation", &departments.rehabilitation), ("dialysis", &departments.dialysis), ("palliative", &departments.palliative)];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (kind, names) in kinds {
        for name in names {
            let name = quoted(&name.to_uppercase());
            if !rows.iter().any(|row| row.first() == Some(&name)) {
                rows.push(vec![name, quoted(kind)]);
            }
        }
    }
    values(&[("department", "VARCHAR"), ("kind", "VARCHAR")], &rows)
}

/// `task_definitions`: one row per task.
pub fn definitions(all: &[Definition]) -> String {
    let stated = |number: Option<u8>| number.map_or_else(|| "NULL".to_owned(), |number| number.to_string());
    let row = |one: &Definition| {
        let unit = one.target.unit.as_deref().map_or_else(|| "NULL".to_owned(), quoted);
        vec![
            quoted(&one.name),
            quoted(&one.title),
            quoted(one.note.as_str()),
            quoted(one.clock.as_str()),
            one.horizon_days.to_string(),
            stated(one.target.classes),
            unit,
        ]
    };
    let columns = [
        ("task", "VARCHAR"),
        ("title", "VARCHAR"),
        ("kind", "VARCHAR"),
        ("clock", "VARCHAR"),
        ("horizon_days", "BIGINT"),
        ("classes", "BIGINT"),
        ("unit", "VARCHAR"),
    ];
    values(&columns, &all.iter().map(row).collect::<Vec<_>>())
}

/// `task_facts`: one row per (task, kind of fact that decides it), with the bounds of its delay.
pub fn facts(all: &[Definition]) -> String {
    let rows = all.iter().flat_map(|one| {
        let days = [one.delay.at_least_days, one.delay.at_most_days].map(|days| days.to_string());
        one.delay.facts.iter().map(move |fact| [quoted(&one.name), quoted(fact.as_str())].into_iter().chain(days.clone()).collect())
    });
    let columns = [("task", "VARCHAR"), ("fact", "VARCHAR"), ("at_least_days", "BIGINT"), ("at_most_days", "BIGINT")];
    values(&columns, &rows.collect::<Vec<Vec<String>>>())
}

/// `task_steps`: one row per (task, step), in the order in which stays leave; rules that only count come where the file has them.
pub fn steps(all: &[Definition]) -> String {
    let mut rows = Vec::new();
    for one in all {
        let given = |(reason, effect, why): &(&'static str, Effect, &'static str)| (*reason, effect.as_str(), *why);
        let mut steps = vec![(STAYS, "stays", "Every stay that anybody admitted.")];
        steps.extend(BEFORE.iter().map(given));
        steps.extend(one.rules.iter().map(|rule| (rule.reason.as_str(), rule.effect.as_str(), rule.why.as_str())));
        steps.extend(AFTER.iter().map(given));
        steps.extend(LAST.iter().map(|(reason, why)| (*reason, "left", *why)));
        let number = |(place, (reason, effect, why)): (usize, (&str, &str, &str))| {
            vec![quoted(&one.name), (place + 1).to_string(), quoted(reason), quoted(effect), quoted(why)]
        };
        rows.extend(steps.into_iter().enumerate().map(number));
    }
    values(&[("task", "VARCHAR"), ("step", "BIGINT"), ("reason", "VARCHAR"), ("effect", "VARCHAR"), ("why", "VARCHAR")], &rows)
}

/// `task_marks`: one row per (task, rule): of how many stays it holds.
pub fn marks(all: &[Definition]) -> String {
    let each = all.iter().flat_map(|one| {
        one.rules.iter().map(|rule| {
            format!(
                "SELECT {} AS task, {} AS reason, count(*) FILTER (WHERE \"{}\") AS holds FROM {}",
                quoted(&one.name),
                quoted(&rule.reason),
                rule.reason,
                one.relation()
            )
        })
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() { values(&[("task", "VARCHAR"), ("reason", "VARCHAR"), ("holds", "BIGINT")], &[]) } else { each.join(" UNION ALL ") }
}

/// One row per stay, before anything is mature: the outcome, and the first rule that takes the stay out or lets it wait.
fn outcomes_of(one: &Definition) -> String {
    let rules: Vec<_> = one.rules.iter().filter(|rule| rule.effect != Effect::Counted).collect();
    let first = |then: fn(&Rule) -> String, otherwise: &str| {
        let whens: String = rules.iter().map(|rule| format!(" WHEN \"{}\" THEN {}", rule.reason, then(rule))).collect();
        if whens.is_empty() { otherwise.to_owned() } else { format!("CASE{whens} ELSE {otherwise} END") }
    };
    let because =
        first(|rule| if rule.effect == Effect::Pending { "NULL".to_owned() } else { quoted(&rule.reason) }, "CAST(NULL AS VARCHAR)");
    let waits = first(|rule| (rule.effect == Effect::Pending).to_string(), "false");
    let (task, relation) = (quoted(&one.name), one.relation());
    // Few stays are answered twice, if any: of those no answer counts. Hashes that occur twice are found in a small part of the time and memory that
    // counting each stay takes.
    let twice = format!(
        "SELECT r.encounter_id, count(*) AS copies FROM (SELECT text_hash(encounter_id) AS head FROM {relation} GROUP BY 1 HAVING count(*) > 1) AS h \
         JOIN {relation} AS r ON text_hash(r.encounter_id) = h.head GROUP BY r.encounter_id HAVING count(*) > 1"
    );
    // NaN is behind every number there: neither it nor what has no end is an outcome.
    let finite = "CASE WHEN abs(CAST(outcome AS DOUBLE)) < CAST('Infinity' AS DOUBLE) THEN CAST(outcome AS DOUBLE) END";
    format!(
        "SELECT {task} AS task, a.encounter_id, {finite} AS outcome, \
         arrow_cast(outcome_at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS outcome_at, {because} AS excluded_because, {waits} AS waits, \
         CAST(1 AS BIGINT) AS copies FROM {relation} AS a LEFT ANTI JOIN ({twice}) AS t ON t.encounter_id = a.encounter_id \
         UNION ALL SELECT {task} AS task, encounter_id, CAST(NULL AS DOUBLE) AS outcome, \
         arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS outcome_at, CAST(NULL AS VARCHAR) AS excluded_because, \
         false AS waits, copies FROM ({twice}) AS t"
    )
}

/// A view's SQL with what the task is in the place of `$task`, `$kind`, `$clock`, `$horizon`, `$classes` and `$outcomes`, its rows of [`outcomes_of`].
pub fn asked(one: &Definition, sql: &str) -> String {
    let classes = one.target.classes.map_or_else(|| "NULL".to_owned(), |classes| classes.to_string());
    sql.replace("$outcomes", &format!("({})", outcomes_of(one)))
        .replace("$task", &format!("CAST({} AS VARCHAR)", quoted(&one.name)))
        .replace("$kind", &quoted(one.note.as_str()))
        .replace("$clock", &quoted(one.clock.as_str()))
        .replace("$horizon", &format!("INTERVAL '{} days'", one.horizon_days))
        .replace("$classes", &format!("CAST({classes} AS BIGINT)"))
}
