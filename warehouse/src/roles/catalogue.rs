//! Clients' questions about the catalogue, where the engine cannot read them as they are spelled.
//!
//! What a question means is not changed. Where it asks about what no read-only server of views has (keys, indexes, triggers,
//! policies, comments, procedures) in a way that cannot be planned, the answer is what it would be: no rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::SchemaProvider;
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use datafusion::prelude::Expr as EngineExpr;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, SelectItem, SetExpr,
    Statement, TableFactor, Value, VisitMut, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::definitions::DESCRIPTION;
use crate::spelling::names::{UNNAMED, name};
use crate::spelling::{self, apart};

/// The number of `pg_class` in PostgreSQL, and in `pg_description`.
const CLASSES: &str = "1259";

/// Relations that hold nothing here, or nothing that is true of this server.
const EMPTY: [&str; 17] = [
    "pg_constraint",
    "pg_index",
    "pg_inherits",
    "pg_policy",
    "pg_trigger",
    "pg_statistic_ext",
    "pg_publication",
    "pg_attrdef",
    "pg_enum",
    "pg_proc",
    "pg_event_trigger",
    "pg_timezone_names",
    "pg_foreign",
    "pg_collation",
    "pg_user_mapping",
    "pg_subscription",
    // How pgjdbc names the type of a domain: there are none.
    "base_type",
];

/// Phrases of clients, and what the engine reads instead. No type here is a relation's.
const PHRASES: [(&str, &str); 8] = [
    // How Grafana asks for the schemas of the search path: one of them has relations here.
    (
        "SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
         FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), \
         array_upper(string_to_array(current_setting('search_path'),','),1)) as i, string_to_array(current_setting('search_path'),',') s",
        "'public'",
    ),
    ("SELECT setting FROM pg_catalog.pg_settings WHERE name='max_index_keys'", "SELECT '32' AS setting"),
    ("COALESCE(proallargtypes::regtype[], proargtypes::regtype[])::text[]", "CAST(NULL AS TEXT)"),
    ("(SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)", "false"),
    ("typinput='pg_catalog.array_in'::regproc", "typinput='array_in'"),
    ("typinput = 'pg_catalog.array_in'::regproc", "typinput = 'array_in'"),
    ("ESCAPE '\\\\'", ""),
    // How psql asks what a view checks that is written through: none is. Options of relations are NULL texts here, and no lists.
    (
        "pg_catalog.array_remove(pg_catalog.array_remove(c.reloptions,'check_option=local'),'check_option=cascaded') AS reloptions, \
         CASE WHEN 'check_option=local' = ANY (c.reloptions) THEN 'LOCAL'::text \
         WHEN 'check_option=cascaded' = ANY (c.reloptions) THEN 'CASCADED'::text ELSE NULL END AS checkoption",
        "CAST(NULL AS TEXT) AS reloptions, CAST(NULL AS TEXT) AS checkoption",
    ),
];

/// Whether a text asks about the catalogue.
pub(super) fn is_asked(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    ["pg_", "information_schema", "::reg", "current_schemas"].iter().any(|word| lower.contains(word))
}

/// The text with the phrases that are known.
pub(super) fn respelled(sql: &str) -> String {
    let spaced = sql.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(").replace(" )", ")");
    if !PHRASES.iter().any(|(phrase, _)| spaced.contains(phrase)) {
        return sql.to_owned();
    }
    PHRASES.iter().fold(spaced, |sql, (phrase, read)| sql.replace(phrase, read))
}

/// The question without what is asked of things that are not here: the age of a transaction, and descriptions of sequences and collations as JSON.
pub(super) fn without_asides(mut statement: Statement) -> Statement {
    let _whole: ControlFlow<()> = visit_expressions_mut(&mut statement, |expr| {
        if let Expr::Function(function) = &*expr {
            match function.name.to_string().to_lowercase().trim_start_matches("pg_catalog.") {
                "age" => *expr = Expr::Value(Value::Number("0".to_owned(), false).into()),
                "json_build_object" => *expr = null(),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    });
    statement
}

/// A question of no rows with the columns of `statement`, where that asks about what is empty here.
pub(super) fn without_rows(statement: &Statement, sql: &str) -> Option<Statement> {
    let lower = sql.to_lowercase();
    let Statement::Query(query) = statement else { return None };
    if !EMPTY.iter().any(|name| lower.contains(name)) {
        return None;
    }
    let columns: Vec<String> =
        names(query).into_iter().map(|name| format!("CAST(NULL AS TEXT) AS {}", Ident::with_quote('"', name))).collect();
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &format!("SELECT {} WHERE false", columns.join(", "))).ok()?;
    parsed.into_iter().next()
}

/// The question without its subqueries for single values, where it asks about what is empty here: they are NULL.
pub(super) fn without_subqueries(statement: &Statement, sql: &str) -> Option<Statement> {
    let lower = sql.to_lowercase();
    if !EMPTY.iter().any(|name| lower.contains(name)) {
        return None;
    }
    let mut statement = statement.clone();
    let mut replaced = false;
    let _whole: ControlFlow<()> = visit_expressions_mut(&mut statement, |expr| {
        if matches!(expr, Expr::Subquery(_)) {
            *expr = null();
            replaced = true;
        }
        ControlFlow::Continue(())
    });
    replaced.then_some(statement)
}

/// Names of a query's columns, each once.
fn names(query: &Query) -> Vec<String> {
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left.as_ref();
    }
    let SetExpr::Select(select) = body else { return vec!["?column?".to_owned()] };
    let mut names: Vec<String> = Vec::new();
    for item in &select.projection {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name.value.clone(),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(|part| part.value.clone()).unwrap_or_default(),
            _ => "?column?".to_owned(),
        };
        let again = names.iter().filter(|other| other.trim_end_matches(char::is_numeric) == name).count();
        names.push(if again == 0 { name } else { format!("{name}{}", again + 1) });
    }
    names
}

