//! Names of a list that stand in its HAVING: PostgreSQL knows columns there alone, and the engine names of the list too.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Select, SelectItem};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::spelling::apart::folded;
use crate::spelling::having;

/// Each of them, and where it stands. Whether a column has the same name is not known yet.
pub(super) fn names(select: &Select) -> Vec<(String, Location)> {
    let given = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    });
    let given: BTreeSet<String> = given.collect();
    let named = having::alone(select).into_iter().map(|name| (folded(&name), name.span.start));
    named.filter(|(name, _)| given.contains(name)).collect()
}
