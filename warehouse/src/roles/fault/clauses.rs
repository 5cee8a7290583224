//! Calls and clauses that stand where PostgreSQL lets none stand, told from the statement itself: the engine says so in words of its own and without a place, late,
//! or not at all.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, JoinConstraint, JoinOperator, LimitClause, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned as _,
    Statement, TableFactor, UnaryOperator, Value, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::tokens::Tokens;
use super::{Refusal, character, grammar};
use crate::functions;
use crate::spelling::names;

/// Functions that PostgreSQL has for windows alone.
const WINDOWS: [&str; 11] =
    ["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value", "last_value", "nth_value"];

/// Options of EXPLAIN.
const EXPLAINING: [&str; 12] =
    ["analyze", "verbose", "costs", "settings", "generic_plan", "buffers", "serialize", "wal", "timing", "summary", "memory", "format"];

/// Names of all aggregates.
static AGGREGATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut names = BTreeSet::new();
    for function in all_default_aggregate_functions().into_iter().chain(functions::aggregates().map(Arc::new)) {
        names.insert(function.name().to_owned());
        names.extend(function.aliases().iter().cloned());
    }
    names.retain(|name| !WINDOWS.contains(&name.as_str()));
    names
});

/// Over what a call is computed, where that is more than a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aggregate,
    Window,
}

impl Kind {
    fn of(function: &Function) -> Option<Self> {
        if function.over.is_some() {
            return Some(Self::Window);
        }
        AGGREGATES.contains(&name(function)).then_some(Self::Aggregate)
    }
}

fn name(function: &Function) -> String {
    names::lower(&function.name).unwrap_or_default()
}

/// What is refused before it is planned: joins without a condition, whose rows would be all with all, orders by what is no column, options that there
/// are not, and recursion that would never end.
///
/// # Errors
/// 42601, 42P10 or 42P19 with its place.
pub(crate) fn check(statements: &[Statement], sql: &str) -> Result<(), Refusal> {
    statements.iter().try_for_each(|statement| match statement.visit(&mut Before(sql)) {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(()),
    })
}

/// What is wrong with the calls and clauses of a text that could not be planned.
pub(super) fn fault(sql: &str) -> Option<Refusal> {
    match grammar::read(sql)?.visit(&mut Clauses(sql)) {
        ControlFlow::Break(refusal) => Some(refusal),
        ControlFlow::Continue(()) => None,
    }
}

struct Before<'a>(&'a str);

