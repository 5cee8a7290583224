//! What PostgreSQL calls a column that a statement leaves unnamed: `count`, `case`.

use datafusion::sql::sqlparser::ast::{DataType, Expr, ObjectName, Query, Select, SelectItem, SetExpr};

/// What a column is called that is called after nothing.
pub(crate) const UNNAMED: &str = "?column?";

/// The SELECT that names a query's columns.
pub(crate) fn first(query: &Query) -> Option<&Select> {
    let mut body = query.body.as_ref();
    loop {
        match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::Query(query) => body = query.body.as_ref(),
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return None,
        }
    }
}

/// The name; `None` where it is [`UNNAMED`].
pub(crate) fn name(expr: &Expr) -> Option<String> {
    let known = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
        Expr::Nested(inner) => name(inner),
        // What `spelling` makes of it.
        Expr::Function(function) if lower(&function.name).is_some_and(|name| name == "substring_match") => known("substring"),
        Expr::Function(function) => lower(&function.name),
        Expr::Cast { expr, data_type, .. } => name(expr).or_else(|| kind(data_type)),
        Expr::Case { .. } => known("case"),
        Expr::Array(_) => known("array"),
        Expr::Extract { .. } => known("extract"),
        Expr::Substring { .. } => known("substring"),
        Expr::Position { .. } => known("position"),
        Expr::Trim { .. } => known("btrim"),
        Expr::Ceil { .. } => known("ceil"),
        Expr::Floor { .. } => known("floor"),
        Expr::Interval(_) => known("interval"),
        Expr::Subquery(query) => first(query)?.projection.first().and_then(|item| match item {
            SelectItem::UnnamedExpr(expr) => name(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => None,
        }),
        _ => None,
    }
}

fn lower(name: &ObjectName) -> Option<String> {
    super::last(name).map(|ident| ident.value.to_lowercase())
}

/// The type's own name in the catalogue.
fn kind(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Text => "text",
        DataType::Int(_) | DataType::Integer(_) => "int4",
        DataType::BigInt(_) => "int8",
        DataType::SmallInt(_) => "int2",
        DataType::Double(_) | DataType::DoublePrecision => "float8",
        DataType::Real => "float4",
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Date => "date",
        _ => return None,
    };
    Some(name.to_owned())
}
