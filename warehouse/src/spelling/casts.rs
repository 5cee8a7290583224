//! Calls that differ by casts of their arguments alone, told apart: the engine calls `sum(v::numeric)` as it calls `sum(v)`, and adds up no two things of one name.
//!
//! `coalesce` of one value is that value, and is gone before anything is computed; what is made of it has another name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, VisitMut, VisitorMut, visit_expressions,
};

use super::apart::plain;
use super::{call, is_called};

/// So many calls are told apart from one another: each is a level deeper than the one before.
const CALLS: usize = 16;

/// The statement in which every two calls that are not the same have two names.
pub(super) fn told_apart(mut statement: Statement) -> Statement {
    let calls = calls(&statement);
    if calls.is_empty() {
        return statement;
    }
    let _whole = statement.visit(&mut Apart(calls));
    statement
}

/// Each of these calls with so many names between it and what it casts.
struct Apart(BTreeMap<String, usize>);

impl VisitorMut for Apart {
    type Break = ();

    /// Before what it is made of: that is changed too.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Function(_))
            && let Some(times) = self.0.get(&expr.to_string()).copied()
            && let Expr::Function(function) = expr
            && let Some(argument) = cast_argument(function)
        {
            *argument = (0..times).fold(argument.clone(), |argument, _| call("coalesce", vec![argument]));
        }
        ControlFlow::Continue(())
    }
}

/// The calls of which there are others but for their casts, and how many of those come before each. What casts nothing comes first.
fn calls(statement: &Statement) -> BTreeMap<String, usize> {
    let mut alike: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut is_cast = false;
    let _whole: ControlFlow<()> = visit_expressions(statement, |expr| {
        is_cast |= matches!(expr, Expr::Cast { .. });
        ControlFlow::Continue(())
    });
    if is_cast {
        let _whole: ControlFlow<()> = visit_expressions(statement, |expr| {
            if matches!(expr, Expr::Function(function) if !is_itself(function)) {
                alike.entry(plain(expr).to_string()).or_default().insert(expr.to_string());
            }
            ControlFlow::Continue(())
        });
    }
    let of = |(without, mut calls): (String, BTreeSet<String>)| {
        let others = usize::from(calls.remove(&without)) + calls.len().saturating_sub(1);
        let calls = if others == 0 { BTreeSet::new() } else { calls };
        calls.into_iter().take(CALLS).enumerate().map(|(before, call)| (call, before + 1))
    };
    alike.into_iter().flat_map(of).collect()
}

/// Whether the call is `coalesce` of one value, which is what calls are told apart by: within one of these there would be another to be told apart, without end.
fn is_itself(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    list.args.len() == 1 && is_called(&function.name, "coalesce")
}

/// The first argument of a call in which something is cast; beside others none that is written out, as it may have to be (`date_part('year'::text, at)`).
fn cast_argument(function: &mut Function) -> Option<&mut Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let is_alone = list.args.len() == 1;
    let arguments = list.args.iter_mut().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let mut cast = arguments.filter(|expr| {
        let plain = plain(expr);
        (is_alone || !matches!(plain, Expr::Value(_))) && plain.to_string() != expr.to_string()
    });
    cast.next()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn read(sql: &str) -> String {
        told_apart(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    #[test]
    fn calls_that_casts_alone_tell_apart_have_two_names() {
        for (sql, wanted) in [
            (
                "SELECT sum(a), sum(a::INT) FROM t HAVING sum(a::INT) > 1",
                "SELECT sum(a), sum(coalesce(a::INT)) FROM t HAVING sum(coalesce(a::INT)) > 1",
            ),
            (
                "SELECT nth(1, a::INT), nth(1, a::TEXT) FROM t",
                "SELECT nth(1, coalesce(a::INT)), nth(1, coalesce(coalesce(a::TEXT))) FROM t",
            ),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn everything_else_stays() {
        for sql in [
            "SELECT sum(a::INT), max(a), sum(a::INT) > 1 FROM t",
            "SELECT sum(a), sum(b) FROM t",
            "SELECT a, a::TEXT FROM t",
            "SELECT date_part('year'::TEXT, a), date_part('year', a) FROM t",
            "SELECT coalesce(a::INT), coalesce(a::TEXT), \"COALESCE\"(a::TEXT) FROM t",
        ] {
            assert_eq!(read(sql), sql);
        }
    }
}
