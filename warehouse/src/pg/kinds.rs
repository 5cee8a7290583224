//! `pg_typeof(x)`: the name of a value's type in SQL, of the type that a column of it is described with.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(TypeOf(Signature::any(1, Volatility::Stable)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf(Signature);

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [field] = args.arg_fields.as_slice() else { return plan_err!("pg_typeof has one argument") };
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(name(field.data_type())))))
    }
}

fn name(kind: &DataType) -> String {
    let wire = match kind {
        DataType::Null => return "unknown".to_owned(),
        DataType::UInt64 => return "bigint".to_owned(),
        kind => into_pg_type(kind).map(|wire| wire.name().to_owned()).unwrap_or_default(),
    };
    let (element, brackets) = wire.strip_prefix('_').map_or((wire.as_str(), ""), |element| (element, "[]"));
    let element = match element {
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "bool" => "boolean",
        "varchar" => "character varying",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        other => other,
    };
    format!("{element}{brackets}")
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    /// As PostgreSQL 15 names them.
    #[test]
    fn types_have_their_names_in_sql() {
        for (kind, wanted) in [
            (DataType::Null, "unknown"),
            (DataType::Int32, "integer"),
            (DataType::UInt64, "bigint"),
            (DataType::Float64, "double precision"),
            (DataType::Decimal128(10, 2), "numeric"),
            (DataType::Boolean, "boolean"),
            (DataType::Utf8View, "text"),
            (DataType::Binary, "bytea"),
            (DataType::Date32, "date"),
            (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), "timestamp with time zone"),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), "timestamp without time zone"),
            (DataType::new_list(DataType::Int64, true), "bigint[]"),
        ] {
            assert_eq!(name(&kind), wanted, "{kind}");
        }
    }
}
