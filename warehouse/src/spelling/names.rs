//! What PostgreSQL calls a column that a statement leaves unnamed: `count`, `case`.

use datafusion::sql::sqlparser::ast::{DataType, Expr, ObjectName, Query, Select, SelectItem, SetExpr, TimezoneInfo};

use super::apart::folded;

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
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) => name(inner),
        // What `spelling` makes of it.
        Expr::Function(function) if lower(&function.name).is_some_and(|name| name == "substring_match") => known("substring"),
        Expr::Function(function) => lower(&function.name),
        Expr::Cast { expr, data_type, .. } => named(expr).or_else(|| kind(data_type)).or_else(|| name(expr)),
        Expr::Case { else_result, .. } => else_result.as_deref().and_then(named).or_else(|| known("case")),
        Expr::Array(_) => known("array"),
        Expr::Extract { .. } => known("extract"),
        Expr::Substring { .. } => known("substring"),
        Expr::Position { .. } => known("position"),
        Expr::Trim { .. } => known("btrim"),
        Expr::Ceil { .. } => known("ceil"),
        Expr::Floor { .. } => known("floor"),
        Expr::Interval(_) => known("interval"),
        Expr::TypedString(stated) => kind(&stated.data_type),
        Expr::Subquery(query) => first(query)?.projection.first().and_then(|item| match item {
            SelectItem::UnnamedExpr(expr) => name(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
            _ => None,
        }),
        _ => None,
    }
}

/// The name that the expression has from a column or a function within it, which goes before that of what is made of it.
fn named(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => named(inner),
        Expr::Case { else_result, .. } => else_result.as_deref().and_then(named),
        Expr::Interval(_) | Expr::TypedString(_) => None,
        other => name(other),
    }
}

/// The last part of a name, in small letters.
pub(crate) fn lower(name: &ObjectName) -> Option<String> {
    super::last(name).map(|ident| ident.value.to_lowercase())
}

/// The type's own name in the catalogue.
fn kind(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Text => "text",
        DataType::Varchar(_) | DataType::CharacterVarying(_) => "varchar",
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => "float8",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Numeric(_) | DataType::Decimal(_) => "numeric",
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "timestamp",
        DataType::Timestamp(..) => "timestamptz",
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Date => "date",
        _ => return None,
    };
    Some(name.to_owned())
}
