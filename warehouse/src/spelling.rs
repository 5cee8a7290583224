//! What PostgreSQL spells in a way of its own, as the functions that are meant: zones, parts of texts by a pattern, functions in the place of a relation; and times without seconds.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query, SelectItem,
    SetExpr, Statement, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Functions of one value that clients ask as if they were relations.
const OF_ONE_VALUE: [&str; 8] =
    ["current_schema", "current_database", "current_catalog", "current_setting", "current_user", "session_user", "version", "now"];

/// The statement with the functions that are meant.
pub(crate) fn functions(mut statement: Statement) -> Statement {
    let _whole = statement.visit(&mut Spelling);
    statement
}

struct Spelling;

impl VisitorMut for Spelling {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::AtTimeZone { timestamp, time_zone } => *expr = call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()]),
            Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. } if is_text(pattern) => {
                *expr = call("substring_match", vec![(**text).clone(), (**pattern).clone()]);
            }
            Expr::TypedString(stated) if is_timestamp(&stated.data_type) => with_seconds(&mut stated.value.value),
            Expr::Cast { expr: stated, data_type, .. } if is_timestamp(data_type) => {
                if let Expr::Value(stated) = stated.as_mut() {
                    with_seconds(&mut stated.value);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return ControlFlow::Continue(()) };
        let function = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_lowercase()).unwrap_or_default();
        if !OF_ONE_VALUE.contains(&function.as_str()) {
            return ControlFlow::Continue(());
        }
        let asked = args.args.iter().filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        });
        if let Some(subquery) = one_value(call(&function, asked.collect()), &function) {
            *factor = derived(subquery, &function, alias.take());
        }
        ControlFlow::Continue(())
    }
}

fn is_timestamp(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::TimestampNtz(..) | DataType::Datetime(..))
}

/// `2024-01-31 08:00`, with or without an offset behind it, as `2024-01-31 08:00:00`: the engine reads no time without seconds.
fn with_seconds(value: &mut Value) {
    let Value::SingleQuotedString(text) = value else { return };
    let minutes = "0000-00-00 00:00";
    let like = |(stated, form): (u8, u8)| match form {
        b'0' => stated.is_ascii_digit(),
        b' ' => stated == b' ' || stated.eq_ignore_ascii_case(&b'T'),
        form => stated == form,
    };
    let begins = text.len() >= minutes.len() && text.bytes().zip(minutes.bytes()).all(like);
    let more = text.as_bytes().get(minutes.len());
    if begins && more.is_none_or(|next| !next.is_ascii_digit() && *next != b':') {
        text.insert_str(minutes.len(), ":00");
    }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_)))
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The rows of a query in the place of a relation, under the alias or that name.
pub(crate) fn derived(subquery: Box<Query>, name: &str, alias: Option<TableAlias>) -> TableFactor {
    let named = TableAlias { explicit: true, name: Ident::new(name), columns: Vec::new(), at: None };
    TableFactor::Derived { lateral: false, subquery, alias: Some(alias.unwrap_or(named)), sample: None }
}

/// The query that this text is.
pub(crate) fn query(sql: &str) -> Option<Box<Query>> {
    match Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?.into_iter().next()? {
        Statement::Query(query) => Some(query),
        _ => None,
    }
}

/// `SELECT value AS name`.
fn one_value(value: Expr, name: &str) -> Option<Box<Query>> {
    let mut query = query("SELECT 1")?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::ExprWithAlias { expr: value, alias: Ident::new(name) }];
    }
    Some(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> String {
        functions(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    #[test]
    fn what_is_meant_is_called() {
        assert_eq!(read("SELECT a AT TIME ZONE 'UTC' AT TIME ZONE b"), "SELECT timezone(b, timezone('UTC', a))");
        assert_eq!(read("SELECT substring(a FROM 'x(.)')"), "SELECT substring_match(a, 'x(.)')");
        assert_eq!(read("SELECT timestamp '2024-01-31 08:00'"), "SELECT TIMESTAMP '2024-01-31 08:00:00'");
        assert_eq!(read("SELECT '2024-01-31T08:00+01'::timestamptz"), "SELECT '2024-01-31T08:00:00+01'::TIMESTAMPTZ");
        assert_eq!(read("SELECT * FROM current_schema()"), "SELECT * FROM (SELECT current_schema() AS current_schema) AS current_schema");
        assert_eq!(read("SELECT * FROM pg_catalog.version() AS v"), "SELECT * FROM (SELECT version() AS version) AS v");
    }

    #[test]
    fn everything_else_stays() {
        for sql in [
            "SELECT SUBSTRING(a FROM 2 FOR 3)",
            "SELECT SUBSTRING(a FROM b)",
            "SELECT 1 FROM encounters_at('2024-01-01')",
            "SELECT TIMESTAMP '2024-01-31', TIMESTAMP '2024-01-31 08:00:01', '2024-01-31 08:00', CAST('31 08:00' AS TIMESTAMP)",
        ] {
            assert_eq!(read(sql), sql);
        }
    }
}
