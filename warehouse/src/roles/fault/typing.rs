//! Types and names as PostgreSQL has them, before the engine makes one of those that do not fit: it holds a text to a number, and writes numbers as texts beside texts.
//!
//! What a user asks is looked at as it was planned, before its types are settled. The SQL of our own relations, which stands within such a plan, is not.

mod expressions;
mod having;
mod kind;
mod marks;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::{Distinct, Expr, Join, JoinConstraint, JoinType, LogicalPlan, SubqueryAlias, Union, Unnest, Values};
use datafusion::sql::sqlparser::ast::{Query, Select, Statement, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::tokens::Tokens;
use super::{Refusal, character};
use crate::spelling::apart::folded;
use expressions::{Known, Scope, readable, refused};
use kind::{Kind, common};
use marks::Marks;

/// The names that a statement gives.
pub(crate) fn named(statement: &Statement) -> Named {
    let mut named = Named { relations: BTreeSet::new(), having: BTreeMap::new() };
    // Nothing ends the visit.
    let _whole = statement.visit(&mut named);
    named
}

/// Names that a statement gives to relations, and those that it gives to columns and holds to something in HAVING, with the first place of each.
pub(crate) struct Named {
    relations: BTreeSet<String>,
    having: BTreeMap<String, Location>,
}

impl Visitor for Named {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.relations.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|query| folded(&query.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for (name, at) in having::names(select) {
            self.having.entry(name).or_insert(at);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. }) = factor
        else {
            return ControlFlow::Continue(());
        };
        self.relations.extend(alias.iter().map(|alias| folded(&alias.name)));
        ControlFlow::Continue(())
    }
}

/// A statement as it was asked.
pub(crate) struct Asking<'a> {
    /// Its text.
    pub sql: &'a str,
    /// The names that it gives.
    pub named: &'a Named,
    /// Whether there is a relation of this name.
    pub is_relation: &'a dyn Fn(&str) -> bool,
}

/// Refuses what PostgreSQL refuses for its types. What is executed by the name that it was prepared under is taken as it is: its values are made what they stand beside.
///
/// # Errors
/// A [`Refusal`] in the engine's clothes: 42703 for a name of the list in HAVING, 42883 for an operator or a function of other types, 42804 for values that are no one type or no truth, 42846 for a cast that
/// there is not, 0A000 for distances between texts, 22P02 and 22007 for a text that is not of the type beside it.
pub(crate) fn check(plan: &LogicalPlan, asking: &Asking<'_>) -> Result<()> {
    if Tokens::of(asking.sql).is(0, "execute") {
        return Ok(());
    }
    let mut walk = Walk { asking, known: Known::new(), columns: BTreeSet::new() };
    plan.visit_with_subqueries(&mut walk)?;
    let unknown = asking.named.having.iter().filter(|(name, _)| !walk.columns.contains(name.as_str()));
    match unknown.min_by_key(|(_, at)| (at.line, at.column)) {
        Some((name, at)) => {
            let refusal = Refusal::new("42703", format!("column \"{name}\" does not exist"));
            let refusal = refusal.with_hint("HAVING knows no names of the list: write what it is called for");
            Err(refused(Refusal { position: character(asking.sql, at.line, at.column), ..refusal }))
        }
        None => Ok(()),
    }
}

/// What the engine calls the sides of INTERSECT and EXCEPT, where both read one relation.
const SIDES: [&str; 2] = ["left", "right"];

struct Walk<'a> {
    asking: &'a Asking<'a>,
    known: Known,
    /// Names in HAVING that a column of some relation has.
    columns: BTreeSet<&'a str>,
}

