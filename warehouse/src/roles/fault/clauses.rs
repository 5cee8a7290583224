//! Calls and clauses that stand where PostgreSQL lets none stand, told from the statement itself: the engine says so in words of its own and without a place, late,
//! or not at all.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::functions::all_default_functions;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::{
    Cte, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, JoinConstraint, JoinOperator,
    LimitClause, ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned as _, Statement, TableFactor, UnaryOperator, Value,
    Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::tokens::Tokens;
use super::{Refusal, character, constants, grammar};
use crate::functions;
use crate::spelling::apart::folded;
use crate::spelling::names;

/// Functions that PostgreSQL has for windows alone.
const WINDOWS: [&str; 11] =
    ["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value", "last_value", "nth_value"];

/// Functions for windows that are given nothing.
const RANKS: [&str; 4] = ["rank", "dense_rank", "percent_rank", "cume_dist"];

/// Schemas that functions may be called of.
const SCHEMAS: [&str; 3] = ["pg_catalog", "public", "information_schema"];

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

/// Names of the engine's functions of one row.
static SCALARS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let functions = all_default_functions();
    functions.iter().flat_map(|function| std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned())).collect()
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

/// What is refused before it is planned: joins without a condition, whose rows would be all with all, orders by what is no column, options, clauses and schemas that there
/// are not, recursion that would never end, windows of what is no function of them, and constants that are none of their type.
///
/// # Errors
/// 42601, 42P10, 42P19, 42809, 3F000, 22P02 or 22003 with its place.
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
        with.cte_tables.iter().try_for_each(|query| self.recursive(query))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        match (constants::fault(expr), expr) {
            (Some((code, words, at)), _) => refused(code, &words, at.and_then(|at| place(at, self.0))),
            (None, Expr::Function(function)) => self.call(function),
            (None, _) => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        if let Some(condition) = &select.qualify {
            let words = "syntax error: there is no QUALIFY: choose by a window in a query around this one";
            return refused("42601", words, place(condition.span().start, self.0));
        }
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
    /// A query that reads itself begins with rows of others, and reads itself once.
    fn recursive(&self, query: &Cte) -> ControlFlow<Refusal> {
        let name = &query.alias.name;
        let (term, is_alone) = match query.query.body.as_ref() {
            SetExpr::SetOperation { right, .. } => (right.as_ref(), false),
            body => (body, true),
        };
        let SetExpr::Select(select) = term else { return ControlFlow::Continue(()) };
        let reads = reads(select, &name.value);
        if is_alone && !reads.is_empty() {
            let words = format!("recursive query \"{}\" does not have the form non-recursive-term UNION [ALL] recursive-term", name.value);
            return refused("42P19", &words, place(name.span.start, self.0));
        }
        if let Some(again) = reads.get(1) {
            let words = format!("recursive reference to query \"{}\" must not appear more than once", name.value);
            return refused("42P19", &words, place(again.span().start, self.0));
        }
        if !reads.is_empty()
            && let Some((_, place)) = first(&select.projection, self.0, |kind| kind == Kind::Aggregate)
        {
            return refused("42P19", "aggregate functions are not allowed in a recursive query's recursive term", place);
        }
        ControlFlow::Continue(())
    }

    /// A call that no function answers, whatever its values are.
    fn call(&self, function: &Function) -> ControlFlow<Refusal> {
        if let [schema, _] = function.name.0.as_slice()
            && let Some(schema) = schema.as_ident().map(folded)
            && !SCHEMAS.contains(&schema.as_str())
        {
            return refused("3F000", &format!("schema \"{schema}\" does not exist"), called(function, self.0));
        }
        let name = name(function);
        if name == "array" && matches!(function.args, FunctionArguments::Subquery(_)) {
            let words = "ARRAY of a query is not supported: write (SELECT array_agg(x ORDER BY y) FROM ...)";
            return refused("0A000", words, called(function, self.0));
        }
        let FunctionArguments::List(list) = &function.args else { return ControlFlow::Continue(()) };
        let is_all = |argument: &FunctionArg| {
            matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard | FunctionArgExpr::WildcardWithOptions(_)))
        };
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) && list.args.iter().any(is_all) {
            let tokens = Tokens::of(self.0);
            let is_distinct = |index: usize| tokens.follows(index, &["distinct"]) && tokens.before(index - 1) == Some(&Token::LParen);
            let all = tokens.find(|index| tokens.get(index) == Some(&Token::Mul) && is_distinct(index));
            return refused("42601", "syntax error at or near \"*\"", all.map(|index| tokens.place(index)));
        }
        if list.args.is_empty() && ["coalesce", "greatest", "least", "nullif"].contains(&name.as_str()) {
            let tokens = Tokens::of(self.0);
            let is_empty = |index: usize| {
                tokens.is(index, &name) && tokens.get(index + 1) == Some(&Token::LParen) && tokens.get(index + 2) == Some(&Token::RParen)
            };
            let end = tokens.find(is_empty).map(|index| tokens.place(index + 2));
            return refused("42601", "syntax error at or near \")\"", end);
        }
        if function.over.is_some() && SCALARS.contains(&name) && !AGGREGATES.contains(&name) {
            let words = format!("OVER specified, but {name} is not a window function nor an aggregate function");
            return refused("42809", &words, called(function, self.0));
        }
        if function.over.is_some() && RANKS.contains(&name.as_str()) && !list.args.is_empty() {
            return refused("42809", &format!("WITHIN GROUP is required for ordered-set aggregate {name}"), called(function, self.0));
        }
        ControlFlow::Continue(())
    }

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

