//! Subqueries in FROM that speak of the relations before them and choose no rows of their own: `FROM t, LATERAL (SELECT t.a + 1 AS b) AS u`, and the elements of each row's list.
//!
//! The engine plans them and cannot run them. What such a subquery makes of a row stands beside the row: the relations before it become its input, in the place of the one row
//! that a SELECT without FROM is made of. A row of which a LEFT JOIN finds nothing goes through with a mark that says so. Subqueries with a FROM of their own are left to the engine.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, JoinType, NullHandling, Result, ScalarValue};
use datafusion::functions_nested::expr_fn::array_empty;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{
    EmptyRelation, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, Unnest, lit,
};
use datafusion::optimizer::AnalyzerRule;

/// Puts such subqueries over what stands before them.
#[derive(Debug)]
pub(crate) struct Lateral;

impl AnalyzerRule for Lateral {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let lifted = |plan| match plan {
            LogicalPlan::Join(join) => Ok(match lifted(&join)? {
                Some(lifted) => Transformed::yes(lifted),
                None => Transformed::no(LogicalPlan::Join(join)),
            }),
            plan => Ok(Transformed::no(plan)),
        };
        Ok(plan.transform_up_with_subqueries(lifted)?.data)
    }

    fn name(&self) -> &'static str {
        "lateral"
    }
}

/// The join as what its right side makes of each row of its left one; `None` where it is no such join.
fn lifted(join: &Join) -> Result<Option<LogicalPlan>> {
    let subquery = match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => &subquery.subquery,
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => match input.as_ref() {
            LogicalPlan::Subquery(subquery) => &subquery.subquery,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let is_outer = join.join_type == JoinType::Left;
    if !(is_outer || join.join_type == JoinType::Inner) || !join.on.is_empty() {
        return Ok(None);
    }
    let filter = join.filter.as_ref().filter(|filter| !matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _)));
    if is_outer && filter.is_some() && unnests(subquery) {
        return Ok(None);
    }
    let before = Before { left: &join.left, is_outer };
    let Some(beside) = before.made(subquery)? else { return Ok(None) };
    let left = before.columns().map(|(column, name)| Expr::Column(Column::from_name(name)).alias_qualified(column.relation, column.name));
    let made = subquery.schema().columns().into_iter().zip(join.right.schema().columns());
    let right = made.map(|(made, seen)| before.found(Expr::Column(made)).alias_qualified(seen.relation, seen.name));
    let all = projected(left.chain(right).collect(), beside)?;
    let Some(filter) = filter else { return Ok(Some(all)) };
    if !is_outer {
        return filtered(filter.clone(), all).map(Some);
    }
    let left = join.left.schema().columns().into_iter().map(Expr::Column);
    let right = join.right.schema().columns().into_iter();
    let right = right.map(|seen| where_true(filter, Expr::Column(seen.clone())).alias_qualified(seen.relation, seen.name));
    projected(left.chain(right).collect(), all).map(Some)
}

/// Whether the plan, which is made of one row, makes several of it.
fn unnests(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Unnest(_)) || plan.inputs().first().is_some_and(|input| unnests(input))
}

/// The value where that is true, and NULL elsewhere.
fn where_true(condition: &Expr, value: Expr) -> Expr {
    Expr::Case(Case::new(None, vec![(Box::new(condition.clone()), Box::new(value))], None))
}

/// Whether a LEFT JOIN has found something for the row.
const FOUND: &str = "__found";

fn is_found() -> Expr {
    Expr::Column(Column::from_name(FOUND))
}

/// The relations before a subquery. Their columns go through it under names of their own, which none of its columns has.
struct Before<'a> {
    left: &'a Arc<LogicalPlan>,
    /// Whether each row stays, whatever is made of it.
    is_outer: bool,
}

