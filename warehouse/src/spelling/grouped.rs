//! Expressions that rows are grouped by and that casts alone tell apart, as `label` and `label::text`: the engine calls both `label`, and groups by no two of one name.
//!
//! As with calls, `coalesce` of one value is that value under another name. It is written so wherever the expression stands beside its GROUP BY, and its column is called what it was
//! called. What is written so without need is the same all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, Expr, GroupByExpr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};

use super::apart::{folded, hidden, plain};
use super::{call, having, names};

/// So many expressions are told apart from one another: each is a level deeper than the one before.
const GROUPS: usize = 16;

/// And so many in all: each is looked for in the whole query.
const ALL: usize = 64;

/// Tells apart what a query groups by, in all that it says of that.
pub(super) fn told_apart(query: &mut Query) {
    named_by_number(query);
    if let Some(mut groups) = told(&mut query.body) {
        // Nothing ends the visit.
        let _whole = query.order_by.visit(&mut groups);
    }
}

/// Names the columns by whose numbers groups are put in order: one that is computed of groups, and has no name, the engine does not find again.
fn named_by_number(query: &mut Query) {
    let (SetExpr::Select(select), Some(OrderBy { kind: OrderByKind::Expressions(keys), .. })) = (query.body.as_mut(), &query.order_by)
    else {
        return;
    };
    if !matches!(&select.group_by, GroupByExpr::Expressions(groups, _) if !groups.is_empty()) {
        return;
    }
    let known = Known::of(select);
    for place in keys.iter().filter_map(|key| place(&key.expr)) {
        if let Some(item) = select.projection.get_mut(place)
            && let SelectItem::UnnamedExpr(expr) = &*item
            && column_name(expr).is_none()
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: known.alias(place, unaliased(expr)) };
        }
    }
}

/// What the columns of a list are called.
struct Known {
    times: BTreeMap<String, usize>,
    /// Whether each is written out.
    is_whole: bool,
    /// Names in HAVING, of which the engine would make what the list gives the name to.
    meant: BTreeSet<String>,
}

impl Known {
    fn of(select: &Select) -> Self {
        let mut known = Self { times: BTreeMap::new(), is_whole: true, meant: having::meant(select) };
        for item in &select.projection {
            match called(item) {
                Some(name) => *known.times.entry(name).or_default() += 1,
                None => known.is_whole = false,
            }
        }
        known
    }

    /// The alias by which a column is called what it was called, by a name of its own where others are called so or something else is meant by it.
    fn alias(&self, place: usize, called: String) -> Ident {
        let is_alone = self.is_whole && self.times.get(&called) == Some(&1) && !self.meant.contains(&called);
        if is_alone { Ident::with_quote('"', called) } else { hidden(place, &called) }
    }
}

/// The place of the column that a number means.
fn place(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => number.parse::<usize>().ok()?.checked_sub(1),
        _ => None,
    }
}

/// What is told apart in a query that is one SELECT.
fn told(body: &mut SetExpr) -> Option<Groups> {
    match body {
        SetExpr::Select(select) => within(select),
        SetExpr::SetOperation { left, right, .. } => {
            let _orders_nothing = (told(left), told(right));
            None
        }
        _ => None,
    }
}

fn within(select: &mut Select) -> Option<Groups> {
    let mut groups = Groups::of(select);
    if groups.alike.is_empty() {
        return None;
    }
    let known = Known::of(select);
    for (place, item) in select.projection.iter_mut().enumerate() {
        groups.column(place, item, &known);
    }
    let _whole = select.distinct.visit(&mut groups);
    let _whole = select.group_by.visit(&mut groups);
    let _whole = select.having.visit(&mut groups);
    let _whole = select.named_window.visit(&mut groups);
    let _whole = select.qualify.visit(&mut groups);
    Some(groups)
}

