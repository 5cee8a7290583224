//! Statements that are prepared in words: PREPARE keeps one under a name, EXECUTE asks it with values in the places of its parameters. Their names are those of the statements
//! that are prepared through the protocol, and DEALLOCATE gives up either.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Query, Statement, Value, ValueWithSpan, Visit as _, Visitor, visit_expressions, visit_expressions_mut,
};

use super::Connection;
use crate::pg::prepared::planned;
use crate::roles::fault::Refusal;
use crate::roles::gate::{Wish, wish};
use crate::roles::instants;
use crate::spelling;

/// Values may add so many expressions to a statement, and so many bytes of text, wherever they stand together.
const PARTS: usize = 1_000;
const BYTES: usize = 1 << 20;

/// A statement that was prepared in words.
pub(super) struct Worded {
    ask: Box<Statement>,
    /// Types of its first parameters, as they were stated.
    types: Vec<DataType>,
}

impl Connection {
    /// Keeps a statement under a name, once it is known that it can be planned.
    ///
    /// # Errors
    /// What refuses the statement whatever its values are, with its place in `sql`; 42P05 where the name is taken, 53400 where too many statements are held.
    pub(in crate::pg) async fn keep(&self, name: &str, ask: &Statement, types: &[DataType], sql: &str) -> Result<(), Refusal> {
        let worded = Worded { ask: Box::new(ask.clone()), types: types.to_vec() };
        // Of some parameters the engine finds no type where they stand; of NULL in their place it wants none.
        if let Err(refusal) = planned(self, &worded.before_values(), sql).await
            && let Err(other) = planned(self, &worded.without_values(), sql).await
        {
            let is_of_types = other.message != refusal.message;
            return Err(if is_of_types {
                refusal.with_hint("state the types of the parameters: PREPARE name (int, text) AS ...")
            } else {
                refusal
            });
        }
        self.prepare(name, ask.to_string().len() + size_of_val(types))?;
        self.inner().worded.insert(name.to_owned(), worded);
        Ok(())
    }

    /// The statement of that name with these values.
    ///
    /// # Errors
    /// 26000 where there is none, 42601 where its parameters are more or fewer, 0A000 or 42703 where one is a query or a column, 54000 where they would make it too long, and what refuses a
    /// statement that does not only read.
    pub(in crate::pg) fn executed(&self, name: &str, values: &[Expr]) -> Result<Box<Statement>, Refusal> {
        let missing = || Refusal::new("26000", format!("prepared statement \"{name}\" does not exist"));
        let filled = self.inner().worded.get(name).ok_or_else(missing)?.filled(name, values)?;
        match wish(filled)? {
            Wish::Ask(ask) => Ok(ask),
            _ => Err(missing()),
        }
    }
}

impl Worded {
    fn filled(&self, name: &str, values: &[Expr]) -> Result<Statement, Refusal> {
        let sizes: Vec<(usize, usize)> = values.iter().map(size).collect();
        let (mut highest, mut parts, mut bytes) = (self.types.len(), 0, 0);
        let _whole: ControlFlow<()> = visit_expressions(self.ask.as_ref(), |expr| {
            if let Some(number) = parameter(expr) {
                highest = highest.max(number);
                let (more, longer) = number.checked_sub(1).and_then(|place| sizes.get(place)).copied().unwrap_or_default();
                (parts, bytes) = (parts + more, bytes + longer);
            }
            ControlFlow::Continue(())
        });
        if values.len() != highest {
            let wrong = format!("wrong number of parameters for prepared statement \"{name}\"");
            return Err(Refusal::new("42601", wrong).with_hint(format!("it has {highest}, and {} were given", values.len())));
        }
        if let Some(refusal) = values.iter().find_map(|value| value.visit(&mut Apart).break_value()) {
            return Err(refusal);
        }
        if parts > PARTS || bytes > BYTES {
            let wrong = format!("the values of prepared statement \"{name}\" are too long for all the places in which they stand");
            return Err(Refusal::new("54000", wrong).with_hint("put them as parameters of the protocol, as drivers do"));
        }
        Ok(self.with(|place, _| values.get(place).map(|value| self.typed(place, value))))
    }

    /// The statement whose parameters have the types that were stated.
    fn before_values(&self) -> Statement {
        let moments = instants::of(&self.ask);
        self.with(|place, parameter| {
            self.types.get(place).filter(|_| !moments.contains(&(place + 1))).map(|_| self.typed(place, parameter))
        })
    }

    /// The statement whose parameters are NULL, but for those that say an instant.
    fn without_values(&self) -> Statement {
        let moments = instants::of(&self.ask);
        let null = Expr::Value(Value::Null.into());
        self.with(|place, _| Some(self.typed(place, &null)).filter(|_| !moments.contains(&(place + 1))))
    }

    /// The statement with what is given for a parameter, by its place from 0, in its place.
    fn with(&self, given: impl Fn(usize, &Expr) -> Option<Expr>) -> Statement {
        let mut filled = self.ask.as_ref().clone();
        let _whole: ControlFlow<()> = visit_expressions_mut(&mut filled, |expr| {
            if let Some(place) = parameter(expr).and_then(|number| number.checked_sub(1))
                && let Some(value) = given(place, expr)
            {
                *expr = value;
            }
            ControlFlow::Continue(())
        });
        filled
    }

    /// The value in the type that was stated for it.
    fn typed(&self, place: usize, value: &Expr) -> Expr {
        let value = Box::new(value.clone());
        match self.types.get(place) {
            Some(data_type) => {
                let (kind, data_type) = (CastKind::Cast, data_type.clone());
                spelling::expression(Expr::Cast { kind, expr: value, data_type, array: false, format: None })
            }
            None => Expr::Nested(value),
        }
    }
}

/// Ends where a value is not apart from the rows of the statement: at a query, and at a column, which would be taken for one of the statement's.
struct Apart;

impl Visitor for Apart {
    type Break = Refusal;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        ControlFlow::Break(Refusal::new("0A000", "cannot use subquery in EXECUTE parameter"))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                ControlFlow::Break(Refusal::new("42703", format!("column \"{expr}\" does not exist")))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// How many expressions a value has beside itself, and how many bytes of text.
fn size(value: &Expr) -> (usize, usize) {
    let mut parts: usize = 0;
    let _whole: ControlFlow<()> = visit_expressions(value, |_| {
        parts += 1;
        ControlFlow::Continue(())
    });
    (parts.saturating_sub(1), value.to_string().len())
}

/// The number of a parameter.
fn parameter(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(mark), .. }) => mark.strip_prefix('$')?.parse().ok(),
        _ => None,
    }
}