impl<'n> TreeNodeVisitor<'n> for Walk<'_> {
    type Node = LogicalPlan;

    /// A relation of ours is not looked into, and a query of WITH but once.
    fn f_down(&mut self, node: &'n LogicalPlan) -> Result<TreeNodeRecursion> {
        let is_ours = matches!(node, LogicalPlan::SubqueryAlias(alias) if !self.is_asked(alias));
        let is_known = self.known.contains_key(&std::ptr::from_ref(node));
        Ok(if is_ours || is_known { TreeNodeRecursion::Jump } else { TreeNodeRecursion::Continue })
    }

    fn f_up(&mut self, node: &'n LogicalPlan) -> Result<TreeNodeRecursion> {
        if matches!(node, LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Values(_) | LogicalPlan::Unnest(_)) {
            let having = &self.asking.named.having;
            let known = node.schema().fields().iter().filter_map(|field| having.get_key_value(field.name().as_str()));
            self.columns.extend(known.map(|(name, _)| name.as_str()));
        }
        let place = std::ptr::from_ref(node);
        // A query within an expression lies in memory for as long as it is visited; what it asks stays.
        if !matches!(node, LogicalPlan::Subquery(_)) && !self.known.contains_key(&place) {
            let kinds = self.kinds(node)?;
            self.known.insert(place, kinds);
        }
        Ok(TreeNodeRecursion::Continue)
    }
}

