//! Columns that the engine would call alike, told apart: its name of `label::text` is that of `label`, and it takes no two columns of one name.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, VisitMut, VisitorMut};

/// What the name of a column begins with that was given for this reason alone.
pub(crate) const HIDDEN: &str = "?cast?";

/// The statement with a name for every column that differs from one before it by casts alone.
pub(super) fn told_apart(mut statement: Statement) -> Statement {
    // Nothing ends the visit.
    let _whole = statement.visit(&mut Apart);
    statement
}

struct Apart;

impl VisitorMut for Apart {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        selects(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn selects(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => apart(select),
        SetExpr::SetOperation { left, right, .. } => {
            selects(left);
            selects(right);
        }
        _ => {}
    }
}

fn apart(select: &mut Select) {
    let mut known = BTreeSet::new();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if !known.insert(plain(expr)) {
            let alias = Ident::with_quote('"', format!("{HIDDEN}{index}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The expression's text without its casts.
fn plain(expr: &Expr) -> String {
    let mut plain = expr.clone();
    let _whole = plain.visit(&mut Plain);
    plain.to_string()
}

struct Plain;

impl VisitorMut for Plain {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr: inner, .. } = expr {
            *expr = inner.as_ref().clone();
        }
        ControlFlow::Continue(())
    }
}