/// The name of a column; none of those that `*` stands for.
fn called(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(unaliased(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

fn unaliased(expr: &Expr) -> String {
    names::name(expr).unwrap_or_else(|| names::UNNAMED.to_owned())
}

/// Expressions that have names of their own, and how many are between each and its name.
struct Groups {
    alike: Vec<(Expr, usize)>,
    /// How many expressions deep the visit is in one of them, itself included, and the names of that one.
    within: usize,
    times: usize,
}

impl Groups {
    fn of(select: &Select) -> Self {
        let mut named: BTreeMap<String, Vec<&Expr>> = BTreeMap::new();
        if let GroupByExpr::Expressions(groups, _) = &select.group_by {
            let (aliases, mut seen) = (aliases(&select.projection), BTreeSet::new());
            for group in groups.iter().flat_map(parts) {
                let column = stands_for(group, &aliases).filter(|place| seen.insert(*place));
                let column = column.and_then(|place| expression(select.projection.get(place)?));
                for group in [Some(group), column].into_iter().flatten() {
                    let alike = named.entry(engines_name(group)).or_default();
                    if alike.len() <= GROUPS && !alike.iter().any(|known| is_same(known, group)) {
                        alike.push(group);
                    }
                }
            }
        }
        let of_one_name = |alike: Vec<&Expr>| {
            let (cast, plain): (Vec<&Expr>, Vec<&Expr>) = alike.into_iter().partition(|expr| plain(expr) != **expr);
            let keeps_its_name = usize::from(plain.is_empty());
            let others = cast.into_iter().skip(keeps_its_name).take(GROUPS).cloned();
            others.enumerate().map(|(before, expr)| (expr, before + 1)).collect::<Vec<_>>()
        };
        Self { alike: named.into_values().flat_map(of_one_name).take(ALL).collect(), within: 0, times: 0 }
    }

    /// Writes a column of the list, which is called what it was called: by a name of its own where others are called so.
    fn column(&mut self, place: usize, item: &mut SelectItem, known: &Known) {
        let before = called(item);
        let _whole = item.visit(self);
        let (SelectItem::UnnamedExpr(expr), Some(before)) = (&*item, before) else { return };
        if unaliased(expr) == before {
            return;
        }
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: known.alias(place, before) };
    }
}

impl VisitorMut for Groups {
    type Break = ();

    /// What such an expression is made of stays as it is.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.within > 0 {
            self.within += 1;
        } else if let Some((_, times)) = self.alike.iter().find(|(known, _)| is_same(known, expr)) {
            (self.within, self.times) = (1, *times);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.within == 1 {
            *expr = (0..self.times).fold(expr.clone(), |value, _| call("coalesce", vec![value]));
        }
        self.within = self.within.saturating_sub(1);
        ControlFlow::Continue(())
    }
}

/// The expressions that a part of GROUP BY lists.
fn parts(group: &Expr) -> Vec<&Expr> {
    match group {
        Expr::Tuple(parts) => parts.iter().collect(),
        Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => sets.iter().flatten().collect(),
        group => vec![group],
    }
}

/// The place of the column of the list that a number or an alias means; whether the alias is not rather a column of a relation is not known here.
fn stands_for(group: &Expr, aliases: &BTreeMap<String, usize>) -> Option<usize> {
    match group {
        Expr::Value(_) => place(group),
        Expr::Identifier(name) => aliases.get(&folded(name)).copied(),
        _ => None,
    }
}

/// The places of the names that a list gives.
fn aliases(columns: &[SelectItem]) -> BTreeMap<String, usize> {
    let mut aliases = BTreeMap::new();
    for (place, item) in columns.iter().enumerate() {
        if let SelectItem::ExprWithAlias { alias, .. } = item {
            aliases.entry(folded(alias)).or_insert(place);
        }
    }
    aliases
}

fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// What the engine calls the expression, relations left out.
fn engines_name(expr: &Expr) -> String {
    let mut name = plain(expr);
    let _whole = name.visit(&mut Unqualified);
    name.to_string()
}

struct Unqualified;

impl VisitorMut for Unqualified {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Nested(inner) = expr {
            *expr = std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.into()));
        }
        if let Some(name) = column_name(expr) {
            *expr = Expr::Identifier(Ident::new(name));
        }
        ControlFlow::Continue(())
    }
}

/// The name of a column, whatever relation it is of.
pub(super) fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        _ => None,
    }
}

