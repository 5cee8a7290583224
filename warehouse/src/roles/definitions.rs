//! The SQL of views as `pg_get_viewdef` gives it, by the number that a relation has in the catalogue or by its name: the files of the views, and the tasks' queries.

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

/// The function's name.
const FUNCTION: &str = "pg_get_viewdef";

/// SQL by the name of its view.
#[derive(Clone)]
pub(super) struct Definitions(Arc<BTreeMap<String, String>>);

impl Definitions {
    pub(super) fn new(tasks: &Tasks) -> Self {
        let of_views = views::sources().map(|(name, sql)| (name.to_owned(), sql));
        let all = of_views.chain(tasks.sources()).map(|(name, sql)| (name, format!("{};", sql.trim_end())));
        Self(Arc::new(all.collect()))
    }

    /// The state with the function as of now, where the statement calls it: relations have their numbers once somebody has asked for them.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub(super) async fn told(&self, state: &SessionState, statement: &Statement) -> Result<Option<SessionState>> {
        if !is_asked(statement) {
            return Ok(None);
        }
        let ctx = SessionContext::new_with_state(state.clone());
        let mut known = BTreeMap::clone(&self.0);
        for batch in ctx.sql("SELECT oid, relname FROM pg_catalog.pg_class").await?.collect().await? {
            let (numbers, names) = (cast(batch.column(0), &DataType::Utf8)?, cast(batch.column(1), &DataType::Utf8)?);
            let pairs = numbers.as_string::<i32>().iter().flatten().zip(names.as_string::<i32>().iter().flatten());
            known.extend(pairs.filter_map(|(number, name)| Some((number.to_owned(), self.0.get(name)?.clone()))));
        }
        let mut state = state.clone();
        state.register_udf(Arc::new(function(known)))?;
        Ok(Some(state))
    }
}

fn is_asked(statement: &Statement) -> bool {
    let called = visit_expressions(statement, |expr| match expr {
        Expr::Function(function) if spelling::last(&function.name).is_some_and(|name| name.value.eq_ignore_ascii_case(FUNCTION)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    called.is_break()
}

/// `pg_get_viewdef(relation)`, `pg_get_viewdef(relation, pretty)`; NULL of what is no view.
fn function(known: BTreeMap<String, String>) -> ScalarUDF {
    let give = Arc::new(move |args: &[ColumnarValue]| {
        let Some(asked) = args.first() else { return plan_err!("{FUNCTION} wants a view") };
        let names = cast(&asked.to_array(1)?, &DataType::Utf8)?;
        let found = |name: &str| known.get(name.rsplit('.').next()?.trim_matches('"')).map(String::as_str);
        let texts: StringArray = names.as_string::<i32>().iter().map(|name| name.and_then(found)).collect();
        Ok(match asked {
            ColumnarValue::Array(_) => ColumnarValue::Array(Arc::new(texts)),
            ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?),
        })
    });
    let signature = Signature::one_of(vec![TypeSignature::Any(1), TypeSignature::Any(2)], Volatility::Stable);
    ScalarUDF::from(SimpleScalarUDF::new_with_signature(FUNCTION, signature, DataType::Utf8, give))
}
