//! What Flight SQL tells of the server: catalogs, schemas, relations, and what it can.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, UInt32Array, UnionArray,
    new_empty_array,
};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, UnionFields};
use datafusion::arrow::error::ArrowError;
use prost::Message;

use super::frames::{schema_bytes, sent};
use super::messages::{CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTables};
use crate::roles::desk::CATALOG;
use crate::roles::moments::Names;

const SCHEMA: &str = "public";
/// The type of every relation.
const VIEW: &str = "VIEW";

/// The rows of a command that asks about the server; `None` where it is none.
pub(super) fn rows(command: &str, value: &[u8], names: &Names) -> Option<Result<RecordBatch, ArrowError>> {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let maybe = |name: &str| Field::new(name, DataType::Utf8, true);
    let one = |value: &str| Arc::new(StringArray::from(vec![value.to_owned()])) as ArrayRef;
    let of = |fields: Vec<Field>, columns: Vec<ArrayRef>| RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    Some(match command {
        "CommandGetCatalogs" => of(vec![text("catalog_name")], vec![one(CATALOG)]),
        "CommandGetTableTypes" => of(vec![text("table_type")], vec![one(VIEW)]),
        "CommandGetDbSchemas" => {
            let asked = CommandGetDbSchemas::decode(value).unwrap_or_default();
            let batch = of(vec![maybe("catalog_name"), text("db_schema_name")], vec![one(CATALOG), one(SCHEMA)]);
            let wanted = is_wanted(asked.catalog.as_deref(), asked.db_schema_filter_pattern.as_deref());
            batch.map(|batch| if wanted { batch } else { batch.slice(0, 0) })
        }
        "CommandGetTables" => relations(&CommandGetTables::decode(value).unwrap_or_default(), names),
        "CommandGetSqlInfo" => info(&CommandGetSqlInfo::decode(value).unwrap_or_default().info),
        "CommandGetPrimaryKeys" => Ok(RecordBatch::new_empty(Arc::new(Schema::new(vec![
            maybe("catalog_name"),
            maybe("db_schema_name"),
            text("table_name"),
            text("column_name"),
            maybe("key_name"),
            Field::new("key_sequence", DataType::Int32, false),
        ])))),
        "CommandGetExportedKeys" | "CommandGetImportedKeys" | "CommandGetCrossReference" => Ok(foreign_keys()),
        "CommandGetXdbcTypeInfo" => Ok(types()),
        _ => return None,
    })
}

fn is_wanted(catalog: Option<&str>, schema: Option<&str>) -> bool {
    catalog.is_none_or(|catalog| catalog.is_empty() || catalog == CATALOG) && schema.is_none_or(|pattern| is_like(SCHEMA, pattern))
}

/// SQL's LIKE. Where the text does not go on as the pattern does, the last `%` takes a character more: what an earlier one could take, that one can.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut wanted) = (0, 0);
    // Behind the last `%`, and where the text goes on behind what that takes.
    let mut again = None;
    while let Some(found) = text.get(at) {
        match (pattern.get(wanted), again) {
            (Some('%'), _) => {
                wanted += 1;
                again = Some((wanted, at));
            }
            (Some(sign), _) if *sign == '_' || sign == found => (at, wanted) = (at + 1, wanted + 1),
            (_, Some((behind, taken))) => {
                again = Some((behind, taken + 1));
                (at, wanted) = (taken + 1, behind);
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(wanted).all(|sign| *sign == '%')
}

fn relations(asked: &CommandGetTables, names: &Names) -> Result<RecordBatch, ArrowError> {
    let wanted = is_wanted(asked.catalog.as_deref(), asked.db_schema_filter_pattern.as_deref())
        && (asked.table_types.is_empty() || asked.table_types.iter().any(|kind| kind == VIEW));
    let pattern = asked.table_name_filter_pattern.as_deref();
    let found: Vec<_> = names.iter().filter(|(name, _)| wanted && pattern.is_none_or(|pattern| is_like(name, pattern))).collect();
    let all = |value: &str| Arc::new(StringArray::from(vec![value; found.len()])) as ArrayRef;
    let mut fields = vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("table_type", DataType::Utf8, false),
    ];
    let listed: StringArray = found.iter().map(|(name, _)| Some(name.as_str())).collect();
    let mut columns = vec![all(CATALOG), all(SCHEMA), Arc::new(listed) as ArrayRef, all(VIEW)];
    if asked.include_schema {
        let schemas = found.iter().map(|(_, provider)| schema_bytes(&sent(&provider.schema()))).collect::<Result<Vec<_>, _>>()?;
        fields.push(Field::new("table_schema", DataType::Binary, false));
        columns.push(Arc::new(schemas.iter().map(|schema| Some(schema.as_slice())).collect::<BinaryArray>()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn foreign_keys() -> RecordBatch {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let rule = |name: &str| Field::new(name, DataType::UInt8, false);
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        rule("update_rule"),
        rule("delete_rule"),
    ])))
}

fn types() -> RecordBatch {
    let (text, number) = (DataType::Utf8, DataType::Int32);
    let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, false)));
    let field = |name: &str, kind: &DataType, nullable| Field::new(name, kind.clone(), nullable);
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        field("type_name", &text, false),
        field("data_type", &number, false),
        field("column_size", &number, true),
        field("literal_prefix", &text, true),
        field("literal_suffix", &text, true),
        field("create_params", &list, true),
        field("nullable", &number, false),
        field("case_sensitive", &DataType::Boolean, false),
        field("searchable", &number, false),
        field("unsigned_attribute", &DataType::Boolean, true),
        field("fixed_prec_scale", &DataType::Boolean, false),
        field("auto_increment", &DataType::Boolean, true),
        field("local_type_name", &text, true),
        field("minimum_scale", &number, true),
        field("maximum_scale", &number, true),
        field("sql_data_type", &number, false),
        field("datetime_subcode", &number, true),
        field("num_prec_radix", &number, true),
        field("interval_precision", &number, true),
    ])))
}

