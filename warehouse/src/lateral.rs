//! Subqueries in FROM that speak of the relations before them and choose no rows of their own: `FROM t, LATERAL (SELECT t.a + 1 AS b) AS u`, and the elements of each row's list.
//!
//! The engine plans them and cannot run them. What such a subquery makes of a row stands beside the row: the relations before it become its input, in the place of the one row
//! that a SELECT without FROM is made of. Subqueries with a FROM of their own are left to the engine.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::{EmptyRelation, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias};
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
    if join.join_type != JoinType::Inner || !join.on.is_empty() {
        return Ok(None);
    }
    let before = Before(&join.left);
    let Some(beside) = before.made(subquery)? else { return Ok(None) };
    let left = before.columns().map(|(column, name)| Expr::Column(Column::from_name(name)).alias_qualified(column.relation, column.name));
    let made = subquery.schema().columns().into_iter().zip(join.right.schema().columns());
    let right = made.map(|(made, seen)| Expr::Column(made).alias_qualified(seen.relation, seen.name));
    let all = projected(left.chain(right).collect(), beside)?;
    Ok(Some(match &join.filter {
        Some(filter) => filtered(filter.clone(), all)?,
        None => all,
    }))
}

/// The relations before a subquery. Their columns go through it under names of their own, which none of its columns has.
struct Before<'a>(&'a Arc<LogicalPlan>);

impl Before<'_> {
    fn columns(&self) -> impl Iterator<Item = (Column, String)> {
        self.0.schema().columns().into_iter().enumerate().map(|(place, column)| (column, format!("__before_{place}")))
    }

    /// The columns as they go through.
    fn through(&self) -> impl Iterator<Item = Expr> {
        self.columns().map(|(_, name)| Expr::Column(Column::from_name(name)))
    }

    /// What `plan` makes of each row; `None` where it is not made of the one row that a SELECT without FROM has.
    fn made(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) = plan {
            let named = self.columns().map(|(column, name)| Expr::Column(column).alias(name));
            return projected(named.collect(), self.0.as_ref().clone()).map(Some);
        }
        let (LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Unnest(_) | LogicalPlan::SubqueryAlias(_)) = plan else {
            return Ok(None);
        };
        let Some(input) = plan.inputs().first().map_or(Ok(None), |input| self.made(input))? else { return Ok(None) };
        Ok(match plan {
            LogicalPlan::Projection(projection) => {
                let made = projection.expr.iter().map(|expr| self.inner(expr.clone())).collect::<Result<Vec<_>>>()?;
                Some(projected(self.through().chain(made).collect(), input)?)
            }
            LogicalPlan::Filter(filter) => Some(filtered(self.inner(filter.predicate.clone())?, input)?),
            LogicalPlan::Unnest(unnest) => {
                let unnested = LogicalPlanBuilder::from(input);
                Some(unnested.unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?.build()?)
            }
            LogicalPlan::SubqueryAlias(aliased) => {
                let columns = aliased.input.schema().columns().into_iter().zip(aliased.schema.columns());
                let named = columns.map(|(column, seen)| Expr::Column(column).alias_qualified(seen.relation, seen.name));
                Some(projected(self.through().chain(named).collect(), input)?)
            }
            _ => None,
        })
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
        ] {
            assert_eq!(told(&sql).await, wanted, "{sql}");
        }
    }
}
