//! Columns of one name, told apart: PostgreSQL lets them repeat, the engine takes no two of one name, and its name of `label::text` is that of `label`.
//!
//! Where one of them is named by `AS`, none of them keeps the name: whoever means it from outside is refused, as PostgreSQL refuses what is ambiguous.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, Value, VisitMut, VisitorMut};

use super::{casts, grouped, having, names};

/// What the name of a column begins with that was given for this reason alone: its place follows, and what it is called.
const HIDDEN: &str = "?same?";

/// The statement with a name of its own for every column that is called as another of its list, and for every call that is none but for its casts.
pub(crate) fn told_apart(mut statement: Statement) -> Statement {
    // Nothing ends the visit.
    let _whole = statement.visit(&mut Apart);
    casts::told_apart(statement)
}

/// The name of its own that a column at this place gets, which is called so.
pub(crate) fn hidden(place: usize, called: &str) -> Ident {
    Ident::with_quote('"', format!("{HIDDEN}{place}?{called}"))
}

/// What a column is called that may have a name of its own.
pub(crate) fn called(name: &str) -> &str {
    let hidden = name.strip_prefix(HIDDEN).and_then(|rest| rest.split_once('?'));
    hidden.map_or(name, |(_, called)| called)
}

/// The columns as they are called; itself where each is called by its name.
pub(crate) fn shown(schema: &SchemaRef) -> SchemaRef {
    if !schema.fields().iter().any(|field| field.name().starts_with(HIDDEN)) {
        return Arc::clone(schema);
    }
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_name(called(field.name()))).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

struct Apart;

impl VisitorMut for Apart {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        selects(&mut query.body);
        grouped::told_apart(query);
        having::of_relations(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn selects(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => apart(select),
        SetExpr::SetOperation { left, right, .. } => {
            selects(left);
            selects(right);
        }
        _ => {}
    }
}

/// A column as it stands in a list.
struct Column {
    place: usize,
    text: String,
    /// What it is made of, without casts.
    made_of: String,
    /// Its name, where it is a column's or stated.
    name: Option<String>,
    /// Whether `AS` says it.
    is_stated: bool,
}

impl Column {
    fn of((place, item): (usize, &SelectItem)) -> Option<Self> {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return None,
        };
        let plain = plain(expr);
        let name = match (alias, &plain) {
            (Some(alias), _) => Some(folded(alias)),
            (None, Expr::Identifier(name)) => Some(folded(name)),
            (None, Expr::CompoundIdentifier(parts)) => parts.last().map(folded),
            _ => None,
        };
        Some(Self { place, text: expr.to_string(), made_of: plain.to_string(), name, is_stated: alias.is_some() })
    }
}

/// A name as the engine reads it.
pub(crate) fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn apart(select: &mut Select) {
    let columns: Vec<Column> = select.projection.iter().enumerate().filter_map(Column::of).collect();
    let same = same(&columns);
    for (place, item) in select.projection.iter_mut().enumerate().filter(|(place, _)| same.contains(place)) {
        let (expr, called) = match &*item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), names::name(expr).unwrap_or_else(|| names::UNNAMED.to_owned())),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias)),
            _ => continue,
        };
        *item = SelectItem::ExprWithAlias { expr, alias: hidden(place, &called) };
    }
}

/// Places of the columns that need a name of their own.
fn same(columns: &[Column]) -> BTreeSet<usize> {
    let mut same = BTreeSet::new();
    let mut known = BTreeSet::new();
    let mut named: BTreeMap<&str, Vec<&Column>> = BTreeMap::new();
    for column in columns {
        if !column.is_stated && !known.insert(column.made_of.as_str()) {
            same.insert(column.place);
        }
        if let Some(name) = &column.name {
            named.entry(name).or_default().push(column);
        }
    }
    for alike in named.values().filter(|alike| alike.iter().any(|column| column.is_stated)) {
        // The same thing said twice may be meant by its name.
        let is_one_thing = alike.iter().all(|column| column.text == alike[0].text);
        same.extend(alike.iter().skip(usize::from(is_one_thing)).map(|column| column.place));
    }
    same
}

/// The expression without its casts.
pub(crate) fn plain(expr: &Expr) -> Expr {
    let mut plain = expr.clone();
    let _whole = plain.visit(&mut Plain);
    plain
}

struct Plain;

impl VisitorMut for Plain {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr: inner, .. } = expr {
            *expr = std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.into()));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn read(sql: &str) -> String {
        told_apart(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    #[test]
    fn columns_of_one_name_have_names_of_their_own() {
        for (sql, wanted) in [
            ("SELECT 1 AS a, 2 AS A", "SELECT 1 AS \"?same?0?a\", 2 AS \"?same?1?a\""),
            ("SELECT t.a, 1 AS a FROM t", "SELECT t.a AS \"?same?0?a\", 1 AS \"?same?1?a\" FROM t"),
            ("SELECT a, a AS a, b FROM t ORDER BY a", "SELECT a, a AS \"?same?1?a\", b FROM t ORDER BY a"),
            ("SELECT a, a::TEXT, '1'::INT, '1'::TEXT", "SELECT a, a::TEXT AS \"?same?1?a\", '1'::INT, '1'::TEXT AS \"?same?3?text\""),
            ("SELECT NULL, NULL", "SELECT NULL, NULL AS \"?same?1??column?\""),
            ("SELECT sum(a), sum(a::TEXT) FROM t", "SELECT sum(a), sum(coalesce(a::TEXT)) AS \"?same?1?sum\" FROM t"),
            ("WITH t AS (SELECT 1 AS a, 2 AS a) SELECT 1", "WITH t AS (SELECT 1 AS \"?same?0?a\", 2 AS \"?same?1?a\") SELECT 1"),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
        for sql in ["SELECT a AS b, b AS c, 'b' FROM t", "SELECT t.a, u.a FROM t, u", "SELECT 1 AS \"A\", 2 AS a"] {
            assert_eq!(read(sql), sql);
        }
    }

    #[test]
    fn they_are_called_what_they_were_called() {
        let of = |names: [&str; 3]| Arc::new(Schema::new(names.map(|name| Field::new(name, DataType::Utf8, true)).to_vec()));
        assert_eq!(shown(&of(["?same?0?a", "?same?1?a?b", "c"])), of(["a", "a?b", "c"]));
        let named = of(["a", "?column?", "?same?"]);
        assert_eq!(shown(&named), named);
    }
}
