//! A series whose bounds are columns or queries (`FROM stays, generate_series(admitted_at, discharged_at, interval '1 day') AS day`), as the elements of a list: the engine
//! makes rows of a series of constants alone.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, TableAliasColumnDef, TableFactor, Visit as _, Visitor};

use super::{SERIES, argument, call, is_called, named, one_value};

/// What PostgreSQL calls a list's elements.
const ELEMENTS: &str = "unnest";

/// The rows of the list, where the engine would refuse those of the series.
pub(super) fn as_elements(factor: &mut TableFactor) {
    let TableFactor::Table { name, alias, args: Some(args), with_ordinality: false, .. } = factor else { return };
    if !is_called(name, SERIES) {
        return;
    }
    let Some(bounds) = args.args.iter().map(argument).collect::<Option<Vec<_>>>() else { return };
    let mut asked = Asked::default();
    for bound in &bounds {
        let _whole = bound.visit(&mut asked);
    }
    if !asked.has_columns && !asked.has_queries {
        return;
    }
    let mut alias = alias.take().unwrap_or_else(|| named(SERIES));
    if alias.columns.is_empty() {
        alias.columns = vec![TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
    }
    if let Some(subquery) = one_value(call(ELEMENTS, vec![call(SERIES, bounds)]), ELEMENTS) {
        *factor = TableFactor::Derived { lateral: asked.has_columns, subquery, alias: Some(alias), sample: None };
    }
}

/// A series that is a column of its own is a row for each element, whatever each is cast to.
pub(super) fn in_rows(expr: &mut Expr) {
    match expr {
        Expr::Function(function) if is_called(&function.name, SERIES) => *expr = call(ELEMENTS, vec![expr.clone()]),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => in_rows(expr),
        _ => {}
    }
}

/// Whether a column is such a series, which gives it its name.
pub(super) fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => is_called(&function.name, SERIES),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_column(expr),
        _ => false,
    }
}

/// What bounds are made of: columns of the relations before, and queries, whose columns are their own.
#[derive(Default)]
struct Asked {
    has_columns: bool,
    has_queries: bool,
    depth: usize,
}

impl Visitor for Asked {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.has_queries = true;
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.has_columns |= self.depth == 0 && matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use crate::spelling;

    fn read(sql: &str) -> String {
        spelling::functions(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    #[test]
    fn a_series_of_columns_or_queries_is_a_list_s_elements() {
        assert_eq!(
            read("SELECT d FROM t, generate_series(t.a, t.b, INTERVAL '1 day') AS d"),
            "SELECT d FROM t, LATERAL (SELECT unnest(generate_series(t.a, t.b, INTERVAL '1 day')) AS unnest) AS d (d)"
        );
        assert_eq!(
            read("SELECT * FROM generate_series(1, (SELECT max(a) FROM t)) AS s(n)"),
            "SELECT * FROM (SELECT unnest(generate_series(1, (SELECT max(a) FROM t))) AS unnest) AS s (n)"
        );
        let constant = "SELECT * FROM generate_series(DATE '2024-01-01', now(), '1 day') AS d (d)";
        assert_eq!(read(constant), constant);
    }

    #[test]
    fn elements_of_a_column_are_cast_each() {
        let asked = "SELECT generate_series(a, b, '1 day')::DATE FROM t";
        assert_eq!(read(asked), "SELECT unnest(generate_series(a, b, '1 day'))::DATE AS \"generate_series\" FROM t");
    }
}
