//! Operators of spans and days as PostgreSQL means them: multiples of intervals, comparisons by how long two last, a day and an interval that are an instant, and spans as text.
//!
//! The engine multiplies no intervals, holds an interval's months to the other's before its days and hours, and so `discharged_at - admitted_at > interval '30 days'`
//! never, cuts the hours off what is added to a day, and writes spans in words of its own.

use std::iter;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable as _, Operator, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::date_part;
use super::intervals::Of;
use super::spans::{INTERVAL, is_span};

/// By what spans are held to one another.
const COMPARISONS: [Operator; 8] = [
    Operator::Eq,
    Operator::NotEq,
    Operator::Lt,
    Operator::LtEq,
    Operator::Gt,
    Operator::GtEq,
    Operator::IsDistinctFrom,
    Operator::IsNotDistinctFrom,
];

/// What a day is when an interval is added to it.
const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The planner of such operators, and of `extract`.
pub(crate) fn planner() -> Arc<dyn ExprPlanner> {
    Arc::new(Planner { times: Of::Times.function(), over: Of::Over.function(), date_part: date_part::date_part() })
}

/// The rewriting by which spans are compared by how long they last, and written and taken apart as PostgreSQL does it, whoever planned `extract`.
pub(crate) fn compared() -> Arc<dyn FunctionRewrite + Send + Sync> {
    Arc::new(Compared { micros: Of::Micros.function(), text: Of::Text.function(), date_part: date_part::date_part() })
}

#[derive(Debug)]
struct Planner {
    times: ScalarUDF,
    over: ScalarUDF,
    date_part: ScalarUDF,
}

impl ExprPlanner for Planner {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        let (left, right) = match op {
            BinaryOperator::Multiply if may_be_span(&right, schema) && is(&left, schema, DataType::is_numeric) => {
                return Ok(PlannerResult::Planned(self.times.call(vec![right, left])));
            }
            BinaryOperator::Multiply if is(&right, schema, DataType::is_numeric) && may_be_span(&left, schema) => {
                return Ok(PlannerResult::Planned(self.times.call(vec![left, right])));
            }
            BinaryOperator::Divide if is(&right, schema, DataType::is_numeric) && may_be_span(&left, schema) => {
                return Ok(PlannerResult::Planned(self.over.call(vec![left, right])));
            }
            BinaryOperator::Plus | BinaryOperator::Minus if is_interval(&right, schema) && is(&left, schema, is_day) => {
                (instant(left), right)
            }
            BinaryOperator::Plus if is(&right, schema, is_day) && is_interval(&left, schema) => (left, instant(right)),
            _ if is_comparison(&op) && is_text(&right) && may_be_span(&left, schema) => (left, interval(right)),
            _ if is_comparison(&op) && is_text(&left) && may_be_span(&right, schema) => (interval(left), right),
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }

    fn plan_extract(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.date_part.call(arguments)))
    }
}

fn is(expr: &Expr, schema: &DFSchema, mut kind: impl FnMut(&DataType) -> bool) -> bool {
    expr.get_type(schema).is_ok_and(|found| kind(&found))
}

/// Whether it is a span. A chain of sums is told by its last part, where that is a number: it is asked at each of its links.
fn may_be_span(expr: &Expr, schema: &DFSchema) -> bool {
    let is_of_numbers = match expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Plus | Operator::Minus, right, .. }) => is(right, schema, DataType::is_numeric),
        Expr::BinaryExpr(_) => true,
        _ => false,
    };
    !is_of_numbers && is(expr, schema, is_span)
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    may_be_span(expr, schema) && is(expr, schema, |kind| matches!(kind, DataType::Interval(_)))
}

fn is_day(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32 | DataType::Date64)
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.data_type().is_string())
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn instant(day: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(day), INSTANT))
}

fn interval(text: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(text), INTERVAL))
}

#[derive(Debug)]
struct Compared {
    micros: ScalarUDF,
    text: ScalarUDF,
    date_part: ScalarUDF,
}

impl FunctionRewrite for Compared {
    fn name(&self) -> &'static str {
        "spans compared by how long they last"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let micros = |span: Box<Expr>| Box::new(self.micros.call(vec![*span]));
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if COMPARISONS.contains(&op) && are_intervals([&*left, &*right], schema) => {
                Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: micros(left), op, right: micros(right) }))
            }
            Expr::Between(Between { expr, negated, low, high }) if are_intervals([&*expr, &*low, &*high], schema) => {
                Transformed::yes(Expr::Between(Between { expr: micros(expr), negated, low: micros(low), high: micros(high) }))
            }
            Expr::InList(InList { expr, list, negated }) if are_intervals(iter::once(&*expr).chain(&list), schema) => {
                let list = list.into_iter().map(|span| self.micros.call(vec![span])).collect();
                Transformed::yes(Expr::InList(InList { expr: micros(expr), list, negated }))
            }
            Expr::Cast(cast) if cast.field.data_type().is_string() && is(&cast.expr, schema, is_span) => {
                Transformed::yes(Expr::Cast(Cast { expr: Box::new(self.text.call(vec![*cast.expr])), ..cast }))
            }
            Expr::ScalarFunction(call) if call.name() == self.date_part.name() && *call.func != self.date_part => {
                Transformed::yes(self.date_part.call(call.args))
            }
            other => Transformed::no(other),
        })
    }
}