impl Walk<'_> {
    /// Whether the statement says what stands under the name.
    fn is_asked(&self, alias: &SubqueryAlias) -> bool {
        let name = alias.alias.table();
        SIDES.contains(&name) || (self.asking.named.relations.contains(name) && !(self.asking.is_relation)(name))
    }

    /// What is known of the columns of a plan that was looked at.
    fn input(&self, plan: &LogicalPlan) -> &[Kind] {
        let plan = match plan {
            LogicalPlan::Subquery(query) => query.subquery.as_ref(),
            plan => plan,
        };
        self.known.get(&std::ptr::from_ref(plan)).map(Vec::as_slice).unwrap_or_default()
    }

    fn kinds(&self, node: &LogicalPlan) -> Result<Vec<Kind>> {
        let kinds = match node {
            LogicalPlan::Projection(projection) => self.typed(&projection.expr, node)?,
            LogicalPlan::Aggregate(aggregate) => {
                [self.typed(&aggregate.group_expr, node)?, self.typed(&aggregate.aggr_expr, node)?].concat()
            }
            LogicalPlan::Window(window) => [self.input(&window.input), &self.typed(&window.window_expr, node)?].concat(),
            LogicalPlan::Distinct(Distinct::On(distinct)) => {
                self.each(node)?;
                self.typed(&distinct.select_expr, node)?
            }
            LogicalPlan::Join(join) => self.joined(join, node)?,
            LogicalPlan::Union(union) => self.united(union)?,
            LogicalPlan::SubqueryAlias(alias) if self.is_asked(alias) => {
                self.input(&alias.input).iter().cloned().map(Kind::settled).collect()
            }
            LogicalPlan::SubqueryAlias(alias) if !self.asking.named.relations.contains(alias.alias.table()) => {
                stated(&alias.schema, Kind::of)
            }
            // Of a query that refers to itself the first rows' types are told.
            LogicalPlan::TableScan(scan) if !self.asking.named.relations.contains(scan.table_name.table()) => {
                stated(&scan.projected_schema, Kind::of)
            }
            LogicalPlan::Values(values) => {
                self.each(node)?;
                of_values(values)
            }
            LogicalPlan::Unnest(unnest) => self.unnested(unnest),
            LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Distinct(Distinct::All(_)) => {
                self.each(node)?;
                node.inputs().first().map_or_else(Vec::new, |input| self.input(input).to_vec())
            }
            _ => Vec::new(),
        };
        let is_whole = kinds.len() == node.schema().fields().len();
        Ok(if is_whole { kinds } else { stated(node.schema(), Kind::unsure) })
    }

    fn typed(&self, expressions: &[Expr], node: &LogicalPlan) -> Result<Vec<Kind>> {
        let scope = self.scope(node);
        expressions.iter().map(|expr| expressions::kind(expr, &scope, &self.known, self.asking.sql)).collect()
    }

    /// Looks at all expressions of a plan.
    fn each(&self, node: &LogicalPlan) -> Result<()> {
        let scope = self.scope(node);
        let looked = node.apply_expressions(|expr| {
            expressions::kind(expr, &scope, &self.known, self.asking.sql)?;
            Ok(TreeNodeRecursion::Continue)
        });
        looked.map(|_| ())
    }

    fn scope<'s>(&'s self, node: &'s LogicalPlan) -> Scope<'s> {
        let inputs: Vec<(&DFSchema, &[Kind])> =
            node.inputs().into_iter().map(|input| (input.schema().as_ref(), self.input(input))).collect();
        let schema = match inputs.as_slice() {
            [(schema, _)] => *schema,
            _ => node.schema().as_ref(),
        };
        Scope { inputs, schema }
    }

    fn joined(&self, join: &Join, node: &LogicalPlan) -> Result<Vec<Kind>> {
        if join.null_equality == NullEquality::NullEqualsNull {
            let between = match join.join_type {
                JoinType::LeftSemi => Some("INTERSECT"),
                JoinType::LeftAnti => Some("EXCEPT"),
                _ => None,
            };
            if let Some(between) = between {
                return self.beside(between, self.input(beneath(&join.left)).to_vec(), beneath(&join.right));
            }
        }
        self.each(node)?;
        let scope = self.scope(node);
        let kind = |expr: &Expr| expressions::kind(expr, &scope, &self.known, self.asking.sql);
        for (left, right) in &join.on {
            let (one, other) = (kind(left)?, kind(right)?);
            if !one.is_comparable(&other) {
                let refusal = Refusal::new("42883", format!("operator does not exist: {one} = {other}"));
                let is_written = join.join_constraint == JoinConstraint::On;
                let position = is_written.then(|| Marks::of(self.asking.sql).operator("=", left, right)).flatten();
                return Err(refused(Refusal { position, ..refusal.with_hint("join ON columns that are cast to one type") }));
            }
        }
        let (left, right) = (self.input(&join.left), self.input(&join.right));
        Ok(match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => [left, right].concat(),
            JoinType::LeftSemi | JoinType::LeftAnti => left.to_vec(),
            JoinType::RightSemi | JoinType::RightAnti => right.to_vec(),
            JoinType::LeftMark | JoinType::RightMark => Vec::new(),
        })
    }

    fn united(&self, union: &Union) -> Result<Vec<Kind>> {
        let mut inputs = union.inputs.iter();
        let first = inputs.next().map_or_else(Vec::new, |first| self.input(first).to_vec());
        inputs.try_fold(first, |kinds, next| self.beside("UNION", kinds, next))
    }

    /// The columns of a query and of the one beside it.
    fn beside(&self, between: &str, kinds: Vec<Kind>, next: &LogicalPlan) -> Result<Vec<Kind>> {
        let made_of = |(place, pair): (usize, (Kind, &Kind))| -> Result<Kind> {
            let pair = [pair.0, pair.1.clone()];
            let made = common(&pair).map_err(|unmatched| {
                let marks = Marks::of(self.asking.sql);
                let told = column(next, place).and_then(|expr| marks.value(expr, None));
                let position = told.or_else(|| marks.beside(between));
                refused(Refusal { position, ..unmatched.refusal(between) })
            })?;
            pair.iter().try_for_each(|kind| readable(kind, &made, self.asking.sql))?;
            Ok(made)
        };
        kinds.into_iter().zip(self.input(next)).enumerate().map(made_of).collect()
    }

    fn unnested(&self, unnest: &Unnest) -> Vec<Kind> {
        let input = self.input(&unnest.input);
        let is_opened = |place: &usize| {
            unnest.struct_type_columns.contains(place) || unnest.list_type_columns.iter().any(|(opened, _)| opened == place)
        };
        let kinds = unnest.dependency_indices.iter().zip(stated(&unnest.schema, Kind::unsure));
        kinds.map(|(place, kind)| if is_opened(place) { kind } else { input.get(*place).cloned().unwrap_or(Kind::Any) }).collect()
    }
}

fn stated(schema: &DFSchema, of: impl Fn(&DataType) -> Kind) -> Vec<Kind> {
    schema.fields().iter().map(|field| of(field.data_type())).collect()
}