/// A fact about the server.
enum Said {
    Text(&'static str),
    Bool(bool),
    Number(i32),
}

/// By the numbers of Flight SQL: name, version, version of Arrow, only reads, SQL, Substrait, transactions, cancelling.
const FACTS: &[(u32, Said)] = &[
    (0, Said::Text("Wardstream")),
    (1, Said::Text(env!("CARGO_PKG_VERSION"))),
    (2, Said::Text("1.3")),
    (3, Said::Bool(true)),
    (4, Said::Bool(true)),
    (5, Said::Bool(false)),
    (8, Said::Number(0)),
    (9, Said::Bool(false)),
    (504, Said::Text("\"")),
    (508, Said::Number(3)),
];

fn info(asked: &[u32]) -> Result<RecordBatch, ArrowError> {
    let facts: Vec<_> = FACTS.iter().filter(|(number, _)| asked.is_empty() || asked.contains(number)).collect();
    let (mut kinds, mut offsets) = (Vec::<i8>::new(), Vec::<i32>::new());
    let (mut texts, mut bools, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (_, said) in &facts {
        let (kind, pushed) = match said {
            Said::Text(text) => {
                texts.push(*text);
                (0, texts.len())
            }
            Said::Bool(value) => {
                bools.push(*value);
                (1, bools.len())
            }
            Said::Number(number) => {
                numbers.push(*number);
                (3, numbers.len())
            }
        };
        kinds.push(kind);
        offsets.push(i32::try_from(pushed - 1).map_err(|_| ArrowError::ComputeError("too many facts".to_owned()))?);
    }
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let entries = Fields::from(vec![Field::new("key", DataType::Int32, false), Field::new("value", DataType::List(item), true)]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false);
    let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let fields = UnionFields::try_new(
        0..6,
        [
            Field::new("string_value", DataType::Utf8, false),
            Field::new("bool_value", DataType::Boolean, false),
            Field::new("bigint_value", DataType::Int64, false),
            Field::new("int32_bitmask", DataType::Int32, false),
            Field::new("string_list", list.clone(), true),
            Field::new("int32_to_int32_list_map", map.clone(), true),
        ],
    )?;
    let children: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(texts)),
        Arc::new(BooleanArray::from(bools)),
        Arc::new(Int64Array::from(Vec::<i64>::new())),
        Arc::new(Int32Array::from(numbers)),
        Arc::new(ListArray::from(new_empty_array(&list).to_data())),
        Arc::new(MapArray::from(new_empty_array(&map).to_data())),
    ];
    let values = UnionArray::try_new(fields, ScalarBuffer::from(kinds), Some(ScalarBuffer::from(offsets)), children)?;
    let schema = Schema::new(vec![
        Field::new("info_name", DataType::UInt32, false),
        Field::new("value", datafusion::arrow::array::Array::data_type(&values).clone(), false),
    ]);
    let names: UInt32Array = facts.iter().map(|(number, _)| Some(*number)).collect();
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names), Arc::new(values)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_sqls() {
        for (text, pattern, like) in [
            ("labels", "lab%", true),
            ("labels", "%", true),
            ("labels", "l_bels", true),
            ("labels", "lab", false),
            ("labels", "labels_", false),
            ("labels", "l%b%s", true),
            ("note_notes", "%note_", true),
            ("note_notes", "%_note", false),
            ("", "%%", true),
            ("", "", true),
            ("", "_", false),
        ] {
            assert_eq!(is_like(text, pattern), like, "{text} LIKE {pattern}");
        }
    }

    /// A pattern may be as long as a message: it must take neither the stack nor the day.
    #[test]
    fn a_pattern_of_a_million_signs_is_answered() {
        assert!(is_like("labels", &"%".repeat(1_000_000)));
        assert!(!is_like("encounter_results_of_a_long_name", &"%e".repeat(100_000)));
        assert!(!is_like("encounter_results_of_a_long_name", &format!("{}x", "%_".repeat(30))));
    }

    #[test]
    fn facts_are_given_by_number() {
        let batch = info(&[3, 0]).expect("is made");
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(info(&[]).map(|batch| batch.num_rows()).ok(), Some(FACTS.len()));
    }
}
