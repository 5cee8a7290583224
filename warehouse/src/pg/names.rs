//! Names of columns that a statement leaves unnamed, as PostgreSQL gives them: `count`, `case`, `?column?`.

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::{DataType, Expr, ObjectName, Query, Select, SelectItem, SetExpr, Statement};

use crate::roles::casts::HIDDEN;
use crate::spelling;

/// The columns of a statement as they are shown; those of `SELECT *` keep their names.
pub(super) fn shown(statement: &Statement, schema: &Schema) -> Schema {
    let Statement::Query(query) = statement else { return schema.clone() };
    let Some(select) = first(query).filter(|select| select.projection.len() == schema.fields().len()) else { return schema.clone() };
    if select.projection.iter().any(|item| !matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })) {
        return schema.clone();
    }
    let named = |(item, field): (&SelectItem, &std::sync::Arc<Field>)| match item {
        SelectItem::ExprWithAlias { expr, alias } if alias.value.starts_with(HIDDEN) => {
            field.as_ref().clone().with_name(name(expr).unwrap_or_else(|| "?column?".to_owned()))
        }
        SelectItem::UnnamedExpr(expr) => field.as_ref().clone().with_name(name(expr).unwrap_or_else(|| "?column?".to_owned())),
        _ => field.as_ref().clone(),
    };
    let fields: Vec<Field> = select.projection.iter().zip(schema.fields()).map(named).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// The SELECT that names a query's columns.
fn first(query: &Query) -> Option<&Select> {
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

fn name(expr: &Expr) -> Option<String> {
    let known = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
        Expr::Nested(inner) => name(inner),
        // What `spelling` makes of it.
        Expr::Function(function) if last(&function.name).is_some_and(|name| name == "substring_match") => known("substring"),
        Expr::Function(function) => last(&function.name),
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

fn last(name: &ObjectName) -> Option<String> {
    spelling::last(name).map(|ident| ident.value.to_lowercase())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::parse;

    fn named(sql: &str, columns: usize) -> Vec<String> {
        let statement = parse::statements(sql).expect("parses").remove(0);
        let fields: Vec<Field> =
            (0..columns).map(|at| Field::new(format!("c{at}"), datafusion::arrow::datatypes::DataType::Utf8, true)).collect();
        shown(&statement, &Schema::new(fields)).fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn what_has_no_name_is_called_as_postgresql_calls_it() {
        assert_eq!(named("SELECT count(*), Max(a), b, t.c, 1, a + 1 FROM t", 6), ["count", "max", "b", "c", "?column?", "?column?"]);
        assert_eq!(named("SELECT CASE WHEN a THEN 1 END, '1'::int, a::text FROM t", 3), ["case", "int4", "a"]);
        assert_eq!(named("SELECT a AS b FROM t UNION ALL SELECT max(c) FROM t", 1), ["c0"], "a name that is given stands in the schema");
        assert_eq!(named("SELECT *, count(*) FROM t", 2), ["c0", "c1"]);
        assert_eq!(
            named("SELECT a, a::text, sum(b), sum(b::bigint), '1'::int, '1'::text FROM t", 6),
            ["a", "a", "sum", "sum", "int4", "text"]
        );
    }
}
