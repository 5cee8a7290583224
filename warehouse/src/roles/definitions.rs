//! What `pg_get_viewdef` and `obj_description` tell, by the number that a relation has in the catalogue or by its name: the files of the views and the tasks'
//! queries, and of each the first sentence of the comment at its head.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, TypeSignature, Volatility};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Statement, visit_expressions};

use crate::spelling;
use crate::tasks::Tasks;
use crate::views;

/// The function that gives the SQL of a view.
const DEFINITION: &str = "pg_get_viewdef";

/// The function that says what a relation holds.
pub(super) const DESCRIPTION: &str = "obj_description";

/// What the relations hold that are no views of files.
const OTHERS: [(&str, &str); 16] = [
    ("message_rows", "one row per reading of a Kafka record, as the table `messages` has it: whole history."),
    ("event_rows", "one row per fact of a reading, as the table `events` has it: whole history."),
    ("note_rows", "one row per note version of a reading, as the table `notes` has it: whole history."),
    ("prediction_rows", "one row per record of `prediction.v1`, as the table `predictions` has it: whole history."),
    ("table_positions", "one row per (table, topic, partition): the last offset that the table's log says it holds."),
    ("split_periods", "one row per (task, period): `main` or a temporal test, from when and until when, as configured."),
    ("fold_weights", "one row per task: the shares of its folds, and what is hashed behind which salt, as configured."),
    ("department_kinds", "one row per department whose care is not acute, in capitals, with the kind of care, as configured."),
    ("task_definitions", "one row per task, as its file has it."),
    ("task_facts", "one row per (task, kind of fact that decides it), with the bounds of its delay."),
    ("task_steps", "one row per (task, step), in the order in which stays leave."),
    ("task_marks", "one row per (task, rule): of how many stays it holds."),
    ("models", "one row per (model, task, split): what it was learned from and how well it did."),
    ("model_history", "one row per event of a model: what was done with it, by whom, when and why."),
    ("exports", "one row per dataset or export that was written: who, when, up to when and where to."),
    ("erasures", "one row per step of an erasure: who did it, when and why, and what was found and removed."),
];

/// Texts by the name of their relation, and the function that gives them.
struct Told {
    function: &'static str,
    texts: BTreeMap<String, String>,
}

/// All that is told.
#[derive(Clone)]
pub(super) struct Definitions(Arc<[Told; 2]>);

impl Definitions {
    pub(super) fn new(tasks: &Tasks) -> Self {
        let sources = || views::sources().map(|(name, sql)| (name.to_owned(), sql)).chain(tasks.sources());
        let others = OTHERS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self(Arc::new([
            Told { function: DEFINITION, texts: sources().map(|(name, sql)| (name, format!("{};", sql.trim_end()))).collect() },
            Told {
                function: DESCRIPTION,
                texts: sources().filter_map(|(name, sql)| Some((name, first_sentence(sql)?))).chain(others).collect(),
            },
        ]))
    }

    /// The state with the functions as of now that the statement calls: relations have their numbers once somebody has asked for them.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub(super) async fn told(&self, state: &SessionState, statement: &Statement) -> Result<Option<SessionState>> {
        let asked: Vec<&Told> = self.0.iter().filter(|told| is_called(statement, told.function)).collect();
        if asked.is_empty() {
            return Ok(None);
        }
        let numbered = numbered(state).await?;
        let mut state = state.clone();
        for told in asked {
            let mut known = told.texts.clone();
            known.extend(numbered.iter().filter_map(|(number, name)| Some((number.clone(), told.texts.get(name)?.clone()))));
            state.register_udf(Arc::new(function(told.function, known)))?;
        }
        Ok(Some(state))
    }
}

