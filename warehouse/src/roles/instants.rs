//! Parameters that say as of when a view is asked (`labels_at($1)`). A relation is made when a statement is planned, before its parameters are there: so they are written into it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::common::ParamValues;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Statement, TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, visit_expressions,
    visit_expressions_mut,
};
use jiff::Timestamp;
use schemas::table::instant;

use super::fault::Refusal;
use crate::spelling;

/// Any instant: a statement that is only described has the columns of every moment.
const STAND_IN: &str = "1970-01-01T00:00:00Z";

/// The numbers of the parameters of `statement` that say an instant.
pub(crate) fn of(statement: &Statement) -> BTreeSet<usize> {
    let mut found = Numbers(BTreeSet::new());
    let _whole = Visit::visit(statement, &mut found);
    found.0
}

/// The statement in which the parameters that say an instant are `values`.
///
/// # Errors
/// 22004 where one is NULL or missing, 22007 where one is no instant.
pub(crate) fn stated(mut statement: Statement, values: &ParamValues) -> Result<Statement, Refusal> {
    let text = |number: usize| {
        let missing = || Refusal::new("22004", format!("parameter ${number} says as of when a view is asked: it must not be NULL"));
        let value = values.get_placeholders_with_values(&format!("${number}")).map_err(|_| missing())?;
        match value.value().cast_to(&instant()) {
            Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) => {
                let at = Timestamp::from_microsecond(micros);
                at.map(|at| at.to_string()).map_err(|_| Refusal::new("22008", format!("parameter ${number} is out of range")))
            }
            Ok(_) => Err(missing()),
            Err(_) => Err(Refusal::new("22007", format!("parameter ${number} is no instant"))),
        }
    };
    match VisitMut::visit(&mut statement, &mut Written(text)) {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(statement),
    }
}

/// The statement as it can be planned before its parameters are known.
pub(super) fn described(mut statement: Statement) -> Statement {
    let _whole = VisitMut::visit(&mut statement, &mut Written(|_| Ok(STAND_IN.to_owned())));
    statement
}

/// Whether a relation of this name takes an instant.
fn is_moment(name: &ObjectName) -> bool {
    spelling::last(name).is_some_and(|ident| ident.value.to_lowercase().ends_with("_at"))
}

/// The number of a parameter.
fn number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(mark), .. }) => mark.strip_prefix('$')?.parse().ok(),
        _ => None,
    }
}

/// Finds the parameters in the place of an instant.
struct Numbers(BTreeSet<usize>);

impl Visitor for Numbers {
    type Break = Infallible;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Infallible> {
        match factor {
            TableFactor::Table { name, args: Some(args), .. } if is_moment(name) => visit_expressions(&args.args, |expr| {
                self.0.extend(number(expr));
                ControlFlow::Continue(())
            }),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Writes what is given for a number in its place.
struct Written<F>(F);

impl<F: FnMut(usize) -> Result<String, Refusal>> VisitorMut for Written<F> {
    type Break = Refusal;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Refusal> {
        match factor {
            TableFactor::Table { name, args: Some(args), .. } if is_moment(name) => visit_expressions_mut(&mut args.args, |expr| {
                match (number(expr).map(&mut self.0).transpose(), expr) {
                    (Ok(Some(text)), Expr::Value(value)) => value.value = Value::SingleQuotedString(text),
                    (Err(refusal), _) => return ControlFlow::Break(refusal),
                    _ => {}
                }
                ControlFlow::Continue(())
            }),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::parse;

    const ASKED: &str =
        "SELECT n.label FROM labels AS n JOIN labels_at($2) AS t ON t.task = $1 JOIN encounters_at($3::TIMESTAMPTZ) AS e ON true";

    fn parsed(sql: &str) -> Statement {
        parse::statements(sql).expect(sql).remove(0)
    }

    #[test]
    fn instants_are_written_and_other_parameters_stay() {
        assert_eq!(of(&parsed(ASKED)), BTreeSet::from([2, 3]));
        assert!(of(&parsed("SELECT * FROM range(0, $1) WHERE a = $2")).is_empty());
        let values = |second: ScalarValue| ParamValues::from(vec![ScalarValue::from("x"), second, ScalarValue::from("2024-03-01")]);
        let at = ScalarValue::TimestampMicrosecond(Some(1_700_000_000_000_000), Some("UTC".into()));
        let written = stated(parsed(ASKED), &values(at)).expect("is written").to_string();
        assert!(
            written
                .contains("labels_at('2023-11-14T22:13:20Z') AS t ON t.task = $1 JOIN encounters_at('2024-03-01T00:00:00Z'::TIMESTAMPTZ)"),
            "{written}"
        );
        assert_eq!(stated(parsed(ASKED), &values(ScalarValue::Null)).expect_err("is NULL").code, "22004");
        assert_eq!(stated(parsed(ASKED), &values(ScalarValue::from("soon"))).expect_err("is none").code, "22007");
        assert!(described(parsed(ASKED)).to_string().contains("labels_at('1970-01-01T00:00:00Z')"));
    }
}
