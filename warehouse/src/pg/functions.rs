//! The functions by which clients ask about the server and their session. None of them tells anything of a patient.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, Float64Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SimpleScalarUDF, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::connection::Connection;
use super::connection::activity::{Activities, FUNCTION};
use super::kinds;
use super::variables::Variables;
use crate::literal::quoted;
use crate::roles::bounded;
use crate::roles::fault::Refusal;

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(value.to_owned()))
}

fn any(volatility: Volatility) -> Signature {
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], volatility)
}

/// A function that gives the same whatever it is asked.
fn constant(name: &str, value: ScalarValue) -> ScalarUDF {
    let kind = value.data_type();
    let give = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone())));
    ScalarUDF::from(SimpleScalarUDF::new_with_signature(name, any(Volatility::Stable), kind, give))
}

/// Whether something may be read or seen: everything that is listed may.
const TRUE: &[&str] = &[
    "has_column_privilege",
    "has_function_privilege",
    "has_sequence_privilege",
    "has_type_privilege",
    "has_tablespace_privilege",
    "has_foreign_data_wrapper_privilege",
    "has_server_privilege",
    "pg_has_role",
    "pg_function_is_visible",
    "pg_type_is_visible",
    "pg_operator_is_visible",
    "pg_opclass_is_visible",
    "pg_opfamily_is_visible",
    "pg_conversion_is_visible",
    "pg_collation_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
    "pg_is_in_recovery",
];
const FALSE: &[&str] = &["pg_is_other_temp_schema", "pg_is_wal_replay_paused", "pg_advisory_unlock", "row_security_active"];
/// What is described nowhere.
const NO_TEXT: &[&str] = &[
    "col_description",
    "shobj_description",
    "pg_get_indexdef",
    "pg_get_ruledef",
    "pg_get_triggerdef",
    "pg_get_functiondef",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_serial_sequence",
    "pg_get_partition_constraintdef",
    "pg_get_statisticsobjdef",
    "pg_describe_object",
    "pg_tablespace_location",
    "inet_client_addr",
    "inet_server_addr",
    "pg_advisory_unlock_all",
    "to_regproc",
];
const ZERO: &[&str] = &[
    "pg_my_temp_schema",
    "pg_relation_is_updatable",
    "pg_column_is_updatable",
    "pg_table_size",
    "pg_indexes_size",
    "pg_database_size",
    "txid_current",
];

/// Makes them known to the state of a statement.
pub(super) fn register(state: &mut SessionState, connection: &Connection) -> Result<()> {
    let variables = connection.variables();
    let user = variables.get("session_authorization").unwrap_or_default();
    let version = variables.get("server_version").unwrap_or_default();
    let mut functions = vec![
        constant("version", text(&format!("PostgreSQL {version} (Wardstream {}, read-only)", env!("CARGO_PKG_VERSION")))),
        constant("session_user", text(&user)),
        constant("current_user", text(&user)),
        constant("user", text(&user)),
        constant("current_role", text(&user)),
        constant("to_regtype", ScalarValue::Int32(None)),
        constant("pg_backend_pid", ScalarValue::Int32(connection.pid())),
        array_to_string(state),
        current_setting(variables.clone()),
        set_config(variables),
        format(),
        size_pretty(),
        kinds::function(),
        AsyncScalarUDF::new(Arc::new(Sleep(Signature::uniform(1, vec![DataType::Float64], Volatility::Volatile)))).into_scalar_udf(),
    ];
    let of = |names: &[&str], value: ScalarValue| names.iter().map(|name| constant(name, value.clone())).collect::<Vec<_>>();
    functions.extend(of(TRUE, ScalarValue::Boolean(Some(true))));
    functions.extend(of(FALSE, ScalarValue::Boolean(Some(false))));
    functions.extend(of(NO_TEXT, ScalarValue::Utf8(None)));
    functions.extend(of(ZERO, ScalarValue::Int64(Some(0))));
    for function in functions {
        state.register_udf(Arc::new(function))?;
    }
    state.register_udtf(FUNCTION, Arc::new(Activities::of(connection, user)));
    Ok(())
}

fn first_text(args: &[ColumnarValue]) -> Result<String> {
    let array = args.first().ok_or_else(|| DataFusionError::Plan("a name is wanted".to_owned()))?.to_array(1)?;
    let array = cast(&array, &DataType::Utf8)?;
    Ok(array.as_string::<i32>().iter().next().flatten().unwrap_or_default().to_owned())
}

/// `current_setting(name)`, `current_setting(name, missing_ok)`.
fn current_setting(variables: Variables) -> ScalarUDF {
    let give = Arc::new(move |args: &[ColumnarValue]| match variables.get(&first_text(args)?) {
        Ok(value) => Ok(ColumnarValue::Scalar(text(&value))),
        Err(_) if args.len() > 1 => Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None))),
        Err(refusal) => Err(DataFusionError::External(Box::new(refusal))),
    });
    let signature = Signature::one_of(vec![TypeSignature::Any(1), TypeSignature::Any(2)], Volatility::Stable);
    ScalarUDF::from(SimpleScalarUDF::new_with_signature("current_setting", signature, DataType::Utf8, give))
}

