//! Names of columns that a statement leaves unnamed, as PostgreSQL gives them: `count`, `case`, `?column?`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{SelectItem, Statement};

use crate::spelling::apart;
use crate::spelling::names::{UNNAMED, first, name};

/// The columns of a statement as they are shown; those of `SELECT *` keep their names.
pub(super) fn shown(statement: &Statement, schema: &SchemaRef) -> SchemaRef {
    let schema = apart::shown(schema);
    let Statement::Query(query) = statement else { return schema };
    let Some(select) = first(query).filter(|select| select.projection.len() == schema.fields().len()) else { return schema };
    if select.projection.iter().any(|item| !matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })) {
        return schema;
    }
    let named = |(item, field): (&SelectItem, &Arc<Field>)| match item {
        SelectItem::UnnamedExpr(expr) => field.as_ref().clone().with_name(name(expr).unwrap_or_else(|| UNNAMED.to_owned())),
        _ => field.as_ref().clone(),
    };
    let fields: Vec<Field> = select.projection.iter().zip(schema.fields()).map(named).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::parse;

    fn named(sql: &str, columns: usize) -> Vec<String> {
        let statement = parse::statements(sql).expect("parses").remove(0);
        let fields: Vec<Field> =
            (0..columns).map(|at| Field::new(format!("c{at}"), datafusion::arrow::datatypes::DataType::Utf8, true)).collect();
        shown(&statement, &Arc::new(Schema::new(fields))).fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn what_has_no_name_is_called_as_postgresql_calls_it() {
        assert_eq!(named("SELECT count(*), Max(a), b, t.c, 1, a + 1 FROM t", 6), ["count", "max", "b", "c", "?column?", "?column?"]);
        assert_eq!(named("SELECT CASE WHEN a THEN 1 END, '1'::int, a::text FROM t", 3), ["case", "int4", "a"]);
        assert_eq!(named("SELECT a AS b FROM t UNION ALL SELECT max(c) FROM t", 1), ["c0"], "a name that is given stands in the schema");
        assert_eq!(named("SELECT *, count(*) FROM t", 2), ["c0", "c1"]);
        assert_eq!(named("SELECT Task, t.\"Task\", LABEL::int FROM t", 3), ["task", "Task", "label"]);
        assert_eq!(named("SELECT '1'::int8::numeric, (CASE WHEN a THEN 1 END)::text, a::int::text FROM t", 3), ["numeric", "text", "a"]);
        assert_eq!(named("SELECT CASE WHEN a THEN 1 ELSE b END, date '2024-01-01', '1'::varchar FROM t", 3), ["b", "date", "varchar"]);
    }
}