/// Columns of constants: where the engine has made texts of some, they may be numbers for PostgreSQL.
fn of_values(values: &Values) -> Vec<Kind> {
    let is_text = |expr: &Expr| match expr {
        Expr::Literal(..) => true,
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Literal(value, _) if value.try_as_str().is_some()),
        _ => false,
    };
    let kinds = stated(&values.schema, Kind::of).into_iter().enumerate();
    let sure = kinds.map(|(place, kind)| {
        let are_texts = || values.values.iter().all(|row| row.get(place).is_some_and(is_text));
        if kind == Kind::Text && !are_texts() { Kind::Any } else { kind }
    });
    sure.collect()
}

/// A side of INTERSECT or EXCEPT as it was asked.
fn beneath(mut plan: &LogicalPlan) -> &LogicalPlan {
    loop {
        plan = match plan {
            LogicalPlan::SubqueryAlias(alias) if SIDES.contains(&alias.alias.table()) => alias.input.as_ref(),
            LogicalPlan::Distinct(Distinct::All(input)) => input.as_ref(),
            plan => return plan,
        };
    }
}

/// The expression in the list of a query.
fn column(mut plan: &LogicalPlan, place: usize) -> Option<&Expr> {
    loop {
        plan = match plan {
            LogicalPlan::Projection(projection) => return projection.expr.get(place),
            LogicalPlan::Sort(sort) => sort.input.as_ref(),
            LogicalPlan::Limit(limit) => limit.input.as_ref(),
            LogicalPlan::Distinct(Distinct::All(input)) => input.as_ref(),
            LogicalPlan::Union(union) => union.inputs.first()?.as_ref(),
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{Field, Schema, TimeUnit};
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionState;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use datafusion::sql::parser::Statement as EngineStatement;

    use super::*;
    use crate::roles::fault::{self, Asked};
    use crate::roles::parse;

    /// Two tables, and a view whose SQL PostgreSQL would refuse.
    async fn state() -> SessionState {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.collect_spans = true;
        let ctx = SessionContext::new_with_config(config);
        let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let tables: [(&str, &[(&str, DataType)]); 2] = [
            ("labels", &[("task", DataType::Utf8View), ("label", DataType::Int32), ("is_late", DataType::Boolean)]),
            (
                "encounters",
                &[("facility", DataType::Utf8View), ("admitted_at", at.clone()), ("discharged_at", at), ("days", DataType::Float64)],
            ),
        ];
        for (name, columns) in tables {
            let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
            let table = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![]]).expect("a table");
            ctx.register_table(name, Arc::new(table)).expect("is known");
        }
        let view = ctx.sql("SELECT task, label FROM labels WHERE label = task").await.expect("plans").into_view();
        ctx.register_table("curious", view).expect("is known");
        ctx.state()
    }

    async fn told(state: &SessionState, sql: &str) -> Option<(&'static str, Option<usize>, String)> {
        let statement = parse::statements(sql).expect(sql).remove(0);
        let named = named(&statement);
        let plan = state.statement_to_plan(EngineStatement::Statement(Box::new(statement))).await.expect(sql);
        let is_relation = |name: &str| ["labels", "encounters", "curious"].contains(&name);
        let error = check(&plan, &Asking { sql, named: &named, is_relation: &is_relation }).err()?;
        let refusal = fault::refusal(&error, Asked { sql, notes: false });
        Some((refusal.code, refusal.position, refusal.message))
    }

    /// As PostgreSQL 15 says it.
    #[tokio::test]
    async fn what_postgresql_refuses_for_its_types_is_refused() {
        let state = state().await;
        let mut wrong = Vec::new();
        for (sql, code, place, words) in [
            ("SELECT * FROM labels WHERE label = task", "42883", 34, "operator does not exist: integer = text"),
            ("SELECT * FROM labels WHERE task = 1", "42883", 33, "operator does not exist: text = integer"),
            ("SELECT * FROM labels WHERE 1.5 < task", "42883", 32, "operator does not exist: numeric < text"),
            (
                "SELECT * FROM encounters WHERE admitted_at > facility",
                "42883",
                44,
                "operator does not exist: timestamp with time zone > text",
            ),
            ("SELECT * FROM labels WHERE task NOT IN ('a', 1)", "42883", 33, "operator does not exist: text = integer"),
            ("SELECT * FROM labels WHERE task BETWEEN 'a' AND 1", "42883", 33, "operator does not exist: text <= integer"),
            ("SELECT task IS DISTINCT FROM label FROM labels", "42883", 13, "operator does not exist: text = integer"),
            ("SELECT label IN (SELECT task FROM labels) FROM labels", "42883", 14, "operator does not exist: integer = text"),
            ("SELECT 1 FROM labels WHERE label IN (SELECT task FROM labels)", "42883", 34, "operator does not exist: integer = text"),
            ("SELECT 1 FROM labels l JOIN encounters e ON e.facility = l.label", "42883", 56, "operator does not exist: text = integer"),
            ("SELECT s.task FROM (SELECT '1' AS task) AS s WHERE s.task = 1", "42883", 59, "operator does not exist: text = integer"),
            ("SELECT CASE task WHEN 1 THEN 2 END FROM labels", "42883", 18, "operator does not exist: text = integer"),
            ("SELECT nullif(task, 1) FROM labels", "42883", 8, "operator does not exist: text = integer"),
            ("SELECT length(label) FROM labels", "42883", 8, "function length(integer) does not exist"),
            (
                "SELECT upper(task), upper(lower(task)), string_agg(label, ',') FROM labels GROUP BY task",
                "42883",
                41,
                "function string_agg(integer, unknown) does not exist",
            ),
            (
                "SELECT CASE WHEN label THEN 1 ELSE 0 END FROM labels",
                "42804",
                18,
                "argument of CASE/WHEN must be type boolean, not type integer",
            ),
            ("SELECT count(*) FILTER (WHERE label) FROM labels", "42804", 31, "argument of FILTER must be type boolean, not type integer"),
            ("SELECT CASE WHEN label = 1 THEN task ELSE 0 END FROM labels", "42804", 33, "CASE types integer and text cannot be matched"),
            ("SELECT coalesce(label, lower(task)) FROM labels", "42804", 24, "COALESCE types integer and text cannot be matched"),
            ("SELECT greatest(label, task) FROM labels", "42804", 24, "GREATEST types integer and text cannot be matched"),
            ("SELECT label FROM labels UNION SELECT task FROM labels", "42804", 39, "UNION types integer and text cannot be matched"),
            ("SELECT task FROM labels EXCEPT SELECT label FROM labels", "42804", 39, "EXCEPT types text and integer cannot be matched"),
            (
                "SELECT CASE WHEN label = 1 THEN 1 ELSE 'none' END FROM labels",
                "22P02",
                40,
                "invalid input syntax for type integer: \"none\"",
            ),
            ("SELECT 1 UNION SELECT 'x'", "22P02", 23, "invalid input syntax for type integer: \"x\""),
            (
                "SELECT sum(label) OVER (ORDER BY task RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM labels",
                "0A000",
                53,
                "RANGE with offset PRECEDING/FOLLOWING is not supported for column type text",
            ),
            ("SELECT task, count(*) AS n FROM labels GROUP BY task HAVING n > 3", "42703", 61, "column \"n\" does not exist"),
            ("SELECT count(*) AS n, 1 AS b FROM labels HAVING n > 3 AND b > n", "42703", 49, "column \"n\" does not exist"),
            ("SELECT label::date FROM labels", "42846", 13, "cannot cast type integer to date"),
            ("SELECT admitted_at::int FROM encounters", "42846", 19, "cannot cast type timestamp with time zone to integer"),
            ("SELECT 'ü', CAST(days AS boolean) FROM encounters", "42846", 13, "cannot cast type double precision to boolean"),
        ] {
            let found = told(&state, sql).await;
            if found != Some((code, Some(place), words.to_owned())) {
                wrong.push(format!("{sql}: {found:?}, not {code} {place} {words}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[tokio::test]
    async fn what_postgresql_takes_is_let_through() {
        let state = state().await;
        let mut wrong = Vec::new();
        for sql in [
            "SELECT * FROM labels WHERE task = '1' AND label = '1' AND is_late = 't' AND label IN ('1', NULL)",
            "SELECT * FROM encounters WHERE admitted_at > '2024-01-01' AND admitted_at::date = discharged_at AND days > 1",
            "SELECT * FROM encounters WHERE (admitted_at::date - date '2024-01-01')::bigint > 3",
            "SELECT * FROM labels WHERE task = $1 AND label = $2",
            "SELECT task || label, label || 'x', CASE WHEN label = 1 THEN '1' ELSE NULL END, coalesce(label, '0') FROM labels",
            "SELECT s.v FROM (SELECT CASE WHEN label > 0 THEN '1' ELSE label END AS v FROM labels) AS s WHERE s.v = 1",
            "SELECT v.a FROM (VALUES (1), (2.5)) AS v (a) WHERE v.a = 1",
            "SELECT v.a FROM (VALUES ('a'), (NULL)) AS v (a) WHERE v.a = 'x'",
            "SELECT '1' AS x UNION SELECT label FROM labels UNION ALL SELECT NULL EXCEPT SELECT '3'",
            "SELECT label, '1' FROM labels EXCEPT SELECT label, label FROM labels",
            "SELECT count(*) FILTER (WHERE is_late), count(*) FILTER (WHERE label > 0 OR NULL) FROM labels",
            "SELECT label::bool, is_late::int, admitted_at::text::date, (discharged_at - admitted_at)::text FROM labels, encounters",
            "SELECT extract(year FROM admitted_at)::int, date_trunc('day', admitted_at)::date FROM encounters",
            "SELECT length(task), string_agg(label::text, ','), max(task) > 'a', count(*) > 1 FROM labels GROUP BY task",
            "SELECT first_value(task) OVER (ORDER BY label) = 'x', lag(label, 1, 0) OVER (ORDER BY task) = 1, sum(label) OVER (ORDER BY label RANGE 1 PRECEDING) FROM labels",
            "SELECT task FROM labels AS l WHERE EXISTS (SELECT 1 FROM encounters AS e WHERE e.facility = l.task AND e.days = l.label)",
            "SELECT 3 > ALL (SELECT days FROM encounters), task = ANY (SELECT facility FROM encounters) FROM labels",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r WHERE n = 2",
            "WITH l AS (SELECT * FROM labels) SELECT a.task FROM l AS a JOIN l AS b USING (task) WHERE a.label = b.label",
            "SELECT x FROM unnest(ARRAY['1', '2']) AS x WHERE x = '1'",
            "SELECT max(task) AS task, label AS l FROM labels GROUP BY label HAVING label > 1 AND max(task) > 'a'",
            "SELECT label::text, count(*) FROM labels GROUP BY label HAVING label > 0 ORDER BY 1",
            "SELECT nullif('1', label) = 1 FROM labels",
            "SELECT upper(task) AS task, count(*) AS n FROM labels GROUP BY task HAVING task = 'x' ORDER BY n",
            "SELECT x AS x, count(*) FROM (VALUES (1)) AS v (x) GROUP BY x HAVING x > 0",
            "EXPLAIN SELECT task FROM labels WHERE label IN (1, 2.5)",
            // What is ours is not looked into, under whatever name.
            "SELECT task FROM curious AS c WHERE c.label = 1",
            "WITH curious AS (SELECT * FROM curious) SELECT task FROM curious WHERE label = 1",
        ] {
            if let Some(found) = told(&state, sql).await {
                wrong.push(format!("{sql}: {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let sql = "EXECUTE p(1)";
        let plan = state.create_logical_plan("SELECT 1 FROM labels WHERE task = 1").await.expect("plans");
        let named = Named { relations: BTreeSet::new(), having: BTreeMap::new() };
        let asking = Asking { sql, named: &named, is_relation: &|_| true };
        assert!(check(&plan, &asking).is_ok(), "a value becomes what it stands beside");
    }
}
