//! How long calls over deep expressions may be planned. The engine asks a call for its type wherever the expressions around it are asked for theirs, and it writes out the name of
//! every level of the arguments for that: so each call costs the square of the levels below it, once for each above. A few calls over thousands of casts are planned for minutes.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Statement, Visit, Visitor};

use crate::roles::fault::Refusal;

/// What all calls of a statement may cost, in names written out.
const LIMIT: u64 = 100_000_000;

/// # Errors
/// 54001 where it would take too long.
pub(super) fn check(statement: &Statement) -> Result<(), Refusal> {
    match statement.visit(&mut Levels::default()) {
        ControlFlow::Break(()) => {
            Err(Refusal::new("54001", "the statement is too complex: its functions are called of too much that is nested")
                .with_hint("compute the arguments in a subquery, or cast and join them less often"))
        }
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[derive(Default)]
struct Levels {
    /// Of each expression that the visit is within, the outermost first, the levels below it; of a query that stands among them, of its own.
    below: Vec<u64>,
    cost: u64,
}

impl Visitor for Levels {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.below.push(0);
        ControlFlow::Continue(())
    }

    /// A query is a level, however much it holds.
    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.below.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.below.push(0);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let below = self.below.pop().unwrap_or(0);
        let above = u64::try_from(self.below.len()).unwrap_or(u64::MAX);
        if let Some(around) = self.below.last_mut() {
            *around = (*around).max(below + 1);
        }
        if matches!(expr, Expr::Function(_)) {
            self.cost = self.cost.saturating_add(below.saturating_mul(below).saturating_mul(above.max(1)));
        }
        if self.cost > LIMIT { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn code(sql: &str) -> &'static str {
        let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0);
        check(&statement).map_or_else(|refusal| refusal.code, |()| "")
    }

    fn called(calls: usize, of: &str) -> String {
        format!("SELECT {}{of}{} FROM t", "abs(".repeat(calls), ")".repeat(calls))
    }

    #[test]
    fn what_would_be_planned_for_minutes_is_refused() {
        let cast = format!("x{}", "::int".repeat(1_400));
        assert_eq!(code(&called(10, &cast)), "54001");
        assert_eq!(code(&format!("SELECT 1 FROM t WHERE {}abs({cast}) > 0", "a = 1 AND ".repeat(300))), "", "it stands beside the others");
        assert_eq!(code(&format!("SELECT abs({cast}){} FROM t", " + 1".repeat(300))), "54001");
    }

    #[test]
    fn everything_that_is_written_is_let_through() {
        let cast = format!("x{}", "::int".repeat(1_000));
        for sql in [
            called(3, &cast),
            called(12, "x"),
            format!("SELECT 1 FROM t WHERE {}", vec!["lower(a) = 'b'"; 1_000].join(" OR ")),
            format!("SELECT coalesce({}) FROM t", vec!["a"; 1_500].join(" || ")),
            format!("SELECT {} FROM t", vec!["round(coalesce(a::float8, b)::numeric, 2)"; 1_000].join(", ")),
            called(10, "(SELECT max(x) FROM t WHERE a OR b OR c OR d OR e)"),
        ] {
            assert_eq!(code(&sql), "", "{}", sql.chars().take(80).collect::<String>());
        }
    }
}
