//! `to_date(text, template)` and `to_timestamp(text, template)` by PostgreSQL's templates. With one argument they are the engine's own, whose templates are others, and whose instants
//! end in 2262: a date that stands for none (`31.12.9999`) has none there.

mod reading;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, exec_err};
use datafusion::functions::datetime;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

use super::templates::{Piece, pieces};
use reading::Said;

/// Both, in the place of the engine's for this configuration.
pub fn all(config: &ConfigOptions) -> [ScalarUDF; 2] {
    [(What::Date, datetime::to_date()), (What::Instant, datetime::to_timestamp(config))]
        .map(|(what, engines)| ScalarUDF::from(ByTemplate { what, engines }))
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Date,
    Instant,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ByTemplate {
    what: What,
    engines: Arc<ScalarUDF>,
}

/// Whether a text and a template are given.
fn are_texts<'a>(kinds: impl IntoIterator<Item = &'a DataType>) -> bool {
    let kinds: Vec<&DataType> = kinds.into_iter().collect();
    kinds.len() == 2 && kinds.iter().all(|kind| kind.is_string() || kind.is_null())
}

impl ByTemplate {
    fn kind(&self) -> DataType {
        match self.what {
            What::Date => DataType::Date32,
            What::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

impl ScalarUDFImpl for ByTemplate {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    /// Under a name that is left to the engine's own it would take its others back when a session is made of another.
    fn aliases(&self) -> &[String] {
        self.engines.aliases()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if are_texts(arguments) { Ok(self.kind()) } else { self.engines.return_type(arguments) }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if are_texts(arguments.arg_fields.iter().map(|field| field.data_type())) {
            return Ok(Arc::new(Field::new(self.name(), self.kind(), true)));
        }
        self.engines.return_field_from_args(arguments)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let engines = Arc::new(self.engines.inner().with_updated_config(config)?);
        Some(ScalarUDF::from(Self { what: self.what, engines }))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kinds: Vec<DataType> = arguments.args.iter().map(ColumnarValue::data_type).collect();
        if !are_texts(&kinds) {
            return self.engines.invoke_with_args(arguments);
        }
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let texts = arrays.iter().map(|array| Ok(cast(array, &DataType::Utf8)?)).collect::<Result<Vec<ArrayRef>>>()?;
        let [texts, templates] = texts.as_slice() else { return exec_err!("{} takes a text and a template", self.name()) };
        let mut known: Option<(&str, Vec<Piece>)> = None;
        let mut read = Vec::with_capacity(texts.len());
        for (text, template) in texts.as_string::<i32>().iter().zip(templates.as_string::<i32>().iter()) {
            let (Some(text), Some(template)) = (text, template) else {
                read.push(None);
                continue;
            };
            if known.as_ref().is_none_or(|(before, _)| *before != template) {
                known = Some((template, pieces(template)?));
            }
            let pieces = known.as_ref().map(|(_, pieces)| pieces.as_slice()).unwrap_or_default();
            read.push(Some(Said::of(pieces, text)?));
        }
        Ok(ColumnarValue::Array(match self.what {
            What::Date => {
                let days = read.into_iter().map(|said| said.map(|said| said.days()).transpose());
                Arc::new(days.collect::<Result<Date32Array>>()?)
            }
            What::Instant => {
                let micros = read.into_iter().map(|said| said.map(|said| said.microseconds()).transpose());
                Arc::new(micros.collect::<Result<TimestampMicrosecondArray>>()?.with_timezone("UTC"))
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::super::tests::asked;

    #[tokio::test]
    async fn texts_are_read_by_templates_and_everything_else_by_the_engine() {
        let ctx = SessionContext::new();
        crate::functions::register(&ctx);
        // A session that is made of another has them still.
        let config = SessionConfig::new().set_str("datafusion.execution.time_zone", "+00:00");
        let state = datafusion::execution::SessionStateBuilder::new_from_existing(ctx.state()).with_config(config).build();
        for ctx in [ctx, SessionContext::new_with_state(state)] {
            let sql = "SELECT to_date(text, template) AS d, to_timestamp(arrow_cast(text, 'Utf8View'), template)::text AS t, \
                       extract(year FROM to_timestamp('31.12.9999', 'DD.MM.YYYY')) AS y, to_date('2024-01-31') AS e, to_date(NULL, 'YYYY') AS n \
                       FROM (VALUES ('5.3.2024 8:07', 'DD.MM.YYYY HH24:MI'), ('2024 Mar', 'YYYY Mon'), (NULL, 'YYYY')) AS v(text, template)";
            let table = pretty_format_batches(&asked(&ctx, sql).await).expect("prints").to_string();
            let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
            let row = |place: usize| rows.get(place).map(|row| row.join("|")).unwrap_or_default();
            assert!(row(3).starts_with("|2024-03-05|2024-03-05") && row(3).contains("08:07:00"), "{table}");
            assert!(row(4).starts_with("|2024-03-01|2024-03-01") && row(4).contains("|9999|2024-01-31||"), "{table}");
            assert!(row(5).starts_with("|||9999|"), "{table}");
            let seconds = asked(&ctx, "SELECT to_timestamp(1.5) = TIMESTAMP '1970-01-01 00:00:01.5'").await;
            assert!(pretty_format_batches(&seconds).expect("prints").to_string().contains("true"));
        }
    }
}
