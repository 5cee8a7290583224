//! Columns in HAVING whose names the list gives to what is made of them: in `SELECT upper(task) AS task .. HAVING task = 'x'` PostgreSQL means the column, and the engine what the
//! list makes of it. Such a column is written with its relation, which the engine takes for the column.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, TableFactor, Visit, VisitMut, Visitor, VisitorMut};

use super::apart::folded;
use super::grouped::column_name;

/// Writes them so in every SELECT of a query; those below are changed in their turn.
pub(super) fn of_relations(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => within(select),
        SetExpr::SetOperation { left, right, .. } => {
            of_relations(left);
            of_relations(right);
        }
        _ => {}
    }
}

fn within(select: &mut Select) {
    if select.having.is_none() {
        return;
    }
    let relation = only(select);
    let columns: BTreeMap<String, Vec<Ident>> =
        select.projection.iter().filter_map(|item| made_of_its_name(item, relation.as_ref())).collect();
    // Nothing ends the visit.
    let _whole = VisitMut::visit(&mut select.having, &mut Columns { columns, depth: 0 });
}

/// Names in HAVING that no relation can be written before.
pub(super) fn meant(select: &Select) -> BTreeSet<String> {
    if only(select).is_some() {
        return BTreeSet::new();
    }
    alone(select).iter().map(folded).collect()
}

/// Names that stand alone in HAVING, and not in queries within, in their order.
pub(crate) fn alone(select: &Select) -> Vec<Ident> {
    let mut names = Names { names: Vec::new(), depth: 0 };
    // Nothing ends the visit.
    let _whole = Visit::visit(&select.having, &mut names);
    names.names
}

/// The one relation of which all columns are.
fn only(select: &Select) -> Option<Ident> {
    let [from] = select.from.as_slice() else { return None };
    match &from.relation {
        _ if !from.joins.is_empty() => None,
        TableFactor::Table { alias: Some(alias), args: None, .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, alias: None, args: None, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// The name that a list gives to what is made of a column of that name, and that column with its relation.
fn made_of_its_name(item: &SelectItem, relation: Option<&Ident>) -> Option<(String, Vec<Ident>)> {
    let SelectItem::ExprWithAlias { expr, alias } = item else { return None };
    let mut named = Named { name: folded(alias), relation, depth: 0 };
    if column_name(expr).as_ref() == Some(&named.name) {
        return None;
    }
    match Visit::visit(expr, &mut named) {
        ControlFlow::Break(column) => Some((named.name, column)),
        ControlFlow::Continue(()) => None,
    }
}

/// Looks for a column of the name, and not in queries within.
struct Named<'a> {
    name: String,
    relation: Option<&'a Ident>,
    depth: usize,
}

impl Visitor for Named<'_> {
    type Break = Vec<Ident>;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Vec<Ident>> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Vec<Ident>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Vec<Ident>> {
        match (expr, self.relation) {
            (Expr::Identifier(name), Some(relation)) if self.depth == 0 && folded(name) == self.name => {
                ControlFlow::Break(vec![relation.clone(), name.clone()])
            }
            (Expr::CompoundIdentifier(parts), _) if self.depth == 0 && parts.last().map(folded).as_ref() == Some(&self.name) => {
                ControlFlow::Break(parts.clone())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Collects names that stand alone.
struct Names {
    names: Vec<Ident>,
    depth: usize,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let (Expr::Identifier(name), 0) = (expr, self.depth) {
            self.names.push(name.clone());
        }
        ControlFlow::Continue(())
    }
}

/// Writes columns with their relations, where each name lay.
struct Columns {
    columns: BTreeMap<String, Vec<Ident>>,
    depth: usize,
}

impl VisitorMut for Columns {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some(column) = self.columns.get(&folded(name))
        {
            let span = name.span;
            *expr = Expr::CompoundIdentifier(column.iter().map(|part| Ident { span, ..part.clone() }).collect());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use crate::spelling::apart;

    fn read(sql: &str) -> String {
        apart::told_apart(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    #[test]
    fn a_column_is_none_of_the_list() {
        for (sql, wanted) in [
            (
                "SELECT upper(a) AS a, max(B) AS b FROM public.t GROUP BY a HAVING A = 'x' AND max(b) > 1",
                "SELECT upper(a) AS a, max(B) AS b FROM public.t GROUP BY a HAVING t.a = 'x' AND max(t.B) > 1",
            ),
            (
                "SELECT 1 UNION SELECT length(u.a) AS a FROM t JOIN u ON true GROUP BY u.a HAVING a > 'x'",
                "SELECT 1 UNION SELECT length(u.a) AS a FROM t JOIN u ON true GROUP BY u.a HAVING u.a > 'x'",
            ),
            (
                "SELECT s.n FROM (SELECT n + 1 AS n FROM (SELECT 1 AS n) AS \"S\" GROUP BY n HAVING n = 1) AS s",
                "SELECT s.n FROM (SELECT n + 1 AS n FROM (SELECT 1 AS n) AS \"S\" GROUP BY n HAVING \"S\".n = 1) AS s",
            ),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn every_other_name_stays() {
        for sql in [
            "SELECT a AS a, t.b AS b, count(*) AS n FROM t GROUP BY a, t.b HAVING a > 1 AND b > 2 AND n > 3",
            "SELECT upper(a) AS a FROM t, u GROUP BY a HAVING a = 'X'",
            "SELECT (SELECT max(a) FROM u) AS a FROM t HAVING count(*) > 1",
            "SELECT upper(a) AS a FROM t GROUP BY a HAVING EXISTS (SELECT 1 FROM u WHERE a = 'X')",
        ] {
            assert_eq!(read(sql), sql);
        }
    }
}