/// Whether all of them are spans, and one an interval: durations are compared by the engine as they should be.
fn are_intervals<'e>(values: impl IntoIterator<Item = &'e Expr>, schema: &DFSchema) -> bool {
    let mut has_interval = false;
    values.into_iter().all(|value| {
        is(value, schema, |kind| {
            has_interval |= matches!(kind, DataType::Interval(_));
            is_span(kind)
        })
    }) && has_interval
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::FunctionRegistry as _;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn answered(expr: &str) -> Result<String> {
        let mut state = SessionContext::new().state();
        state.register_expr_planner(planner())?;
        state.register_function_rewrite(compared())?;
        let ctx = SessionContext::new_with_state(state);
        ctx.register_udf(Of::Parts.function());
        let sql = format!(
            "SELECT {expr} FROM (VALUES (TIMESTAMP '2024-01-01', TIMESTAMP '2024-02-05 12:00:00', 2, DATE '2024-01-31')) AS t(a, b, n, day)"
        );
        let rows = pretty_format_batches(&ctx.sql(&sql).await?.collect().await?)?.to_string();
        Ok(rows.lines().nth(3).map(|line| line.trim_matches(['|', ' ']).to_owned()).unwrap_or_default())
    }

    async fn told(expr: &str) -> String {
        answered(expr).await.unwrap_or_else(|error| panic!("{expr}: {error}"))
    }

    #[tokio::test]
    async fn spans_are_compared_by_how_long_they_last() {
        for condition in [
            "b - a > INTERVAL '30 days'",
            "b - a < INTERVAL '2 months'",
            "INTERVAL '1 day' = INTERVAL '24 hours'",
            "b - a BETWEEN INTERVAL '1 month' AND INTERVAL '36 days'",
            "b - a IN (INTERVAL '1 day', INTERVAL '852 hours')",
            "b - a > '3 days'",
            "'40 days' > b - a",
            "INTERVAL '25 hours' > INTERVAL '1 day'",
            "b - a IS DISTINCT FROM INTERVAL '1 day'",
        ] {
            assert_eq!(told(condition).await, "true", "{condition}");
            assert_eq!(told(&format!("NOT ({condition})")).await, "false", "{condition}");
        }
        assert_eq!(told("b - a > CAST(NULL AS INTERVAL)").await, "");
    }

    #[tokio::test]
    async fn intervals_are_multiplied_and_made_of_parts() {
        assert_eq!(told("(INTERVAL '1 day' * 3)::TEXT").await, "3 days");
        assert_eq!(told("(n * INTERVAL '1 hour 30 minutes')::TEXT").await, "03:00:00");
        assert_eq!(told("(INTERVAL '1 month' * 1.5)::TEXT").await, "1 mon 15 days");
        assert_eq!(told("((b - a) / n)::TEXT").await, "17 days 18:00:00");
        assert_eq!(told("a - 7 * INTERVAL '1 day' = TIMESTAMP '2023-12-25'").await, "true");
        assert_eq!(told("make_interval(1, 2, 1, n, 3, 4, 5.5)::TEXT").await, "1 year 2 mons 9 days 03:04:05.5");
        assert_eq!(told("make_interval(0, 0, 0, CAST(NULL AS INT), 0, 0, 0)").await, "");
        let refused = answered("INTERVAL '1 day' / 0").await.expect_err("has no result").to_string();
        assert!(refused.contains("Divide by zero"), "{refused}");
        let refused = answered("INTERVAL '1 day' * 1e12").await.expect_err("is too long").to_string();
        assert!(refused.contains("interval out of range"), "{refused}");
    }

    #[tokio::test]
    async fn a_day_and_an_interval_are_an_instant() {
        assert_eq!(told("day + INTERVAL '6 hours'").await, "2024-01-31T06:00:00");
        assert_eq!(told("INTERVAL '1 month' + day").await, "2024-02-29T00:00:00");
        assert_eq!(told("day - n * INTERVAL '12 hours'").await, "2024-01-30T00:00:00");
        assert_eq!(told("day + 1").await, "2024-02-01");
    }

    #[tokio::test]
    async fn parts_are_told_whoever_planned_them() {
        assert_eq!(told("extract(hour FROM b - a)").await, "12");
        assert_eq!(told("extract(second FROM b + INTERVAL '1500 milliseconds')").await, "1.5");
    }

    #[tokio::test]
    async fn numbers_are_the_engine_s() {
        assert_eq!(told("n * 3 / 2 + n").await, "5");
        assert_eq!(told("n * 1.5 > 2").await, "true");
    }
}
