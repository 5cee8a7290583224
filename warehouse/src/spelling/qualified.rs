//! Types by the names that PostgreSQL's catalogue has for them: `pg_catalog.timestamptz`, and `"pg_catalog"."_int4"`, which are lists. So drivers name the types of
//! parameters. The engine is taught some of them (`pg_catalog.int4`), which stay as they are.

use datafusion::sql::sqlparser::ast::DataType;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Types that the engine knows by their own names alone.
const OWN: [&str; 6] = ["date", "interval", "numeric", "time", "timestamp", "timestamptz"];

/// Types that it knows by either name, but not as those of a list.
const EITHER: [&str; 8] = ["bool", "float4", "float8", "int2", "int4", "int8", "text", "varchar"];

/// The type by its own name; `None` where it stays.
pub(super) fn by_own_name(kind: &DataType) -> Option<DataType> {
    let DataType::Custom(name, arguments) = kind else { return None };
    let [schema, name] = name.0.as_slice() else { return None };
    let (schema, name) = (schema.as_ident()?, name.as_ident()?.value.to_lowercase());
    if !arguments.is_empty() || !schema.value.eq_ignore_ascii_case("pg_catalog") {
        return None;
    }
    let (element, brackets) = name.strip_prefix('_').map_or((name.as_str(), ""), |element| (element, "[]"));
    if !OWN.contains(&element) && (brackets.is_empty() || !EITHER.contains(&element)) {
        return None;
    }
    let own = format!("{element}{brackets}");
    Parser::new(&PostgreSqlDialect {}).try_with_sql(&own).ok()?.parse_data_type().ok()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use crate::spelling;

    fn read(sql: &str) -> String {
        spelling::functions(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    #[test]
    fn types_of_the_catalogue_are_known_by_their_own_names() {
        for (sql, wanted) in [
            ("SELECT $1::\"pg_catalog\".\"timestamptz\"::text", "SELECT $1::TIMESTAMPTZ::TEXT"),
            ("SELECT a::pg_catalog.date, b::\"pg_catalog\".\"_int4\"", "SELECT a::DATE, b::INT4[]"),
        ] {
            assert_eq!(read(sql), wanted);
        }
    }

    #[test]
    fn others_stay() {
        for sql in ["SELECT a::pg_catalog.int4", "SELECT a::other.date", "SELECT a::pg_catalog.regtype", "SELECT a::pg_catalog._regtype"] {
            assert_eq!(read(sql), sql);
        }
    }
}
