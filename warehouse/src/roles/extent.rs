//! How large the plan of a statement may become, told from its words. A few that are put into one another again and again make a plan of millions
//! of parts, for which no memory suffices and which nothing stops while it is made: they are refused before.
//!
//! What is counted is what the planner writes out: a query of WITH wherever it is named, a column wherever a condition on it moves below its query,
//! be it stated or made by the planner for a join, a smallest value or the first rows of an order.

mod calls;
pub(super) mod rereadings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, Statement, TableAlias, TableFactor, TableWithJoins, Visit, Visitor,
};

use super::fault::Refusal;
use crate::spelling;

/// What a part of a plan weighs. A literal weighs 1, so that long lists of them are let through.
const PART: u64 = 100;
/// What a relation weighs beside its columns.
const RELATION: u64 = 20 * PART;
/// What a statement may weigh.
const LIMIT: u64 = 20_000 * PART;
/// Columns that a query may give, as in PostgreSQL.
const COLUMNS: usize = 1_664;
/// Columns that a relation is taken to have.
const USUAL: usize = 32;
/// Queries of WITH that can be named at one place.
const WITH: usize = 1_000;

/// # Errors
/// 54001 where the plan would be too large or take too long to make, 54011 where a query has too many columns.
pub(super) fn check(statement: &Statement) -> Result<(), Refusal> {
    calls::check(statement)?;
    match statement {
        Statement::Query(query) => Scale::default().query(query).map(|_| ()),
        Statement::Explain { statement, .. } => check(statement),
        other => Scale::default().words(other, &Names::new()).map(|_| ()),
    }
}

/// # Errors
/// 54011 where so many columns are too many.
pub(super) fn check_columns(count: usize) -> Result<(), Refusal> {
    if count > COLUMNS {
        return Err(Refusal::new("54011", format!("target lists can have at most {COLUMNS} entries")));
    }
    Ok(())
}

/// What an expression over each column weighs once it has moved below the query that gives the column. Under the empty name: over those that have none.
type Names = BTreeMap<String, u64>;

/// A query, as others put it into themselves.
#[derive(Clone, Debug, Default)]
struct Extent {
    weight: u64,
    /// Its columns in order, those that are known.
    columns: Vec<(String, u64)>,
    /// How many more it is taken to have.
    others: usize,
    /// Columns of what it is made of, by which its rows may be put in order.
    within: Names,
}

impl Extent {
    fn relation() -> Self {
        Self { weight: RELATION, others: USUAL, ..Self::default() }
    }

    /// Under the names of an alias.
    fn named(mut self, alias: &TableAlias) -> Self {
        let most = self.columns.iter().map(|(_, moved)| *moved).max().unwrap_or(PART);
        let is_known = self.others == 0;
        self.others = self.others.saturating_sub(alias.columns.len());
        for (index, column) in alias.columns.iter().enumerate() {
            let name = lower(&column.name);
            match self.columns.get_mut(index) {
                Some(place) if is_known => place.0 = name,
                _ => self.columns.push((name, most)),
            }
        }
        self
    }

    /// What conditions on all its columns weigh.
    fn moved(&self) -> u64 {
        self.columns.iter().fold(0_u64, |sum, (_, moved)| sum.saturating_add(*moved))
    }

    /// Both, one below the other: what moves below them moves into each.
    fn beside(mut self, other: Self, operator: SetOperator) -> Result<Self, Refusal> {
        let joined = if operator == SetOperator::Union { 0 } else { self.moved().saturating_add(other.moved()) };
        self.weight = fits(self.weight.saturating_add(other.weight).saturating_add(joined).saturating_add(PART))?;
        self.within = Names::new();
        for (mine, (_, moved)) in self.columns.iter_mut().zip(&other.columns) {
            mine.1 = mine.1.saturating_add(*moved);
        }
        self.others = self.others.max(other.others);
        Ok(self)
    }
}

/// What stands in FROM.
#[derive(Default)]
struct Sources {
    weight: u64,
    parts: Vec<(String, Extent)>,
    names: Names,
}

impl Sources {
    fn add(&mut self, name: String, extent: Extent) -> Result<(), Refusal> {
        self.weight = fits(self.weight.saturating_add(extent.weight).saturating_add(PART))?;
        know(&mut self.names, &extent.columns);
        self.parts.push((name, extent));
        Ok(())
    }
}