impl Before<'_> {
    fn columns(&self) -> impl Iterator<Item = (Column, String)> {
        self.left.schema().columns().into_iter().enumerate().map(|(place, column)| (column, format!("__before_{place}")))
    }

    /// The columns as they go through.
    fn through(&self) -> impl Iterator<Item = Expr> {
        let mark = self.is_outer.then(is_found);
        self.columns().map(|(_, name)| Expr::Column(Column::from_name(name))).chain(mark)
    }

    /// A value of what is made of a row; NULL where that is nothing.
    fn found(&self, value: Expr) -> Expr {
        if self.is_outer { where_true(&is_found(), value) } else { value }
    }

    /// What `plan` makes of each row; `None` where it is not made of the one row that a SELECT without FROM has.
    fn made(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) = plan {
            let named = self.columns().map(|(column, name)| Expr::Column(column).alias(name));
            let mark = self.is_outer.then(|| lit(true).alias(FOUND));
            return projected(named.chain(mark).collect(), self.left.as_ref().clone()).map(Some);
        }
        let (LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Unnest(_) | LogicalPlan::SubqueryAlias(_)) = plan else {
            return Ok(None);
        };
        let Some(input) = plan.inputs().first().map_or(Ok(None), |input| self.made(input))? else { return Ok(None) };
        match plan {
            LogicalPlan::Projection(projection) => {
                let made = projection.expr.iter().map(|expr| self.inner(expr.clone())).collect::<Result<Vec<_>>>()?;
                projected(self.through().chain(made).collect(), input).map(Some)
            }
            LogicalPlan::Filter(filter) => self.chosen(filter, input),
            LogicalPlan::Unnest(unnest) => self.unnested(unnest, input),
            LogicalPlan::SubqueryAlias(aliased) => {
                let columns = aliased.input.schema().columns().into_iter().zip(aliased.schema.columns());
                let named = columns.map(|(column, seen)| Expr::Column(column).alias_qualified(seen.relation, seen.name));
                projected(self.through().chain(named).collect(), input).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The rows that a condition is true of, or all rows with a mark on these.
    fn chosen(&self, filter: &Filter, input: LogicalPlan) -> Result<Option<LogicalPlan>> {
        let condition = self.inner(filter.predicate.clone())?;
        if !self.is_outer {
            return filtered(condition, input).map(Some);
        }
        // Which of several rows would stay where none is chosen, no mark tells.
        if unnests(&filter.input) {
            return Ok(None);
        }
        self.marked(condition.unalias().is_true(), input).map(Some)
    }

    /// The elements of lists; where rows stay, of an empty list one that is NULL.
    fn unnested(&self, unnest: &Unnest, input: LogicalPlan) -> Result<Option<LogicalPlan>> {
        if !self.is_outer {
            let unnested = LogicalPlanBuilder::from(input);
            return unnested.unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?.build().map(Some);
        }
        let is_filled = |column: &Column| array_empty(Expr::Column(column.clone())).is_false();
        let Some(is_filled) = unnest.exec_columns.iter().map(is_filled).reduce(Expr::or) else { return Ok(None) };
        // Where lists stand in lists, an empty one beside others gives no row, and no mark tells that.
        let is_of_lists = unnest.list_type_columns.iter().any(|(_, list)| list.depth > 1) || unnests(&unnest.input);
        if is_of_lists || !unnest.struct_type_columns.is_empty() {
            return Ok(None);
        }
        let options = unnest.options.clone().with_null_handling(NullHandling::PreserveAndExpandEmpty);
        let marked = LogicalPlanBuilder::from(self.marked(is_filled, input)?);
        marked.unnest_columns_with_options(unnest.exec_columns.clone(), options)?.build().map(Some)
    }

    /// All columns, where those rows alone keep their mark that the condition is true of.
    fn marked(&self, condition: Expr, input: LogicalPlan) -> Result<LogicalPlan> {
        let mark = is_found().and(condition).alias(FOUND);
        let others = input.schema().columns().into_iter().map(Expr::Column).filter(|column| *column != is_found());
        projected(std::iter::once(mark).chain(others).collect(), input)
    }

    /// The expression of the columns that go through, where it spoke of the relations before.
    fn inner(&self, expr: Expr) -> Result<Expr> {
        let known: Vec<(Column, String)> = self.columns().collect();
        let inner = |part| match part {
            Expr::OuterReferenceColumn(field, column) => Ok(match known.iter().find(|(known, _)| *known == column) {
                Some((_, name)) => Transformed::yes(Expr::Column(Column::from_name(name))),
                None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
            }),
            part => Ok(Transformed::no(part)),
        };
        // What nobody named is called after what it spoke of.
        let (relation, name) = expr.qualified_name();
        let changed = expr.transform(inner)?;
        if self.is_outer && !matches!(changed.data, Expr::Column(_)) {
            // Of a row of which nothing is made nothing is computed: it may have no value.
            return Ok(self.found(changed.data.unalias()).alias_qualified(relation, name));
        }
        let is_named = !changed.transformed || matches!(changed.data, Expr::Alias(_));
        Ok(if is_named { changed.data } else { changed.data.alias_qualified(relation, name) })
    }
}

fn projected(expressions: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(expressions, Arc::new(input))?))
}

