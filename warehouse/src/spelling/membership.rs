//! Questions about a query that are themselves values (`SELECT EXISTS (...)`, `3 > ALL (...)`), as counts: the engine answers them where they choose rows alone.

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
    let mut seen: Vec<String> = Vec::new();
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let name = column(expr);
            let _whole = expr.visit(&mut values);
            super::in_rows(expr);
            // What was asked names the column, as it does in PostgreSQL; the engine wants each name once.
            if let (SelectItem::UnnamedExpr(expr), Some(name)) = (&*item, name) {
                let again = seen.iter().filter(|other| **other == name).count();
                let alias = if again == 0 { name.clone() } else { format!("{name}{}", again + 1) };
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', alias) };
                seen.push(name);
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

/// Whether `left` stands so to any value: unknown where it does to none that is known, and to some it cannot be said.
fn any(left: &Expr, operator: &BinaryOperator, among: &Query) -> Option<Expr> {
    let value = || Box::new(Expr::CompoundIdentifier(vec![Ident::new("among"), Ident::new("value")]));
    let within = |condition| counted(among, "among (value)", condition);
    let stands = Expr::BinaryOp { left: Box::new(Expr::Nested(Box::new(left.clone()))), op: operator.clone(), right: value() };
    let is_left_unknown = Expr::IsNull(Box::new(Expr::Nested(Box::new(left.clone()))));
    let and = |left, right| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) };
    let unknown = Expr::BinaryOp {
        left: Box::new(within(Some(Expr::IsNull(value())))?),
        op: BinaryOperator::Or,
        right: Box::new(and(is_left_unknown, within(None)?)),
    };
    let literal = |value: Value| Expr::Value(value.into());
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![
            CaseWhen { condition: within(Some(stands))?, result: literal(Value::Boolean(true)) },
            CaseWhen { condition: unknown, result: literal(Value::Null) },
        ],
        else_result: Some(Box::new(literal(Value::Boolean(false)))),
    })
}

/// Whether the query has a row. Of one that only chooses rows these are counted where they stand, so that it may speak of the query around it.
fn there(among: &Query) -> Option<Expr> {
    let counts = query("SELECT count(*) > 0 AS is_there")?;
    let (SetExpr::Select(select), SetExpr::Select(counting)) = (among.body.as_ref(), counts.body.as_ref()) else {
        return counted(among, "among", None);
    };
    let is_plain = select.distinct.is_none()
        && select.having.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty())
        && among.limit_clause.is_none()
        && among.fetch.is_none()
        && !select.from.is_empty()
        && select.projection.iter().all(is_of_a_row);
    if !is_plain {
        return counted(among, "among", None);
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

/// Whether the rows of `among` that fulfil the condition are more than none.
fn counted(among: &Query, alias: &str, condition: Option<Expr>) -> Option<Expr> {
    let mut counts = query(&format!("SELECT count(*) > 0 AS is_there FROM (SELECT 1) AS {alias}"))?;
    if let SetExpr::Select(select) = counts.body.as_mut() {
        if let TableFactor::Derived { subquery, .. } = &mut select.from.first_mut()?.relation {
            **subquery = among.clone();
        }
        select.selection = condition;
    }
    Some(Expr::Subquery(counts))
}