/// What is changed in every statement: patterns with an escape of their own, arrays of queries, unnamed columns that are queries.
pub(super) fn readable(mut statement: Statement) -> Statement {
    let _whole: ControlFlow<()> = visit_expressions_mut(&mut statement, |expr| {
        match expr {
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => escape(pattern, escape_char),
            Expr::Function(function)
                if function.name.to_string().eq_ignore_ascii_case("array") && matches!(function.args, FunctionArguments::Subquery(_)) =>
            {
                *expr = null();
            }
            // No column has a comment, and columns are named in ways that cannot be planned.
            Expr::Function(function) if is_called(function, "col_description") => *expr = null(),
            Expr::Function(function) if is_called(function, DESCRIPTION) => by_name(function),
            Expr::Subquery(query) if follows_domains(query) => *expr = null(),
            Expr::Subquery(query) if asks_for_classes(query) => *expr = Expr::Value(Value::Number(CLASSES.to_owned(), false).into()),
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                name_routine(left, right);
                name_routine(right, left);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let _whole = statement.visit(&mut Unnamed);
    statement
}

fn is_called(function: &Function, wanted: &str) -> bool {
    spelling::last(&function.name).is_some_and(|name| name.value.eq_ignore_ascii_case(wanted))
}

/// What is described, without casts: `(schema || '.' || name)::regclass` is no number to the engine, and the function knows names as well.
fn by_name(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(described))) = list.args.first_mut() {
        *described = apart::plain(described);
    }
}

/// Whether `'pg_class'::regclass` is asked for, as it is read by now: clients name by it of what kind a thing is that has a comment. It has PostgreSQL's own
/// number, and is none of the relations that are numbered here.
fn asks_for_classes(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_of_relations = select.from.first().is_some_and(|from| match &from.relation {
        TableFactor::Table { name, .. } => spelling::last(name).is_some_and(|name| name.value == "pg_class"),
        _ => false,
    });
    if !is_of_relations {
        return false;
    }
    let asked = query.to_string();
    ["parse_ident('pg_class'", "parse_ident('pg_catalog.pg_class'"].iter().any(|named| asked.contains(named))
}

/// How asyncpg looks for the type under a domain, step by step: there are no domains.
fn follows_domains(query: &Query) -> bool {
    query.with.as_ref().is_some_and(|with| with.recursive) && query.to_string().contains("typbasetype")
}

/// `pg_type` holds the names of its routines, where PostgreSQL holds their numbers: `proc.oid` beside one is `proc.proname`.
fn name_routine(number: &mut Expr, routine: &Expr) {
    let last = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.to_lowercase()),
        Expr::Identifier(name) => Some(name.value.to_lowercase()),
        _ => None,
    };
    let named = last(routine).is_some_and(|name| ["typinput", "typoutput", "typreceive", "typsend"].contains(&name.as_str()));
    if named
        && last(number).as_deref() == Some("oid")
        && let Expr::CompoundIdentifier(parts) = number
        && let Some(part) = parts.last_mut()
    {
        part.value = "proname".to_owned();
    }
}

fn null() -> Expr {
    Expr::Cast {
        kind: datafusion::sql::sqlparser::ast::CastKind::Cast,
        expr: Box::new(Expr::Value(Value::Null.into())),
        data_type: DataType::Text,
        array: false,
        format: None,
    }
}

/// A pattern whose escape is not the backslash, with the backslash: its texts are the pattern's own.
fn escape(pattern: &mut Expr, escape_char: &mut Option<datafusion::sql::sqlparser::ast::ValueWithSpan>) {
    let Some(Value::SingleQuotedString(mark)) = escape_char.as_ref().map(|escape| escape.value.clone()) else { return };
    if mark == "\\" {
        return;
    }
    let _whole: ControlFlow<()> = visit_expressions_mut(pattern, |expr| {
        if let Expr::Value(value) = expr
            && let Value::SingleQuotedString(text) = &mut value.value
        {
            *text = text.replace('\\', "\\\\").replace(&mark, "\\");
        }
        ControlFlow::Continue(())
    });
    *escape_char = None;
}

