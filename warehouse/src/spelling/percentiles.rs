//! Percentiles as PostgreSQL has them beyond the engine's: several at once (`percentile_cont(ARRAY[0.25, 0.75])`), and `percentile_disc`, which is one of the values.

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    OrderByExpr, Value,
};

use super::{argument, call, has_query, is_called};

/// What the engine has instead; `None` where it has the call itself, and where a query is within it, which would be written several times with all that is in it.
pub(super) fn meant(function: &Function) -> Option<Expr> {
    let is_discrete = is_called(&function.name, "percentile_disc");
    if !is_discrete && !is_called(&function.name, "percentile_cont") {
        return None;
    }
    let [order] = function.within_group.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let [share] = list.args.as_slice() else { return None };
    let share = argument(share)?;
    let filter = function.filter.as_deref();
    if [&share, &order.expr].into_iter().chain(filter).any(has_query) {
        return None;
    }
    let one = |share: &Expr| if is_discrete { discrete(function, order, share) } else { at(function, share) };
    match &share {
        Expr::Array(Array { elem, named }) => Some(Expr::Array(Array { elem: elem.iter().map(one).collect(), named: *named })),
        share if is_discrete => Some(one(share)),
        _ => None,
    }
}

/// The call with one share.
fn at(function: &Function, share: &Expr) -> Expr {
    let mut function = function.clone();
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(share.clone()))];
    }
    Expr::Function(function)
}

/// The first of the values in order up to which lies that share of them.
fn discrete(function: &Function, order: &OrderByExpr, share: &Expr) -> Expr {
    let number = |digits: &str| Expr::Value(Value::Number(digits.to_owned(), false).into());
    let is_there = Expr::IsNotNull(Box::new(Expr::Nested(Box::new(order.expr.clone()))));
    let chosen = match &function.filter {
        Some(filter) => Expr::BinaryOp { left: Box::new(Expr::Nested(filter.clone())), op: BinaryOperator::And, right: Box::new(is_there) },
        None => is_there,
    };
    let over_values = |name: &str, clauses: Vec<FunctionArgumentClause>| {
        let mut over = call(name, vec![order.expr.clone()]);
        if let Expr::Function(over) = &mut over {
            over.filter = Some(Box::new(chosen.clone()));
            if let FunctionArguments::List(list) = &mut over.args {
                list.clauses = clauses;
            }
        }
        over
    };
    let values = over_values("array_agg", vec![FunctionArgumentClause::OrderBy(vec![order.clone()])]);
    let reach = Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(share.clone()))),
        op: BinaryOperator::Multiply,
        right: Box::new(over_values("count", Vec::new())),
    };
    let place = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(call("greatest", vec![number("1"), call("ceil", vec![reach])])),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    };
    call("array_element", vec![values, place])
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
    fn a_discrete_percentile_is_an_element_of_the_values_in_order() {
        assert_eq!(
            read("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a DESC) FILTER (WHERE b) FROM t"),
            "SELECT array_element(array_agg(a ORDER BY a DESC) FILTER (WHERE (b) AND (a) IS NOT NULL), \
             CAST(greatest(1, ceil((0.5) * count(a) FILTER (WHERE (b) AND (a) IS NOT NULL))) AS BIGINT)) AS \"percentile_disc\" FROM t"
        );
    }

    #[test]
    fn several_percentiles_are_each_asked_for() {
        assert_eq!(
            read("SELECT percentile_cont(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY a) FROM t"),
            "SELECT ARRAY[percentile_cont(0.25) WITHIN GROUP (ORDER BY a), percentile_cont(0.75) WITHIN GROUP (ORDER BY a)] \
             AS \"percentile_cont\" FROM t"
        );
        let one = "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t";
        assert_eq!(read(one), one);
        let of_query = read("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY (SELECT 1)) FROM t");
        assert!(of_query.contains("percentile_disc(0.5)"), "{of_query}");
    }
}