/// Number and name of each relation.
async fn numbered(state: &SessionState) -> Result<Vec<(String, String)>> {
    let ctx = SessionContext::new_with_state(state.clone());
    let mut numbered = Vec::new();
    for batch in ctx.sql("SELECT oid, relname FROM pg_catalog.pg_class").await?.collect().await? {
        let (numbers, names) = (cast(batch.column(0), &DataType::Utf8)?, cast(batch.column(1), &DataType::Utf8)?);
        let pairs = numbers.as_string::<i32>().iter().flatten().zip(names.as_string::<i32>().iter().flatten());
        numbered.extend(pairs.map(|(number, name)| (number.to_owned(), name.to_owned())));
    }
    Ok(numbered)
}

/// The first sentence of the comment at the head of a file, behind the name that it begins with; `None` where there is no comment.
fn first_sentence(sql: &str) -> Option<String> {
    let lines: Vec<&str> = sql.lines().map_while(|line| line.strip_prefix("--")).map(str::trim).collect();
    let comment = lines.join(" ");
    let words = comment.split_once(": ").filter(|(name, _)| !name.contains(' ')).map_or(comment.as_str(), |(_, words)| words);
    words.split_inclusive(". ").next().map(|sentence| sentence.trim().to_owned()).filter(|sentence| !sentence.is_empty())
}

fn is_called(statement: &Statement, wanted: &str) -> bool {
    let called = visit_expressions(statement, |expr| match expr {
        Expr::Function(function) if spelling::last(&function.name).is_some_and(|name| name.value.eq_ignore_ascii_case(wanted)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    called.is_break()
}

/// `pg_get_viewdef(relation)`, `pg_get_viewdef(relation, pretty)`, `obj_description(relation)`, `obj_description(relation, 'pg_class')`; NULL of what is told
/// nothing of, and of what is no relation.
fn function(called: &'static str, known: BTreeMap<String, String>) -> ScalarUDF {
    let give = Arc::new(move |args: &[ColumnarValue]| {
        let Some(asked) = args.first() else { return plan_err!("{called} wants a relation") };
        if args.get(1).is_some_and(is_of_others) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
        }
        let names = cast(&asked.to_array(1)?, &DataType::Utf8)?;
        let found = |name: &str| known.get(name.rsplit('.').next()?.trim_matches('"')).map(String::as_str);
        let texts: StringArray = names.as_string::<i32>().iter().map(|name| name.and_then(found)).collect();
        Ok(match asked {
            ColumnarValue::Array(_) => ColumnarValue::Array(Arc::new(texts)),
            ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?),
        })
    });
    let signature = Signature::one_of(vec![TypeSignature::Any(1), TypeSignature::Any(2)], Volatility::Stable);
    ScalarUDF::from(SimpleScalarUDF::new_with_signature(called, signature, DataType::Utf8, give))
}

/// Whether the number is one of another kind of thing, whose catalogue this names: a type, a schema.
fn is_of_others(catalogue: &ColumnarValue) -> bool {
    matches!(catalogue, ColumnarValue::Scalar(name) if name.try_as_str().flatten().is_some_and(|name| !name.ends_with("pg_class")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Departments, TaskSettings};

    #[test]
    fn a_description_is_the_first_sentence_of_the_comment() {
        for (sql, wanted) in [
            ("-- stays: one row per stay,\n-- of a day: all. And more.\nSELECT 1", Some("one row per stay, of a day: all.")),
            ("-- Days of a stay. By whom?\nSELECT 1 -- one", Some("Days of a stay.")),
            ("-- no full stop\nSELECT 1", Some("no full stop")),
            ("SELECT 1\n-- behind it", None),
        ] {
            assert_eq!(first_sentence(sql).as_deref(), wanted, "{sql}");
        }
    }

    /// Whoever reads the README finds every relation there, with what a row of it is.
    #[tokio::test]
    async fn the_readme_has_a_line_for_each_relation() {
        let readme = include_str!("../../README.md");
        let tasks = Tasks::open(&TaskSettings::default(), &Departments::default()).await.expect("those that are built in");
        let names = views::names().map(str::to_owned).chain(tasks.sources().map(|(name, _)| name));
        for name in names.chain(OTHERS.iter().map(|(name, _)| (*name).to_owned())) {
            assert!(readme.contains(&format!("\n| `{name}` | ")), "warehouse/README.md has no line for {name}");
        }
    }
}
