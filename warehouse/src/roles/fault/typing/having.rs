//! Names of a list that stand in its HAVING: PostgreSQL knows columns there alone, and the engine names of the list too.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SelectItem, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::spelling::apart::folded;

/// Each of them, and where it stands. Whether a column has the same name is not known yet.
pub(super) fn names(select: &Select) -> Vec<(String, Location)> {
    let given = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    });
    let mut names = Names { given: given.collect(), depth: 0, found: Vec::new() };
    // Nothing ends the visit.
    let _whole = select.having.visit(&mut names);
    names.found
}

struct Names {
    given: BTreeSet<String>,
    /// Queries around what is visited.
    depth: usize,
    found: Vec<(String, Location)>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && self.given.contains(&folded(name))
        {
            self.found.push((folded(name), name.span.start));
        }
        ControlFlow::Continue(())
    }
}