fn filtered(predicate: Expr, input: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::RecordBatch;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn told(sql: &str) -> Vec<String> {
        let state = SessionStateBuilder::new().with_default_features().with_analyzer_rule(Arc::new(Lateral)).build();
        let rows = SessionContext::new_with_state(state).sql(sql).await.expect(sql).collect().await.expect(sql);
        let table = pretty_format_batches(&rows).expect("rows").to_string();
        let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|");
        table.lines().filter(|line| line.starts_with('|')).map(cells).collect()
    }

    /// As PostgreSQL answers them.
    #[tokio::test]
    async fn what_is_made_of_a_row_stands_beside_it() {
        let rows = "(VALUES (1, 10), (2, 20)) AS t(a, b)";
        for (sql, wanted) in [
            (
                format!("SELECT u.b, t.b AS c FROM {rows} CROSS JOIN LATERAL (SELECT t.a + 1 AS b) AS u ORDER BY 1"),
                vec!["b|c", "2|10", "3|20"],
            ),
            (format!("SELECT c FROM {rows}, LATERAL (SELECT a * 2 WHERE a > 1) AS u(c)"), vec!["c", "4"]),
            (
                format!("SELECT t.a, v.d FROM {rows}, LATERAL (SELECT a + b AS c) AS u, LATERAL (SELECT u.c * 2 AS d) AS v ORDER BY 1"),
                vec!["a|d", "1|22", "2|44"],
            ),
            (
                format!("SELECT * FROM {rows} JOIN LATERAL (SELECT unnest(make_array(a, b)) AS e) AS u ON e > 2 ORDER BY e"),
                vec!["a|b|e", "1|10|10", "2|20|20"],
            ),
            (
                format!(
                    "SELECT (SELECT max(e) FROM (SELECT 1) AS o, LATERAL (SELECT unnest(make_array(3, 5)) AS e) AS u) AS m FROM {rows} WHERE a = 1"
                ),
                vec!["m", "5"],
            ),
            (
                format!(
                    "SELECT a, c, d FROM {rows} LEFT JOIN LATERAL (SELECT 10 / (a - 1) AS c, 'x' AS d WHERE a > 1) AS u ON true ORDER BY 1"
                ),
                vec!["a|c|d", "1||", "2|10|x"],
            ),
            (
                format!("SELECT t.*, u.* FROM {rows} LEFT JOIN LATERAL (SELECT b + 1 AS c) AS u ON c > 11 ORDER BY 1"),
                vec!["a|b|c", "1|10|", "2|20|21"],
            ),
            (
                format!("SELECT a, e, d FROM {rows} LEFT JOIN LATERAL (SELECT unnest(range(1, a)) AS e, 'x' AS d) AS u ON true ORDER BY 1"),
                vec!["a|e|d", "1||", "2|1|x"],
            ),
            (
                format!(
                    "SELECT a, e FROM {rows} LEFT JOIN LATERAL (SELECT unnest(make_array(a, b)) AS e WHERE b > 10) AS u ON true ORDER BY 1, 2"
                ),
                vec!["a|e", "1|", "2|2", "2|20"],
            ),
        ] {
            assert_eq!(told(&sql).await, wanted, "{sql}");
        }
    }

    /// One empty list among those of a row would be a row of NULL beside the others' elements.
    #[tokio::test]
    async fn lists_within_lists_of_rows_that_stay_are_left_to_the_engine() {
        let lists = "(VALUES (1)) AS t(a) LEFT JOIN LATERAL";
        for made in [
            "(SELECT unnest(unnest(make_array(range(1, a), make_array(a)))) AS e)",
            "(SELECT unnest(l) AS e FROM (SELECT unnest(make_array(range(1, a), make_array(a))) AS l) AS s)",
        ] {
            let state = SessionStateBuilder::new().with_default_features().with_analyzer_rule(Arc::new(Lateral)).build();
            let sql = format!("SELECT a, e FROM {lists} {made} AS u ON true");
            let rows = match SessionContext::new_with_state(state).sql(&sql).await {
                Ok(frame) => frame.collect().await,
                Err(error) => Err(error),
            };
            let count = rows.map(|rows| rows.iter().map(RecordBatch::num_rows).sum::<usize>());
            assert!(!matches!(&count, Ok(count) if *count != 1), "{sql}: {count:?}");
        }
    }
}
