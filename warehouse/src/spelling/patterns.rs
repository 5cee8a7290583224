//! `a LIKE ANY (ARRAY['x%', 'y%'])` as one LIKE for each pattern, of which one holds, and of `ALL` every one: the engine reads one pattern.

use datafusion::sql::sqlparser::ast::{Array, BinaryOperator, Expr, Function, FunctionArguments, Value};

use super::{argument, is_called};

/// So many patterns are written out: each is a level of the expression.
const MANY: usize = 256;

/// Writes out the patterns that are stated; a list that is a column or a query stays, and is refused, and so is one for which `left` bytes of copies do not suffice.
pub(super) fn one_by_one(expr: &mut Expr, left: &mut usize) {
    let (Expr::Like { any, pattern, expr: text, .. } | Expr::ILike { any, pattern, expr: text, .. }) = &*expr else { return };
    let (patterns, op) = match pattern.as_ref() {
        list if *any => (stated(list), BinaryOperator::Or),
        Expr::Function(all) if is_called(&all.name, "all") => (of_all(all), BinaryOperator::And),
        _ => return,
    };
    let Some(patterns) = patterns.filter(|patterns| patterns.len() <= MANY) else { return };
    let Some(rest) = left.checked_sub(text.to_string().len() * patterns.len()) else { return };
    *left = rest;
    let mut held = expr.clone();
    hold(&mut held, Expr::Value(Value::Null.into()));
    let one = |pattern: Expr| {
        let mut one = held.clone();
        hold(&mut one, pattern);
        one
    };
    let both = |one: Expr, next: Expr| Expr::BinaryOp { left: Box::new(one), op: op.clone(), right: Box::new(next) };
    let all = patterns.into_iter().map(one).reduce(both);
    if let Some(all) = all {
        *expr = Expr::Nested(Box::new(all));
    }
}

/// Holds the text to this pattern alone.
fn hold(expr: &mut Expr, pattern: Expr) {
    if let Expr::Like { any, pattern: of, .. } | Expr::ILike { any, pattern: of, .. } = expr {
        (*any, **of) = (false, pattern);
    }
}

/// The patterns of `ALL (...)`, which the parser takes for a call.
fn of_all(all: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &all.args else { return None };
    let [list] = list.args.as_slice() else { return None };
    stated(&argument(list)?)
}

/// The elements of `ARRAY[...]`, in parentheses, with a cast behind it or not, or of `'{x%,y%}'` where no element is in quotes.
fn stated(list: &Expr) -> Option<Vec<Expr>> {
    match list {
        Expr::Nested(list) | Expr::Cast { expr: list, .. } => stated(list),
        Expr::Array(Array { elem, .. }) => Some(elem.clone()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => {
                let elements = text
                    .strip_prefix('{')?
                    .strip_suffix('}')
                    .filter(|elements| !elements.is_empty() && !elements.contains(['"', '{', '\\']))?;
                let element = |element: &str| Expr::Value(Value::SingleQuotedString(element.trim().to_owned()).into());
                Some(elements.split(',').map(element).collect())
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use crate::spelling;

    fn read(sql: &str) -> String {
        spelling::functions(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    /// What is held to patterns may be held to patterns itself.
    #[test]
    fn copies_are_bounded() {
        let list = format!("ARRAY[{}]", vec!["'x%'"; 100].join(", "));
        let deep = (0..4).fold("a".to_owned(), |inner, _| format!("({inner} LIKE ANY ({list}))::TEXT"));
        let written = read(&format!("SELECT {deep} FROM t"));
        assert!(written.contains("LIKE ANY") && written.len() < 1 << 18, "{}", written.len());
    }

    #[test]
    fn each_pattern_is_one_like() {
        for (asked, meant) in [
            ("a LIKE ANY (ARRAY['x%', b])", "(a LIKE 'x%' OR a LIKE b)"),
            ("a NOT ILIKE ANY (ARRAY['x%', 'y%']::TEXT[])", "(a NOT ILIKE 'x%' OR a NOT ILIKE 'y%')"),
            ("a LIKE ANY ('{x%, y%}')", "(a LIKE 'x%' OR a LIKE 'y%')"),
            ("a NOT LIKE ALL (ARRAY['x%', 'y%'])", "(a NOT LIKE 'x%' AND a NOT LIKE 'y%')"),
            ("a ILIKE 'x%'", "a ILIKE 'x%'"),
        ] {
            assert_eq!(read(&format!("SELECT 1 FROM t WHERE {asked}")), format!("SELECT 1 FROM t WHERE {meant}"));
        }
        let many = format!("a LIKE ANY (ARRAY[{}])", vec!["'x'"; 257].join(", "));
        for asked in ["a LIKE ANY (b)", "a LIKE ANY ('{\"x,\"}')", &many] {
            let stays = read(&format!("SELECT 1 FROM t WHERE {asked}"));
            assert!(stays.contains("LIKE ANY"), "{stays}");
        }
    }
}
