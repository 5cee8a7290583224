//! One value as the protocol writes it.
//!
//! What arrow-pg writes goes its way, but for what it has no room for: decimals of more than 96 bits, the days of what lies between two instants, and what is missing where the engine keeps no number
//! (it takes an interval for none).

use std::error::Error;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Schema, UInt64Type};
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, into_pg_type};
use datafusion_postgres::arrow_pg::encoder::{Encoder, encode_value};
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::types::ToSqlText;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use tokio_postgres::types::{IsNull, ToSql, to_sql_checked};

use super::answer::error;
use crate::functions::spans;
use crate::roles::fault::Refusal;

/// The columns of a schema as the protocol describes them. What the engine counts without a sign (`row_number`, lengths of lists) is a `bigint`. `array_agg` knows of whole numbers that they are some, and not that they are types' own: what asyncpg asks for these, by this
/// name, before it reads any list, it must be able to read without asking.
///
/// # Errors
/// 0A000 where a column is of a type that the protocol has no name for, such as a list of lists.
pub(super) fn described(schema: &Schema, format: &Format, options: Option<Arc<FormatOptions>>) -> PgWireResult<Vec<FieldInfo>> {
    let fields = arrow_schema_to_pg_fields(schema, format, options.clone()).map_err(|_| unnamed(schema))?;
    let known = |(field, column): (FieldInfo, &Arc<Field>)| {
        let kind = match column.data_type() {
            DataType::UInt64 => Type::INT8,
            // A text that was made of the number of a type keeps saying that it is one.
            text if text.is_string() && *field.datatype() == Type::OID => Type::TEXT,
            _ if field.name() == "attrtypoids" && *field.datatype() == Type::INT4_ARRAY => Type::OID_ARRAY,
            _ => return field,
        };
        let field = FieldInfo::new(field.name().to_owned(), None, None, kind, field.format());
        options.iter().fold(field, |field, options| field.with_format_options(Arc::clone(options)))
    };
    Ok(fields.into_iter().zip(schema.fields()).map(known).collect())
}

fn unnamed(schema: &Schema) -> PgWireError {
    let column = schema.fields().iter().find(|field| into_pg_type(field.data_type()).is_err());
    let words = column.map_or_else(
        || "a column of the query has a type that cannot be sent".to_owned(),
        |column| format!("column \"{}\" has a type that cannot be sent, such as a list of lists: {}", column.name(), column.data_type()),
    );
    error(Refusal::new("0A000", words).with_hint("unnest its lists, or make a text of it, as in x::text"))
}

/// Writes row `row` of `array`.
///
/// # Errors
/// Where a value has no place in its type. The encoder is of no more use then.
pub(super) fn write<E: Encoder>(encoder: &mut E, array: &ArrayRef, row: usize, (field, wire): (&Field, &FieldInfo)) -> PgWireResult<()> {
    match array.data_type() {
        _ if array.is_null(row) => encoder.encode_field(&None::<i8>, wire),
        DataType::UInt64 => {
            let value = array.as_primitive::<UInt64Type>().value(row);
            let value = i64::try_from(value).map_err(|_| error(Refusal::new("22003", "bigint out of range")))?;
            encoder.encode_field(&value, wire)
        }
        DataType::Decimal128(..) => encoder.encode_field(&Numeric(array.as_primitive::<Decimal128Type>().value_as_string(row)), wire),
        // Days are days, as PostgreSQL counts what lies between two instants.
        DataType::Duration(_) => {
            let days = spans::spans(&array.slice(row, 1)).and_then(spans::intervals);
            let days = days.map_err(|_| error(Refusal::new("22008", "interval out of range")))?;
            encode_value(encoder, &days, 0, &field.clone().with_data_type(days.data_type().clone()), wire)
        }
        _ => encode_value(encoder, array, row, field, wire),
    }
}

/// A decimal, by its digits: a sign, digits, and digits behind a point.
#[derive(Debug)]
struct Numeric(String);

impl ToSqlText for Numeric {
    fn to_sql_text(&self, _: &Type, out: &mut BytesMut, _: &FormatOptions) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl ToSql for Numeric {
    /// Groups of four digits from the point on to both sides, without those of zeros at the ends
    /// (`numeric_send` in PostgreSQL's `src/backend/utils/adt/numeric.c`).
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        const GROUP: usize = 4;
        const NEGATIVE: u16 = 0x4000;
        let (negative, digits) = self.0.strip_prefix('-').map_or((false, self.0.as_str()), |digits| (true, digits));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let before = whole.len().div_ceil(GROUP);
        let padded = format!("{whole:0>0$}{part:0<1$}", before * GROUP, part.len().div_ceil(GROUP) * GROUP);
        let groups: Vec<i16> =
            padded.as_bytes().chunks(GROUP).map(|group| group.iter().fold(0, |all, digit| all * 10 + i16::from(digit - b'0'))).collect();
        let leading = groups.iter().take_while(|group| **group == 0).count();
        let used = groups.len() - groups[leading..].iter().rev().take_while(|group| **group == 0).count();
        let groups = &groups[leading..used.max(leading)];
        out.put_i16(i16::try_from(groups.len())?);
        // Of the first group, in groups before the point.
        out.put_i16(if groups.is_empty() { 0 } else { i16::try_from(before)? - i16::try_from(leading)? - 1 });
        out.put_u16(if negative { NEGATIVE } else { 0 });
        out.put_u16(u16::try_from(part.len())?);
        groups.iter().for_each(|group| out.put_i16(*group));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(digits: &str) -> Vec<i16> {
        let mut out = BytesMut::new();
        Numeric(digits.to_owned()).to_sql(&Type::NUMERIC, &mut out).expect("a number");
        out.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    /// Groups, weight, sign, digits behind the point, and the groups, as PostgreSQL 16 sends them.
    #[test]
    fn a_decimal_is_sent_in_groups_of_four_digits() {
        assert_eq!(sent("0"), [0, 0, 0, 0]);
        assert_eq!(sent("0.00"), [0, 0, 0, 2]);
        assert_eq!(sent("1"), [1, 0, 0, 0, 1]);
        assert_eq!(sent("-12345.678"), [3, 1, 0x4000, 3, 1, 2345, 6780]);
        assert_eq!(sent("0.00001000"), [1, -2, 0, 8, 1000]);
        assert_eq!(sent("10000.0"), [1, 1, 0, 1, 1]);
        assert_eq!(sent("12345678901234567890.0000000000"), [5, 4, 0, 10, 1234, 5678, 9012, 3456, 7890]);
        assert_eq!(sent("99999999999999999999999999999999999999"), [10, 9, 0, 0, 99, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999]);
    }
}