fn fits(weight: u64) -> Result<u64, Refusal> {
    if weight > LIMIT { Err(complex()) } else { Ok(weight) }
}

fn complex() -> Refusal {
    Refusal::new("54001", "the statement is too complex: its plan would have too many parts")
        .with_hint("a query of WITH counts wherever it is named, and a column wherever a condition on it moves; ask in several statements")
}

/// Of several columns of one name the heaviest is meant.
fn know(names: &mut Names, columns: &[(String, u64)]) {
    for (column, moved) in columns {
        let known = names.entry(column.clone()).or_insert(0);
        *known = (*known).max(*moved);
    }
}

fn lower(name: &Ident) -> String {
    name.value.to_lowercase()
}

/// Weighs statements.
#[derive(Default)]
struct Scale {
    /// The queries of WITH that can be named here; of two of one name the later is meant.
    with: Vec<(String, Extent)>,
}

impl Scale {
    /// What the expressions and queries within a piece of a statement weigh, as they stand and once they have moved below the query that gives these columns.
    fn words(&mut self, piece: &impl Visit, names: &Names) -> Result<(u64, u64), Refusal> {
        let mut words = Words { scale: self, names, stand: 0, moved: 0, is_conditional: false, depth: 0 };
        match piece.visit(&mut words) {
            ControlFlow::Break(refusal) => Err(refusal),
            ControlFlow::Continue(()) if words.is_conditional => Ok((words.stand.max(words.moved), words.moved)),
            ControlFlow::Continue(()) => Ok((words.stand, words.moved)),
        }
    }

    fn query(&mut self, query: &Query) -> Result<Extent, Refusal> {
        let outside = self.with.len();
        for with in query.with.iter().flat_map(|with| &with.cte_tables) {
            let extent = self.query(&with.query)?.named(&with.alias);
            self.with.push((lower(&with.alias.name), extent));
            if self.with.len() > WITH {
                return Err(complex());
            }
        }
        let mut extent = self.body(&query.body)?;
        let mut names = std::mem::take(&mut extent.within);
        know(&mut names, &extent.columns);
        let (_, order) = self.words(&query.order_by, &names)?;
        let (limit, _) = self.words(&query.limit_clause, &Names::new())?;
        extent.weight = fits(extent.weight.saturating_add(order).saturating_add(limit))?;
        self.with.truncate(outside);
        Ok(extent)
    }

    fn body(&mut self, body: &SetExpr) -> Result<Extent, Refusal> {
        // A chain of thousands leans to the left and is walked without recursion.
        let (mut first, mut others) = (body, Vec::new());
        while let SetExpr::SetOperation { left, op, right, .. } = first {
            others.push((*op, right.as_ref()));
            first = left.as_ref();
        }
        let mut extent = match first {
            SetExpr::Select(select) => self.select(select)?,
            SetExpr::Query(query) => self.query(query)?,
            other => {
                let (stand, _) = self.words(other, &Names::new())?;
                Extent { weight: fits(stand.saturating_add(RELATION))?, ..Extent::relation() }
            }
        };
        for (operator, other) in others.into_iter().rev() {
            let other = self.body(other)?;
            extent = extent.beside(other, operator)?;
        }
        Ok(extent)
    }

    fn select(&mut self, select: &Select) -> Result<Extent, Refusal> {
        let mut sources = Sources::default();
        for table in &select.from {
            self.joined(table, &mut sources)?;
        }
        let mut extent = Extent { weight: sources.weight.saturating_add(PART), ..Extent::default() };
        for item in &select.projection {
            self.item(item, select, &sources, &mut extent)?;
            check_columns(extent.columns.len())?;
        }
        let conditions = [&select.selection, &select.having, &select.qualify];
        for condition in conditions.into_iter().flatten() {
            let (_, moved) = self.words(condition, &sources.names)?;
            extent.weight = fits(extent.weight.saturating_add(moved))?;
        }
        let (groups, _) = self.words(&select.group_by, &sources.names)?;
        let (windows, _) = self.words(&select.named_window, &sources.names)?;
        let (distinct, _) = self.words(&select.distinct, &sources.names)?;
        let rest = groups.saturating_add(windows).saturating_add(distinct).saturating_add(sets(&select.group_by));
        extent.weight = fits(extent.weight.saturating_add(rest))?;
        extent.within = sources.names;
        Ok(extent)
    }

