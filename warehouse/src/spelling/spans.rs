//! `make_interval` with all of its parts: PostgreSQL takes those that are named, or the first ones, and the others are nothing.

use datafusion::sql::sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use super::is_called;
use crate::functions::INTERVAL_PARTS;

/// Writes out the parts that are left out; a call with a part that there is not stays, and is refused.
pub(super) fn in_all_parts(function: &mut Function) {
    if !is_called(&function.name, "make_interval") {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    let none = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(Value::Number("0".to_owned(), false).into())));
    let mut parts = vec![none; INTERVAL_PARTS.len()];
    for (place, argument) in list.args.iter().enumerate() {
        let (place, stated) = match argument {
            FunctionArg::Unnamed(stated) => (Some(place), stated),
            FunctionArg::Named { name, arg, .. } | FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => {
                (INTERVAL_PARTS.iter().position(|part| name.value.eq_ignore_ascii_case(part)), arg)
            }
            FunctionArg::ExprNamed { .. } => return,
        };
        let Some(part) = place.and_then(|place| parts.get_mut(place)) else { return };
        *part = FunctionArg::Unnamed(stated.clone());
    }
    list.args = parts;
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
    fn parts_that_are_left_out_are_nothing() {
        assert_eq!(read("SELECT make_interval(days => n)"), "SELECT make_interval(0, 0, 0, n, 0, 0, 0)");
        assert_eq!(read("SELECT make_interval(Hours => 3, secs => 1.5)"), "SELECT make_interval(0, 0, 0, 0, 3, 0, 1.5)");
        assert_eq!(read("SELECT make_interval(1, 2)"), "SELECT make_interval(1, 2, 0, 0, 0, 0, 0)");
        for sql in ["SELECT make_interval(fortnights => 1)", "SELECT make_interval(1, 2, 3, 4, 5, 6, 7, 8)"] {
            assert_eq!(read(sql), sql);
        }
    }
}