/// Whether both say the same of columns of the same names, however their casts are written.
fn is_same(mut one: &Expr, mut other: &Expr) -> bool {
    loop {
        (one, other) = match (one, other) {
            (Expr::Nested(inner), other) => (inner.as_ref(), other),
            (one, Expr::Nested(inner)) => (one, inner.as_ref()),
            (Expr::Cast { kind, expr: one, data_type, .. }, Expr::Cast { kind: others, expr: other, data_type: to, .. })
                if data_type == to && (*kind == CastKind::TryCast) == (*others == CastKind::TryCast) =>
            {
                (one.as_ref(), other.as_ref())
            }
            (one, other) => {
                let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                return if is_column(one) && is_column(other) { column_name(one) == column_name(other) } else { one == other };
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use crate::spelling::apart;

    fn read(sql: &str) -> String {
        apart::told_apart(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    #[test]
    fn what_casts_alone_tell_apart_has_two_names() {
        for (sql, wanted) in [
            (
                "SELECT a, a::TEXT, count(*) FROM t GROUP BY a, a::TEXT",
                "SELECT a, coalesce(a::TEXT) AS \"?same?1?a\", count(*) FROM t GROUP BY a, coalesce(a::TEXT)",
            ),
            (
                "SELECT t.a::TEXT, upper(a::TEXT) FROM t GROUP BY t.a, CAST(a AS TEXT) HAVING (a::TEXT) > '1' ORDER BY a::TEXT",
                "SELECT coalesce(t.a::TEXT) AS \"a\", upper(coalesce(a::TEXT)) FROM t GROUP BY t.a, coalesce(CAST(a AS TEXT)) \
                 HAVING coalesce((t.a::TEXT)) > '1' ORDER BY coalesce(a::TEXT)",
            ),
            (
                "SELECT a::INT AS b, a::TEXT AS c, a::DATE AS d FROM t GROUP BY 1, c, d",
                "SELECT a::INT AS b, coalesce(a::TEXT) AS c, coalesce(coalesce(a::DATE)) AS d FROM t GROUP BY 1, c, d",
            ),
            (
                "SELECT 1 FROM t GROUP BY ROLLUP (a, a::TEXT) UNION SELECT a::INT + 1 FROM t GROUP BY a + 1, a::INT + 1",
                "SELECT 1 FROM t GROUP BY ROLLUP (a, coalesce(a::TEXT)) UNION \
                 SELECT coalesce(a::INT + 1) AS \"?column?\" FROM t GROUP BY a + 1, coalesce(a::INT + 1)",
            ),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn a_column_of_groups_by_whose_number_they_are_ordered_has_a_name() {
        for (sql, wanted) in [
            (
                "SELECT upper(a), count(*) FROM t GROUP BY a ORDER BY 1",
                "SELECT upper(a) AS \"upper\", count(*) FROM t GROUP BY a ORDER BY 1",
            ),
            (
                "SELECT a || 'x', 1 + a FROM t GROUP BY a ORDER BY 2",
                "SELECT a || 'x', 1 + a AS \"?same?1??column?\" FROM t GROUP BY a ORDER BY 2",
            ),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn a_column_in_having_is_the_relation_s_whatever_the_list_calls_so() {
        for (sql, wanted) in [
            (
                "SELECT a::TEXT, count(*) FROM t GROUP BY a HAVING a > 0 ORDER BY 1",
                "SELECT coalesce(a::TEXT) AS \"a\", count(*) FROM t GROUP BY a HAVING t.a > 0 ORDER BY 1",
            ),
            (
                "SELECT a::TEXT, count(*) FROM t, u GROUP BY a HAVING a > 0 ORDER BY 1",
                "SELECT a::TEXT AS \"?same?0?a\", count(*) FROM t, u GROUP BY a HAVING a > 0 ORDER BY 1",
            ),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
    }

    /// Each of these lists is as long as a statement may be.
    #[test]
    fn long_lists_take_no_time_that_grows_faster_than_they() {
        let many = |item: &dyn Fn(usize) -> String, count: usize| (0..count).map(item).collect::<Vec<_>>().join(",");
        let began = std::time::Instant::now();
        for sql in [
            format!("SELECT {} FROM t GROUP BY {}", many(&|n| format!("1 a{n}"), 50_000), many(&|n| format!("b{n}"), 50_000)),
            format!(
                "SELECT {} FROM t GROUP BY a ORDER BY {}",
                many(&|n| format!("f{n}(a)"), 40_000),
                many(&|n| (n + 1).to_string(), 40_000)
            ),
            format!("SELECT f({}) FROM t GROUP BY {}", many(&|_| "a".to_owned(), 200_000), many(&|_| "1".to_owned(), 200_000)),
            format!(
                "SELECT {} FROM t GROUP BY {}",
                many(&|_| "a".to_owned(), 200_000),
                many(&|n| format!("b{n},b{n}::INT,b{n}::TEXT"), 1_500)
            ),
        ] {
            assert!(!read(&sql).is_empty());
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
    }

    #[test]
    fn everything_else_stays() {
        for sql in [
            "SELECT a::TEXT, count(*) FROM t GROUP BY a",
            "SELECT t.a, u.a FROM t, u GROUP BY t.a, u.a, t.b::INT, a + 1",
            "SELECT a::TEXT AS b FROM t GROUP BY b, CAST(a AS TEXT)",
            "SELECT a, b, upper(a) FROM t GROUP BY a ORDER BY 1, upper(a)",
            "SELECT upper(a) FROM t ORDER BY 1",
        ] {
            assert_eq!(read(sql), sql);
        }
    }
}
