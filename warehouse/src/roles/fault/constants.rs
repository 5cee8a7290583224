//! Constants that are none of the type to which they are cast, where the engine goes on with their texts: identifiers, JSON, numbers beyond all of a type.

use datafusion::sql::sqlparser::ast::{CastKind, DataType, Expr, Value};
use datafusion::sql::sqlparser::tokenizer::Location;
use serde::de::IgnoredAny;

/// What is wrong with a cast of a constant: its class, what is said of it, and where the constant stands if PostgreSQL would say so.
pub(super) fn fault(expr: &Expr) -> Option<(&'static str, String, Option<Location>)> {
    let Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, .. } = expr else { return None };
    let Expr::Value(stated) = expr.as_ref() else { return None };
    let at = Some(stated.span.start);
    match (&stated.value, data_type) {
        (Value::SingleQuotedString(text), DataType::Uuid) if !is_uuid(text) => {
            Some(("22P02", format!("invalid input syntax for type uuid: \"{text}\""), at))
        }
        (Value::SingleQuotedString(text), DataType::JSON | DataType::JSONB) if serde_json::from_str::<IgnoredAny>(text).is_err() => {
            Some(("22P02", "invalid input syntax for type json".to_owned(), at))
        }
        (Value::SingleQuotedString(text), kind) => beyond(text, kind).map(|words| ("22003", words, at)),
        (Value::Number(digits, _), kind) => beyond(digits, kind).map(|words| ("22003", words, None)),
        _ => None,
    }
}

/// Whether PostgreSQL may read the text: it lets hyphens stand after every four digits, and braces around all.
fn is_uuid(text: &str) -> bool {
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: Vec<u8> = bare.bytes().filter(|byte| *byte != b'-').collect();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// What is said of digits that are more than every number of the type.
fn beyond(digits: &str, kind: &DataType) -> Option<String> {
    let digits = digits.trim();
    let (is_infinite, name) = match kind {
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) => {
            (digits.parse::<f64>().is_ok_and(f64::is_infinite), "double precision")
        }
        DataType::Real | DataType::Float4 => (digits.parse::<f32>().is_ok_and(f32::is_infinite), "real"),
        _ => return None,
    };
    let are_digits = digits.bytes().any(|byte| byte.is_ascii_digit());
    (is_infinite && are_digits).then(|| format!("\"{digits}\" is out of range for type {name}"))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn found(sql: &str) -> Option<(&'static str, Option<u64>)> {
        let expr = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).expect(sql).parse_expr().expect(sql);
        fault(&expr).map(|(code, _, at)| (code, at.map(|at| at.column)))
    }

    #[test]
    fn a_constant_is_of_the_type_to_which_it_is_cast() {
        for (sql, wanted) in [
            ("'zz'::uuid", ("22P02", Some(1))),
            ("CAST('{bad' AS json)", ("22P02", Some(6))),
            ("'{\"a\": 1,}'::jsonb", ("22P02", Some(1))),
            ("'1e999'::float8", ("22003", Some(1))),
            ("1e999::double precision", ("22003", None)),
            ("'-1e39'::real", ("22003", Some(1))),
        ] {
            assert_eq!(found(sql), Some(wanted), "{sql}");
        }
        for sql in [
            "'A0EEBC99-9c0b4ef8-bb6d-6bb9bd380a11'::uuid",
            "'{a0eebc999c0b4ef8bb6d6bb9bd380a11}'::uuid",
            "' [1, null, \"x\"] '::json",
            "'infinity'::float8",
            "1e38::real",
            "x::uuid",
            "TRY_CAST('zz' AS uuid)",
            "'zz'::text",
        ] {
            assert_eq!(found(sql), None, "{sql}");
        }
    }
}