impl Visitor for Before<'_> {
    type Break = Refusal;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Refusal> {
        let Statement::Explain { options: Some(options), .. } = statement else { return ControlFlow::Continue(()) };
        match options.iter().find(|option| !EXPLAINING.iter().any(|known| known.eq_ignore_ascii_case(&option.name.value))) {
            Some(option) => {
                let words = format!("unrecognized EXPLAIN option \"{}\"", option.name.value);
                refused("42601", &words, place(option.name.span.start, self.0))
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        self.ordered(query)?;
        let Some(with) = query.with.as_ref().filter(|with| with.recursive) else { return ControlFlow::Continue(()) };
        for query in &with.cte_tables {
            let SetExpr::SetOperation { right, .. } = query.query.body.as_ref() else { continue };
            let SetExpr::Select(select) = right.as_ref() else { continue };
            let itself = &query.alias.name.value;
            let is_itself =
                |from: &TableFactor| matches!(from, TableFactor::Table { name, .. } if name.to_string().eq_ignore_ascii_case(itself));
            let reads = select.from.iter().any(|from| is_itself(&from.relation) || from.joins.iter().any(|join| is_itself(&join.relation)));
            if reads && let Some((_, place)) = first(&select.projection, self.0, |kind| kind == Kind::Aggregate) {
                return refused("42P19", "aggregate functions are not allowed in a recursive query's recursive term", place);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        for join in select.from.iter().flat_map(|from| &from.joins) {
            let (JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)) = &join.join_operator
            else {
                continue;
            };
            if *constraint == JoinConstraint::None {
                let tokens = Tokens::of(self.0);
                let end = place(join.relation.span().end, self.0).map(|end| tokens.place(tokens.behind(end.saturating_sub(1))));
                return refused("42601", "syntax error: a join has no condition: write ON or USING, or CROSS JOIN", end);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Before<'_> {
    /// What is the same for all rows puts none in order.
    fn ordered(&self, query: &Query) -> ControlFlow<Refusal> {
        let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind) else {
            return ControlFlow::Continue(());
        };
        for key in keys {
            match &key.expr {
                Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => {
                    return refused("42601", "non-integer constant in ORDER BY", place(value.span.start, self.0));
                }
                Expr::UnaryOp { op: UnaryOperator::Minus, expr } if matches!(expr.as_ref(), Expr::Value(_)) => {
                    let sign = place(expr.span().start, self.0).map(|place| place.saturating_sub(1));
                    return refused("42P10", &format!("ORDER BY position {} is not in select list", key.expr), sign);
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

struct Clauses<'a>(&'a str);

impl Visitor for Clauses<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause else { return ControlFlow::Continue(()) };
        let clauses = [("LIMIT", limit.as_ref()), ("OFFSET", offset.as_ref().map(|offset| &offset.value))];
        for (clause, value) in clauses {
            if let Some(value @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) = value {
                let words = format!("argument of {clause} must not contain variables");
                return refused("42P10", &words, place(value.span().start, self.0));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        self.within(&select.selection, "WHERE")?;
        for join in select.from.iter().flat_map(|from| &from.joins) {
            self.within(&join.join_operator, "JOIN conditions")?;
        }
        if let GroupByExpr::Expressions(expressions, _) = &select.group_by {
            for expression in expressions {
                self.within(numbered(expression, select), "GROUP BY")?;
            }
        }
        match first(&select.having, self.0, |kind| kind == Kind::Window) {
            Some((_, place)) => refused("42P20", "window functions are not allowed in HAVING", place),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let Some(kind) = Kind::of(function) else {
            let name = name(function);
            return if WINDOWS.contains(&name.as_str()) && function.within_group.is_empty() {
                // The place is looked for only here: that counts all lines before it.
                refused("42809", &format!("window function {name} requires an OVER clause"), called(function, self.0))
            } else {
                ControlFlow::Continue(())
            };
        };
        self.within(&function.filter, "FILTER")?;
        match (kind, first(&function.args, self.0, |within| kind == Kind::Aggregate || within == Kind::Window)) {
            (Kind::Aggregate, Some((Kind::Aggregate, place))) => refused("42803", "aggregate function calls cannot be nested", place),
            (Kind::Aggregate, Some((Kind::Window, place))) => {
                refused("42803", "aggregate function calls cannot contain window function calls", place)
            }
            (Kind::Window, Some((_, place))) => refused("42P20", "window function calls cannot be nested", place),
            (_, None) => ControlFlow::Continue(()),
        }
    }
}

impl Clauses<'_> {
    /// No call in the clause may be over more than a row.
    fn within(&self, part: &impl Visit, clause: &str) -> ControlFlow<Refusal> {
        match first(part, self.0, |_| true) {
            Some((Kind::Aggregate, place)) => refused("42803", &format!("aggregate functions are not allowed in {clause}"), place),
            Some((Kind::Window, place)) => refused("42P20", &format!("window functions are not allowed in {clause}"), place),
            None => ControlFlow::Continue(()),
        }
    }
}

fn refused(code: &'static str, words: &str, position: Option<usize>) -> ControlFlow<Refusal> {
    ControlFlow::Break(Refusal { position, ..Refusal::new(code, words) })
}

/// What an expression of GROUP BY stands for: a number is a column of the list.
fn numbered<'a>(expression: &'a Expr, select: &'a Select) -> &'a Expr {
    let number = match expression {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok(),
            _ => None,
        },
        _ => None,
    };
    match number.and_then(|number| select.projection.get(number.checked_sub(1)?)) {
        Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => expr,
        _ => expression,
    }
}

/// The first call of such a kind in a part of a query, not in queries within it.
fn first(part: &impl Visit, sql: &str, wanted: impl Fn(Kind) -> bool) -> Option<(Kind, Option<usize>)> {
    let mut calls = Calls { sql, depth: 0, wanted };
    match part.visit(&mut calls) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

struct Calls<'a, W> {
    sql: &'a str,
    /// Queries around what is visited.
    depth: usize,
    wanted: W,
}

impl<W: Fn(Kind) -> bool> Visitor for Calls<'_, W> {
    type Break = (Kind, Option<usize>);

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) if self.depth == 0 => match Kind::of(function).filter(|kind| (self.wanted)(*kind)) {
                Some(kind) => ControlFlow::Break((kind, called(function, self.sql))),
                None => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Where a function is called.
fn called(function: &Function, sql: &str) -> Option<usize> {
    let ident = function.name.0.first().and_then(|part| part.as_ident())?;
    place(ident.span.start, sql)
}

fn place(at: Location, sql: &str) -> Option<usize> {
    character(sql, at.line, at.column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_stand_where_postgresql_lets_them() {
        for (sql, code, place) in [
            ("SELECT 'ü' FROM labels WHERE count(*) > 1", "42803", 30),
            ("SELECT 1 FROM labels AS a JOIN labels AS b ON max(a.label) = 1", "42803", 47),
            ("SELECT task, count(*) FROM labels GROUP BY 2", "42803", 14),
            ("SELECT task FROM labels GROUP BY count(*)", "42803", 34),
            ("SELECT sum(count(*)) FROM labels", "42803", 12),
            ("SELECT sum(row_number() OVER ()) FROM labels", "42803", 12),
            ("SELECT sum(sum(label) OVER ()) OVER () FROM labels", "42P20", 12),
            ("SELECT count(*) FILTER (WHERE auroc(label, value) > 1) FROM labels", "42803", 31),
            ("SELECT task FROM labels GROUP BY task HAVING row_number() OVER () = 1", "42P20", 46),
            ("SELECT task FROM labels WHERE rank() OVER () = 1", "42P20", 31),
            ("SELECT lag(label) FROM labels", "42809", 8),
            ("SELECT task FROM labels LIMIT label", "42P10", 31),
        ] {
            let found = fault(sql).map(|refusal| (refusal.code, refusal.position));
            assert_eq!(found, Some((code, Some(place))), "{sql}");
        }
    }

    /// The place of each call would be counted over all lines before it: minutes.
    #[test]
    fn calls_on_many_lines_are_looked_through_at_once() {
        let sql = format!("SELECT nothing, {} FROM labels", vec!["lower('a')"; 9_000].join(&format!(",{}", "\n".repeat(100))));
        let begun = std::time::Instant::now();
        assert!(fault(&sql).is_none());
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_is_right_is_no_fault() {
        for sql in [
            "SELECT task, sum(count(*)) OVER (ORDER BY max(label)) FROM labels GROUP BY 1 HAVING count(*) > 1 LIMIT 1",
            "SELECT task FROM labels WHERE label = (SELECT max(label) FROM labels) ORDER BY rank() OVER (ORDER BY task)",
            "SELECT max((SELECT count(*) FROM labels)), first_value(1) OVER () FROM labels AS a JOIN labels AS b ON true",
        ] {
            assert!(fault(sql).is_none(), "{sql}");
            assert!(check(&grammar::read(sql).expect("is read"), sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn what_would_be_planned_and_should_not_is_refused() {
        for (sql, code, place) in [
            ("SELECT 1 FROM labels JOIN encounters", "42601", 37),
            ("SELECT 1 FROM labels AS l LEFT JOIN encounters AS e WHERE true", "42601", 53),
            ("SELECT task FROM labels ORDER BY label, 'task'", "42601", 41),
            ("SELECT task FROM labels ORDER BY -1", "42P10", 34),
            ("EXPLAIN (ANALYZE, NOOPT) SELECT 1", "42601", 19),
            ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT max(n) FROM r) SELECT * FROM r", "42P19", 53),
        ] {
            let refusal = check(&grammar::read(sql).expect("is read"), sql).expect_err("must be refused");
            assert_eq!((refusal.code, refusal.position), (code, Some(place)), "{sql}");
        }
        let counted =
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + (SELECT max(label) FROM labels) FROM r) SELECT max(n) FROM r";
        assert!(check(&grammar::read(counted).expect("is read"), counted).is_ok());
    }
}