/// Gives unnamed queries that are columns names of their own: the engine takes no two of them, and calls them after nothing.
struct Unnamed;

impl VisitorMut for Unnamed {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let SetExpr::Select(select) = query.body.as_mut() else { return ControlFlow::Continue(()) };
        for (place, item) in select.projection.iter_mut().enumerate() {
            if let SelectItem::UnnamedExpr(expr @ Expr::Subquery(_)) = item {
                let called = name(expr).unwrap_or_else(|| UNNAMED.to_owned());
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: apart::hidden(place, &called) };
            }
        }
        ControlFlow::Continue(())
    }
}

/// Columns that the catalogue's relations lack and clients name; they are NULL.
const LACKING: [(&str, &[&str]); 2] =
    [("pg_class", &["relacl", "reloptions"]), ("pg_attribute", &["attacl", "attoptions", "attfdwoptions"])];

/// The catalogue with the columns that it lacks.
#[derive(Debug)]
pub(super) struct Completed(pub Arc<dyn SchemaProvider>);

#[async_trait]
impl SchemaProvider for Completed {
    fn table_names(&self) -> Vec<String> {
        self.0.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(table) = self.0.table(name).await? else { return Ok(None) };
        let Some((_, lacking)) = LACKING.iter().find(|(relation, _)| *relation == name) else { return Ok(Some(table)) };
        let schema = table.schema();
        let there = schema.fields().iter().map(|field| EngineExpr::Column(datafusion::common::Column::new(Some(name), field.name())));
        let lacking = lacking.iter().filter(|column| schema.field_with_name(column).is_err());
        let lacking = lacking.map(|column| lit(ScalarValue::Utf8(None)).alias(*column));
        let columns: Vec<EngineExpr> = there.chain(lacking).collect();
        let plan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(&table)), None)?.project(columns)?.build()?;
        Ok(Some(Arc::new(ViewTable::new(plan, None))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.table_exist(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::parse;

    fn read(sql: &str) -> String {
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses");
        readable(parsed.into_iter().next().expect("one")).to_string()
    }

    #[test]
    fn spelling_is_changed_and_meaning_is_not() {
        assert_eq!(read("SELECT 1 WHERE a LIKE 'x/_\\y' ESCAPE '/'"), "SELECT 1 WHERE a LIKE 'x\\_\\\\y'");
        let aged = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT age(datfrozenxid), pg_catalog.age(1) FROM pg_database")
            .expect("parses")
            .remove(0);
        assert_eq!(without_asides(aged).to_string(), "SELECT 0, 0 FROM pg_database");
        assert_eq!(
            read("SELECT (SELECT max(a) FROM t), (SELECT 2)"),
            "SELECT (SELECT max(a) FROM t) AS \"?same?0?max\", (SELECT 2) AS \"?same?1??column?\""
        );
    }

    /// A name that is put together is no number to the engine, whatever it is cast to.
    #[test]
    fn what_is_described_is_named_without_casts() {
        assert_eq!(
            read("SELECT pg_catalog.obj_description((s || '.' || n)::regclass::oid, 'pg_class'), col_description(a::regclass, 1)"),
            "SELECT pg_catalog.obj_description((s || '.' || n), 'pg_class'), CAST(NULL AS TEXT)"
        );
        let classes = parse::statements("SELECT 1 FROM pg_description WHERE classoid = 'pg_class'::regclass").expect("parses").remove(0);
        assert!(classes.to_string().ends_with(" WHERE classoid = 1259"), "{classes}");
    }

    #[test]
    fn single_values_out_of_what_is_empty_are_null() {
        let sql = "SELECT a.attname, (SELECT d.adbin FROM pg_attrdef AS d WHERE d.adrelid = a.attrelid) AS value FROM pg_attribute AS a";
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0);
        let read = without_subqueries(&parsed, sql).expect("it is shorter").to_string();
        assert_eq!(read, "SELECT a.attname, CAST(NULL AS TEXT) AS value FROM pg_attribute AS a");
    }

    #[test]
    fn what_is_empty_here_has_no_rows_and_its_columns() {
        let sql = "SELECT a.oid, 1, 2, b AS c FROM pg_index AS a";
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0);
        let empty = without_rows(&parsed, sql).expect("it is empty").to_string();
        for name in ["\"oid\"", "\"?column?\"", "\"?column?2\"", "\"c\"", "WHERE false"] {
            assert!(empty.contains(name), "{empty}");
        }
        assert!(without_rows(&parsed, "SELECT 1 FROM labels").is_none());
    }
}
