//! Questions about a query that are themselves values (`SELECT EXISTS (...)`, `3 > ALL (...)`), as counts: the engine answers them where they choose rows alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, TableFactor, UnaryOperator, Value, VisitMut,
    VisitorMut, helpers::attached_token::AttachedToken,
};

use super::query;

/// Changes the values of a query that is not looked into any deeper: those below are changed in their turn.
pub(super) fn as_counts(query: &mut Query) {
    if let SetExpr::Select(select) = query.body.as_mut() {
        of_select(select);
    }
}

fn of_select(select: &mut Select) {
    let mut values = Values { depth: 0 };
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let name = column(expr);
            let _whole = expr.visit(&mut values);
            super::series::in_rows(expr);
            // What was asked names the column, as it does in PostgreSQL; the engine wants each name once.
            if let (SelectItem::UnnamedExpr(expr), Some(name)) = (&*item, name) {
                let times = seen.entry(name.clone()).or_default();
                *times += 1;
                let alias = if *times == 1 { name } else { format!("{name}{times}") };
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', alias) };
            }
        }
    }
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        for key in keys {
            let _whole = key.visit(&mut values);
        }
    }
}

/// The name of a column that is such a question, or another expression whose name is lost where it is written otherwise.
fn column(expr: &Expr) -> Option<String> {
    let name = match expr {
        Expr::Nested(inner) => return column(inner),
        Expr::Exists { negated: false, .. } => "exists",
        Expr::Exists { .. } | Expr::InSubquery { .. } => "?column?",
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } if matches!(**right, Expr::Subquery(_)) => "?column?",
        _ => return super::cut_column(expr),
    };
    Some(name.to_owned())
}

/// What is asked with another word than the one that the engine reads everywhere: `= ANY` is `IN`, `<> ALL` is `NOT IN`.
pub(super) fn as_in(expr: &mut Expr) {
    let (left, right, negated) = match expr {
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
        _ => return,
    };
    if let Expr::Subquery(subquery) = right.as_ref() {
        *expr = Expr::InSubquery { expr: left.clone(), subquery: subquery.clone(), negated };
    }
}

/// Walks through one expression, and not into its queries.
struct Values {
    depth: usize,
}

impl VisitorMut for Values {
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
        if self.depth == 0
            && let Some(value) = value(expr)
        {
            *expr = value;
        }
        ControlFlow::Continue(())
    }
}

fn value(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Exists { subquery, negated } => Some(unless(*negated, there(subquery)?)),
        Expr::InSubquery { expr, subquery, negated } => Some(unless(*negated, any(expr, &BinaryOperator::Eq, subquery)?)),
        Expr::AnyOp { left, compare_op, right, .. } => match right.as_ref() {
            Expr::Subquery(among) => any(left, compare_op, among),
            _ => None,
        },
        Expr::AllOp { left, compare_op, right } => match right.as_ref() {
            Expr::Subquery(among) => Some(unless(true, any(left, &opposite(compare_op)?, among)?)),
            _ => None,
        },
        _ => None,
    }
}

fn opposite(operator: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match operator {
        BinaryOperator::Eq => BinaryOperator::NotEq,
        BinaryOperator::NotEq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::GtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::GtEq => BinaryOperator::Lt,
        _ => return None,
    })
}

fn unless(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(expr))) } } else { expr }
}

/// How much of what is asked of the values among which it is looked cannot be said: 2 where one of them is not known, 1 where all are, 0 where there are none.
const UNSAID: &str = r#"SELECT CASE WHEN count(*) > count("?value?") THEN 2 WHEN count(*) > 0 THEN 1 ELSE 0 END AS unsaid
    FROM (SELECT 1) AS "?among?" ("?value?")"#;

/// Whether there is a value. It has a name that nobody gives: what is sought stands beside it, and means the query around it.
const IS_THERE: &str = r#"SELECT count(*) > 0 AS is_there FROM (SELECT 1) AS "?among?" ("?value?")"#;

/// Whether `left` stands so to any value: unknown where it does to none that is known, and to some it cannot be said. The query is asked twice, not once:
/// the engine lets `left` be of the query around it where rows are chosen, and not where they are added up.
fn any(left: &Expr, operator: &BinaryOperator, among: &Query) -> Option<Expr> {
    let left = || Box::new(Expr::Nested(Box::new(left.clone())));
    let value = Expr::CompoundIdentifier(["?among?", "?value?"].map(|name| Ident::with_quote('"', name)).to_vec());
    let stands = Expr::BinaryOp { left: left(), op: operator.clone(), right: Box::new(value) };
    let literal = |value: Value| Expr::Value(value.into());
    let number = |number: &str| literal(Value::Number(number.to_owned(), false));
    let enough = case(vec![(Expr::IsNull(left()), number("1"))], number("2"));
    let unknown = Expr::BinaryOp { left: Box::new(asked(UNSAID, among, None)?), op: BinaryOperator::GtEq, right: Box::new(enough) };
    let is_there = asked(IS_THERE, among, Some(stands))?;
    let answers = vec![(is_there, literal(Value::Boolean(true))), (unknown, literal(Value::Null))];
    Some(case(answers, literal(Value::Boolean(false))))
}

fn case(answers: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: answers.into_iter().map(|(condition, result)| CaseWhen { condition, result }).collect(),
        else_result: Some(Box::new(otherwise)),
    }
}

/// Whether the query has a row. Of one that only chooses rows these are counted where they stand, so that it may speak of the query around it.
fn there(among: &Query) -> Option<Expr> {
    let counts = "SELECT count(*) > 0 AS is_there FROM (SELECT 1) AS among";
    let counting = query(counts)?;
    let (SetExpr::Select(select), SetExpr::Select(counting)) = (among.body.as_ref(), counting.body.as_ref()) else {
        return asked(counts, among, None);
    };
    let is_plain = select.distinct.is_none()
        && select.having.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty())
        && among.limit_clause.is_none()
        && among.fetch.is_none()
        && !select.from.is_empty()
        && select.projection.iter().all(is_of_a_row);
    if !is_plain {
        return asked(counts, among, None);
    }
    let mut among = among.clone();
    among.order_by = None;
    if let SetExpr::Select(select) = among.body.as_mut() {
        select.projection = counting.projection.clone();
    }
    Some(Expr::Subquery(Box::new(among)))
}

/// Whether a column is of each row: a function may be of them all.
fn is_of_a_row(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        }
        _ => true,
    }
}

/// What `sql` says of the rows of `among`, which stand in the place of its own, and fulfil the condition.
fn asked(sql: &str, among: &Query, condition: Option<Expr>) -> Option<Expr> {
    let mut asked = query(sql)?;
    if let SetExpr::Select(select) = asked.body.as_mut() {
        if let TableFactor::Derived { subquery, .. } = &mut select.from.first_mut()?.relation {
            **subquery = among.clone();
        }
        select.selection = condition;
    }
    Some(Expr::Subquery(asked))
}