    /// One item of a list of columns.
    fn item(&mut self, item: &SelectItem, select: &Select, sources: &Sources, extent: &mut Extent) -> Result<(), Refusal> {
        let (name, expr) = match item {
            SelectItem::UnnamedExpr(expr) => (named(expr), expr),
            SelectItem::ExprWithAlias { expr, alias } => (lower(alias), expr),
            SelectItem::Wildcard(_) => return all(None, sources, extent),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), _) => {
                let of = spelling::last(of).map(lower);
                return all(of, sources, extent);
            }
            other => {
                let (stand, _) = self.words(other, &sources.names)?;
                extent.others += 1;
                extent.weight = fits(extent.weight.saturating_add(stand).saturating_add(PART))?;
                return Ok(());
            }
        };
        let (stand, moved) = self.words(expr, &sources.names)?;
        extent.weight = fits(extent.weight.saturating_add(stand).saturating_add(PART))?;
        // No condition on what is added up moves below the adding up.
        let moved = if is_added_up(&name, expr, &select.group_by) { stand } else { moved };
        extent.columns.push((name, moved));
        Ok(())
    }

    fn joined(&mut self, table: &TableWithJoins, sources: &mut Sources) -> Result<(), Refusal> {
        self.factor(&table.relation, sources)?;
        for join in &table.joins {
            self.factor(&join.relation, sources)?;
            let (_, moved) = self.words(&join.join_operator, &sources.names)?;
            let paired = paired(&join.join_operator, sources);
            sources.weight = fits(sources.weight.saturating_add(moved).saturating_add(paired))?;
        }
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor, sources: &mut Sources) -> Result<(), Refusal> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let word = spelling::last(name).map(lower).unwrap_or_default();
                let with = self.with.iter().rev().find(|(known, _)| name.0.len() == 1 && *known == word);
                let extent = with.map_or_else(Extent::relation, |(_, extent)| extent.clone());
                under(word, alias.as_ref(), extent, sources)
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let extent = self.query(subquery)?;
                under(String::new(), alias.as_ref(), extent, sources)
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.joined(table_with_joins, sources),
            other => {
                let (stand, _) = self.words(other, &sources.names)?;
                let alias = match other {
                    TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } | TableFactor::UNNEST { alias, .. } => {
                        alias.as_ref()
                    }
                    _ => None,
                };
                under(String::new(), alias, Extent { weight: stand.saturating_add(RELATION), ..Extent::relation() }, sources)
            }
        }
    }
}

/// What the condition of a join weighs that names columns alone, or not even them.
fn paired(operator: &JoinOperator, sources: &Sources) -> u64 {
    let (JoinOperator::Join(constraint)
    | JoinOperator::Inner(constraint)
    | JoinOperator::Left(constraint)
    | JoinOperator::LeftOuter(constraint)
    | JoinOperator::Right(constraint)
    | JoinOperator::RightOuter(constraint)
    | JoinOperator::FullOuter(constraint)
    | JoinOperator::Semi(constraint)
    | JoinOperator::LeftSemi(constraint)
    | JoinOperator::RightSemi(constraint)
    | JoinOperator::Anti(constraint)
    | JoinOperator::LeftAnti(constraint)
    | JoinOperator::RightAnti(constraint)) = operator
    else {
        return 0;
    };
    match constraint {
        JoinConstraint::Using(names) => {
            names.iter().filter_map(spelling::last).fold(0, |sum: u64, name| sum.saturating_add(moved(&sources.names, Some(name))))
        }
        JoinConstraint::Natural => sources.parts.iter().fold(0, |sum: u64, (_, part)| sum.saturating_add(part.moved())),
        JoinConstraint::On(_) | JoinConstraint::None => 0,
    }
}

/// What an expression over a column weighs; one whose name is not known may be one that has none.
fn moved(names: &Names, name: Option<&Ident>) -> u64 {
    let known = name.and_then(|name| names.get(&lower(name)));
    known.or_else(|| names.get("")).copied().unwrap_or(PART)
}

/// Adds a relation under its alias, where it has one.
fn under(name: String, alias: Option<&TableAlias>, extent: Extent, sources: &mut Sources) -> Result<(), Refusal> {
    match alias {
        Some(alias) => sources.add(lower(&alias.name), extent.named(alias)),
        None => sources.add(name, extent),
    }
}

