//! Base relations without rows, for cases and for trials of tasks: columns that an INSERT does not name have a default.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{SessionContext, lit};
use datafusion::scalar::ScalarValue;
use schemas::{Table, table::instant};

/// Makes the base relations known to the session. Facility `north`, record 0 of `hl7.raw` as first read, known on 1 January 2024.
pub fn register(ctx: &SessionContext) -> Result<()> {
    for (name, table) in [
        ("message_rows", Table::Messages),
        ("event_rows", Table::Events),
        ("note_rows", Table::Notes),
        ("prediction_rows", Table::Predictions),
    ] {
        table_of(ctx, name, table.schema())?;
    }
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    let text = |name: &str| field(name, DataType::Utf8);
    let number = |name: &str| field(name, DataType::Int64);
    let settings = [
        ("split_periods", vec![text("task"), text("split"), field("period_from", instant()), field("period_until", instant())]),
        ("fold_weights", vec![text("task"), number("train"), number("validation"), number("test"), text("unit"), text("salt")]),
        ("table_positions", vec![text("table_name"), text("topic"), field("partition", DataType::Int32), number("last_offset")]),
    ];
    for (name, fields) in settings {
        table_of(ctx, name, Arc::new(Schema::new(fields)))?;
    }
    Ok(())
}

fn table_of(ctx: &SessionContext, name: &str, schema: SchemaRef) -> Result<()> {
    let new_year = ScalarValue::TimestampMicrosecond(Some(1_704_067_200_000_000), Some("UTC".into()));
    let defaults: HashMap<String, Expr> = [
        ("event_id", datafusion::functions::string::uuid().call(Vec::new())),
        ("facility", lit("north")),
        ("known_at", lit(new_year)),
        ("topic", lit("hl7.raw")),
        ("source_topic", lit("hl7.raw")),
        ("partition", lit(0_i32)),
        ("source_partition", lit(0_i32)),
        ("offset", lit(0_i64)),
        ("source_offset", lit(0_i64)),
        ("reading", lit(0_i64)),
        ("rows_reading", lit(0_i64)),
    ]
    .into_iter()
    .filter(|(column, _)| schema.column_with_name(column).is_some())
    .map(|(column, value)| (column.to_owned(), value))
    .collect();
    let table = MemTable::try_new(schema, vec![vec![]])?.with_column_defaults(defaults);
    ctx.register_table(name, Arc::new(table)).map(|_| ())
}