/// `array_to_string` that also takes what stands for an array of the catalogue: a text, or nothing.
fn array_to_string(state: &SessionState) -> ScalarUDF {
    let arrays = state.scalar_functions().get("array_to_string").cloned();
    ScalarUDF::from(ToText { arrays, signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToText {
    arrays: Option<Arc<ScalarUDF>>,
    signature: Signature,
}

impl ScalarUDFImpl for ToText {
    fn name(&self) -> &str {
        "array_to_string"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let list = args.args.first().is_some_and(|first| matches!(first.data_type(), DataType::List(_) | DataType::LargeList(_)));
        match (&self.arrays, args.args.first()) {
            (Some(arrays), Some(_)) if list => arrays.invoke_with_args(args)?.cast_to(&DataType::Utf8, None),
            (_, Some(text)) => text.cast_to(&DataType::Utf8, None),
            (_, None) => Err(DataFusionError::Plan("array_to_string has arguments".to_owned())),
        }
    }
}

/// `pg_size_pretty(bytes)`: in the largest unit in which ten or more are left, rounded.
fn size_pretty() -> ScalarUDF {
    let give = Arc::new(|args: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(args)?;
        let [sizes] = arrays.as_slice() else { return Err(DataFusionError::Plan("pg_size_pretty has one argument".to_owned())) };
        let texts: StringArray = sizes.as_primitive::<Int64Type>().iter().map(|size| size.map(pretty)).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    });
    let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
    ScalarUDF::from(SimpleScalarUDF::new_with_signature("pg_size_pretty", signature, DataType::Utf8, give))
}

fn pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (i128::from(bytes), 0);
    // Twice the size beyond bytes, so that the last half is rounded and not cut; PostgreSQL changes units at 10,240 of the one before.
    while size.abs() >= if unit == 0 { 10_240 } else { 20_479 } && unit + 1 < UNITS.len() {
        size /= if unit == 0 { 512 } else { 1_024 };
        unit += 1;
    }
    let rounded = if unit == 0 { size } else { (size + size.signum()) / 2 };
    format!("{rounded} {}", UNITS[unit])
}

/// `format(pattern, ...)` with `%s`, `%I`, `%L` and `%%`.
fn format() -> ScalarUDF {
    let give = Arc::new(|args: &[ColumnarValue]| {
        let rows = args.iter().find_map(|arg| match arg {
            ColumnarValue::Array(array) => Some(array.len()),
            ColumnarValue::Scalar(_) => None,
        });
        let columns: Vec<_> =
            args.iter().map(|arg| Ok(cast(&arg.to_array(rows.unwrap_or(1))?, &DataType::Utf8)?)).collect::<Result<_>>()?;
        let texts: Vec<&StringArray> = columns.iter().map(|column| column.as_string::<i32>()).collect();
        let Some((patterns, values)) = texts.split_first() else {
            return Err(DataFusionError::Plan("format wants a pattern".to_owned()));
        };
        let of = |row: usize| {
            let mut values = values.iter().map(|column| column.is_valid(row).then(|| column.value(row)));
            patterns.is_valid(row).then(|| filled(patterns.value(row), &mut values)).transpose()
        };
        let formatted = (0..patterns.len()).map(of).collect::<Result<StringArray>>()?;
        match rows {
            Some(_) => Ok(ColumnarValue::Array(Arc::new(formatted))),
            None => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&formatted, 0)?)),
        }
    });
    let signature = Signature::variadic_any(Volatility::Immutable);
    bounded::summed(ScalarUDF::from(SimpleScalarUDF::new_with_signature("format", signature, DataType::Utf8, give)))
}

/// The pattern with its values in their places, in order.
fn filled<'a>(pattern: &str, values: &mut impl Iterator<Item = Option<&'a str>>) -> Result<String> {
    let wrong = |code, words: &str| DataFusionError::External(Box::new(Refusal::new(code, words.to_owned())));
    let mut text = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let kind = letters.next();
        if kind == Some('%') {
            text.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| wrong("22023", "too few arguments for format()"))?;
        match (kind, value) {
            (Some('s'), value) => text.push_str(value.unwrap_or_default()),
            (Some('I'), Some(value)) => text.push_str(&identifier(value)),
            (Some('I'), None) => return Err(wrong("22004", "null values cannot be formatted as an SQL identifier")),
            (Some('L'), Some(value)) => text.push_str(&quoted(value)),
            (Some('L'), None) => text.push_str("NULL"),
            _ => return Err(wrong("22023", "format() knows %s, %I, %L and %%")),
        }
    }
    Ok(text)
}

fn identifier(name: &str) -> String {
    let plain = name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if plain && !name.starts_with(|first: char| first.is_ascii_digit()) && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// `set_config` in a query changes nothing here: SET does. What is so already is said.
fn set_config(variables: Variables) -> ScalarUDF {
    let refuse = Arc::new(move |args: &[ColumnarValue]| {
        let (name, wanted) = (first_text(args)?, first_text(args.get(1..).unwrap_or_default())?);
        if variables.get(&name).is_ok_and(|value| value == wanted) {
            return Ok(ColumnarValue::Scalar(text(&wanted)));
        }
        let refusal = Refusal::new("0A000", "set_config is not supported").with_hint("write SET name = value");
        Err(DataFusionError::External(Box::new(refusal)))
    });
    ScalarUDF::from(SimpleScalarUDF::new_with_signature("set_config", Signature::any(3, Volatility::Volatile), DataType::Utf8, refuse))
}

/// `pg_sleep(seconds)`: waits, and holds no thread.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep(Signature);

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal("pg_sleep waits".to_owned()))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let array = args.args.first().ok_or_else(|| DataFusionError::Internal("pg_sleep has one argument".to_owned()))?.to_array(rows)?;
        let seconds: &Float64Array = array.as_primitive::<Float64Type>();
        let total: f64 = seconds.iter().flatten().filter(|seconds| *seconds > 0.0).sum();
        tokio::time::sleep(Duration::try_from_secs_f64(total).unwrap_or(Duration::MAX)).await;
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(vec![Some(""); rows]))))
    }
}