/// All columns of the relation of this name, or of every relation.
fn all(of: Option<String>, sources: &Sources, extent: &mut Extent) -> Result<(), Refusal> {
    for (_, part) in sources.parts.iter().filter(|(name, _)| of.as_ref().is_none_or(|of| of == name)) {
        let count = u64::try_from(part.columns.len().saturating_add(part.others)).unwrap_or(u64::MAX);
        extent.weight = fits(extent.weight.saturating_add(count.saturating_mul(PART)))?;
        extent.columns.extend(part.columns.iter().cloned());
        extent.others = extent.others.saturating_add(part.others);
    }
    Ok(())
}

/// The name of a column to which none is given; empty where it is the planner's own.
fn named(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => lower(name),
        Expr::CompoundIdentifier(names) => names.last().map(lower).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whether the query groups, and not by this column.
fn is_added_up(name: &str, expr: &Expr, group_by: &GroupByExpr) -> bool {
    let GroupByExpr::Expressions(groups, _) = group_by else { return false };
    let is_it = |group: &Expr| match group {
        // By its number; or by several at once.
        Expr::Value(_) | Expr::Cube(_) | Expr::Rollup(_) | Expr::GroupingSets(_) | Expr::Tuple(_) => true,
        Expr::Identifier(group) if lower(group) == name => true,
        group => group == expr,
    };
    !groups.is_empty() && !groups.iter().any(is_it)
}

/// What the sets weigh by which rows are grouped: CUBE is each choice of its columns.
fn sets(group_by: &GroupByExpr) -> u64 {
    let (groups, modifiers) = match group_by {
        GroupByExpr::Expressions(groups, modifiers) => (groups.as_slice(), modifiers),
        GroupByExpr::All(modifiers) => (<&[Expr]>::default(), modifiers),
    };
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let choices = |length: usize| u32::try_from(length).ok().and_then(|length| 2_u64.checked_pow(length)).unwrap_or(u64::MAX);
    let of = |group: &Expr| match group {
        Expr::Cube(columns) => (choices(columns.len()), columns.len()),
        Expr::Rollup(columns) => (count(columns.len()).saturating_add(1), columns.len()),
        Expr::GroupingSets(sets) => (count(sets.len()), sets.iter().map(Vec::len).max().unwrap_or(0)),
        _ => (1, 1),
    };
    let (mut number, mut columns) = (1_u64, 0_usize);
    for (more, within) in groups.iter().map(of) {
        (number, columns) = (number.saturating_mul(more), columns.saturating_add(within));
    }
    if modifiers.contains(&GroupByWithModifier::Cube) {
        number = number.saturating_mul(choices(columns));
    }
    number.saturating_mul(count(columns))
}

/// Adds up what stands within a piece of a statement.
struct Words<'a> {
    scale: &'a mut Scale,
    names: &'a Names,
    stand: u64,
    moved: u64,
    /// Whether the planner makes conditions of it.
    is_conditional: bool,
    /// Of queries within: each is weighed as one, when it is come to.
    depth: usize,
}

impl Words<'_> {
    fn add(&mut self, stand: u64, moved: u64) -> ControlFlow<Refusal> {
        self.stand = self.stand.saturating_add(stand);
        self.moved = self.moved.saturating_add(moved);
        match fits(self.stand) {
            Ok(_) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}

impl Visitor for Words<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        let weight = match self.depth {
            // Its rows may be looked for among others.
            0 => self.scale.query(query).map(|extent| extent.weight.saturating_add(extent.moved())),
            _ => Ok(0),
        };
        self.depth += 1;
        match weight {
            Ok(weight) => self.add(weight, weight),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.depth = self.depth.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Value(_) => self.add(1, 1),
            Expr::Identifier(name) => self.add(PART, moved(self.names, Some(name))),
            Expr::CompoundIdentifier(names) => self.add(PART, moved(self.names, names.last())),
            Expr::Function(call) => {
                let name = spelling::last(&call.name).map(lower);
                self.is_conditional |= call.filter.is_some() || name.is_some_and(|name| ["min", "max"].contains(&name.as_str()));
                self.add(PART, PART)
            }
            _ => self.add(PART, PART),
        }
    }
}