/// Where a query reads the relation of this name.
fn reads<'a>(select: &'a Select, relation: &str) -> Vec<&'a ObjectName> {
    let all = select.from.iter().flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    let named = all.filter_map(|from| match from {
        TableFactor::Table { name, .. } if name.to_string().eq_ignore_ascii_case(relation) => Some(name),
        _ => None,
    });
    named.collect()
}

/// What the columns of a query are called; `None` where they are not all written out.
fn columns(query: &Query) -> Option<Vec<String>> {
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(names::name(expr).unwrap_or_else(|| names::UNNAMED.to_owned())),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    names::first(query)?.projection.iter().map(name).collect()
}

struct Clauses<'a>(&'a str);

impl Visitor for Clauses<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        self.named(query)?;
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
    /// Names that no column has: of queries side by side the first gives them, and no list names more than there are.
    fn named(&self, query: &Query) -> ControlFlow<Refusal> {
        for query in query.with.iter().flat_map(|with| &with.cte_tables) {
            let (alias, stated) = (&query.alias.name, query.alias.columns.len());
            if let Some(there) = columns(&query.query).map(|columns| columns.len()).filter(|there| *there < stated) {
                let words = format!("WITH query \"{}\" has {there} columns available but {stated} columns specified", alias.value);
                return refused("42P10", &words, place(alias.span.start, self.0));
            }
        }
        let keys = match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(keys)) if matches!(query.body.as_ref(), SetExpr::SetOperation { .. }) => keys.as_slice(),
            _ => &[],
        };
        let Some(columns) = columns(query).filter(|_| !keys.is_empty()) else { return ControlFlow::Continue(()) };
        for key in keys {
            if let Expr::Identifier(name) = &key.expr
                && !columns.contains(&folded(name))
            {
                return refused("42703", &format!("column \"{}\" does not exist", name.value), place(name.span.start, self.0));
            }
        }
        ControlFlow::Continue(())
    }

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
            ("SELECT task FROM labels UNION SELECT class FROM encounters ORDER BY label", "42703", 69),
            ("WITH a (x, y) AS (SELECT task FROM labels) SELECT x FROM a", "42P10", 6),
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
            "WITH a (x) AS (SELECT task, label FROM labels), b (y, z) AS (SELECT * FROM a) SELECT task AS T FROM labels UNION SELECT 'x' ORDER BY t",
            "SELECT count(DISTINCT task), public.lower(task), array_agg(label) OVER (), pg_catalog.count(*) FROM labels",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r), s AS (SELECT * FROM r AS a, r AS b) SELECT n FROM s",
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
            ("WITH RECURSIVE r AS (SELECT n + 1 FROM r) SELECT * FROM r", "42P19", 16),
            ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT r.n + s.n FROM r, r AS s) SELECT * FROM r", "42P19", 71),
            ("SELECT task FROM labels QUALIFY row_number() OVER () = 1", "42601", 33),
            ("SELECT DISTINCT 2 * 3, count(DISTINCT *) FROM labels", "42601", 39),
            ("SELECT coalesce() FROM labels", "42601", 17),
            ("SELECT noschema.lower(task) FROM labels", "3F000", 8),
            ("SELECT lower(task) OVER () FROM labels", "42809", 8),
            ("SELECT rank(label) OVER () FROM labels", "42809", 8),
            ("SELECT 'ü', 'zz'::uuid", "22P02", 13),
            ("SELECT ARRAY(SELECT task FROM labels ORDER BY 1)", "0A000", 8),
        ] {
            let refusal = check(&grammar::read(sql).expect("is read"), sql).expect_err("must be refused");
            assert_eq!((refusal.code, refusal.position), (code, Some(place)), "{sql}");
        }
        let counted =
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + (SELECT max(label) FROM labels) FROM r) SELECT max(n) FROM r";
        assert!(check(&grammar::read(counted).expect("is read"), counted).is_ok());
    }
}
