//! What a task's query must not depend on: the clock, chance, and the order in which the engine hands its rows on. An answer that does would give a dataset other
//! bytes under the same id.
//!
//! An order that is stated is taken at its word: whether it tells all rows apart is a matter of the rows, and of whoever writes the query.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable as _, FetchType, LogicalPlan, Volatility, WindowFunctionDefinition};

/// Aggregates that go by the rows' order, and ask for one by ORDER BY.
const BY_ORDER: [&str; 5] = ["first_value", "last_value", "nth_value", "array_agg", "string_agg"];
/// Aggregates that add up in floating point whatever they are given.
const MOMENTS: [&str; 7] = ["stddev", "stddev_pop", "var", "var_pop", "covar_samp", "covar_pop", "corr"];
/// Aggregates that add up what they are given: exactly, but for floating point.
const SUMS: [&str; 2] = ["sum", "avg"];

/// What makes the answer another one at another time, in words that follow "its query"; `None` where nothing does.
pub fn unsteady(plan: &LogicalPlan) -> Result<Option<String>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        found = takes_any_rows(node)?.map(str::to_owned);
        if found.is_some() {
            return Ok(TreeNodeRecursion::Stop);
        }
        let inputs = node.inputs();
        let input = inputs.first().map(|input| &**input.schema());
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                found = calls(part, input);
                Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(found)
}

/// Whether the node lets through rows that come first, where nothing says which do.
fn takes_any_rows(node: &LogicalPlan) -> Result<Option<&'static str>> {
    Ok(match node {
        LogicalPlan::Limit(limit) => {
            let lets_none = matches!(limit.get_fetch_type()?, FetchType::Literal(Some(0)));
            (!lets_none && !is_sorted(&limit.input)).then_some("has LIMIT or OFFSET without ORDER BY")
        }
        // What it orders by begins with what it tells apart; only what comes behind says which row of each is the first.
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            let orders = distinct.sort_expr.as_ref().map_or(0, Vec::len);
            (orders <= distinct.on_expr.len()).then_some("has DISTINCT ON without an ORDER BY that says which row comes first")
        }
        _ => None,
    })
}

fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Distinct(Distinct::On(distinct)) => distinct.sort_expr.is_some(),
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        _ => false,
    }
}

fn calls(part: &Expr, input: Option<&DFSchema>) -> Option<String> {
    match part {
        Expr::ScalarFunction(called) if called.func.signature().volatility != Volatility::Immutable => {
            Some(format!("calls `{}`", called.func.name()))
        }
        Expr::AggregateFunction(called) => of_group(called, input),
        Expr::WindowFunction(called) => of_window(called, input),
        _ => None,
    }
}

fn of_group(called: &AggregateFunction, input: Option<&DFSchema>) -> Option<String> {
    let (name, params) = (called.func.name(), &called.params);
    if BY_ORDER.contains(&name) && params.order_by.is_empty() {
        return Some(format!("calls `{name}` without ORDER BY"));
    }
    // ORDER BY within a sum is not kept: its rows are added up as they come.
    of_chance(name).or_else(|| in_floats(name, &params.args, input))
}

fn of_window(called: &WindowFunction, input: Option<&DFSchema>) -> Option<String> {
    let (name, params) = (called.fun.name(), &called.params);
    if !params.order_by.is_empty() {
        return of_chance(name);
    }
    let is_by_order = matches!(called.fun, WindowFunctionDefinition::WindowUDF(_)) || BY_ORDER.contains(&name);
    let named = is_by_order.then(|| format!("calls `{name}() OVER without ORDER BY`"));
    named.or_else(|| of_chance(name)).or_else(|| in_floats(name, &params.args, input))
}

/// Of any row, or of a sketch that is merged as parts of the work end.
fn of_chance(name: &str) -> Option<String> {
    (name == "any_value" || name.starts_with("approx_")).then(|| format!("calls `{name}`"))
}

fn in_floats(name: &str, args: &[Expr], input: Option<&DFSchema>) -> Option<String> {
    let is_float = |arg: &Expr| input.and_then(|schema| arg.get_type(schema).ok()).is_some_and(|kind| kind.is_floating());
    let adds = MOMENTS.contains(&name) || name.starts_with("regr_") || (SUMS.contains(&name) && args.iter().any(is_float));
    adds.then(|| {
        format!("adds up floating-point numbers by `{name}`, in whatever order they come (whole numbers and DECIMALs add up exactly)")
    })
}
