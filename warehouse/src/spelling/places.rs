//! Elements of a list as the rows of a relation, and their places: `unnest(list) AS x`, `unnest(list) WITH ORDINALITY`, and the same of a series. Of the last two the engine
//! knows no places.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Ident, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, Value,
};

use super::{SERIES, argument, call, is_called, named, query};

/// What PostgreSQL calls a relation of a list that has no alias.
const ELEMENTS: &str = "unnest";
/// What it calls the places.
const PLACES: &str = "ordinality";

/// So many bytes of lists are written a second time in a statement: each may hold a query in which others are.
pub(super) const TWICE: usize = 1 << 16;

/// The elements under PostgreSQL's name for them, where a relation is made of one list; with their places where these are asked for and `left` bytes suffice.
pub(super) fn as_asked(factor: &mut TableFactor, left: &mut usize) {
    if let TableFactor::Table { name, alias, args: Some(args), with_ordinality: true, .. } = factor
        && is_called(name, SERIES)
    {
        let list = call(SERIES, args.args.iter().filter_map(argument).collect());
        let alias = Some(alias.take().unwrap_or_else(|| named(SERIES)));
        *factor =
            TableFactor::UNNEST { alias, array_exprs: vec![list], with_offset: false, with_offset_alias: None, with_ordinality: true };
    }
    let TableFactor::UNNEST { array_exprs, alias, with_offset: false, with_ordinality, .. } = factor else { return };
    let [list] = array_exprs.as_slice() else { return };
    if *with_ordinality {
        // What is left as it is the engine refuses.
        let Some(rest) = left.checked_sub(list.to_string().len()) else { return };
        *left = rest;
        if let Some(beside) = beside(list, alias.clone().unwrap_or_else(|| named(ELEMENTS))) {
            *factor = beside;
        }
    } else if let Some(alias) = alias
        && alias.columns.is_empty()
    {
        alias.columns = vec![column(&alias.name)];
    }
}

/// The elements and their places, from 1, side by side.
fn beside(list: &Expr, mut alias: TableAlias) -> Option<TableFactor> {
    if alias.columns.is_empty() {
        alias.columns.push(column(&alias.name));
    }
    if alias.columns.len() == 1 {
        alias.columns.push(column(&Ident::new(PLACES)));
    }
    let length = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(call("array_length", vec![list.clone()])),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    };
    let places = call(SERIES, vec![Expr::Value(Value::Number("1".to_owned(), false).into()), length]);
    let mut subquery = query("SELECT 1")?;
    if let SetExpr::Select(select) = subquery.body.as_mut() {
        let rows = [(list.clone(), ELEMENTS), (places, PLACES)];
        let item = |(list, name): (Expr, &str)| SelectItem::ExprWithAlias { expr: call(ELEMENTS, vec![list]), alias: Ident::new(name) };
        select.projection = rows.map(item).to_vec();
    }
    Some(TableFactor::Derived { lateral: true, subquery, alias: Some(alias), sample: None })
}

fn column(name: &Ident) -> TableAliasColumnDef {
    TableAliasColumnDef { name: name.clone(), data_type: None }
}
