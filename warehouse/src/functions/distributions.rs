//! How far the numbers of a group have moved from those of a reference, as SQL aggregates over (value, is_reference).
//!
//! One row is one value of one of the two samples, and `is_reference` says of which, so that any condition can part them:
//! `psi(probability, month < TIMESTAMP '2024-01-01')`. A row with a NULL counts nowhere; where a sample is empty the answer is NULL,
//! where a value is NaN it is NaN. The arithmetic is the crate `measures`'.

use std::hash::{Hash, Hasher};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};
use measures::Samples;

use super::arguments::{Usage, column_fields, constant, every_row_counts, is_number, numbers, pack_column, present, shared, unpack_column};
use super::work::{Allowance, MOST_FRAMED, aside};

/// Bins where none are named.
const BINS: usize = 10;
/// The most bins.
const MOST_BINS: usize = 1_000;

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Over bins of equal shares of the reference.
    Binned(fn(&Samples, usize) -> Option<f64>),
    /// Over the numbers themselves.
    Whole(fn(&Samples) -> Option<f64>),
}

/// The aggregates over (value, is_reference).
pub fn all() -> Vec<AggregateUDF> {
    vec![
        aggregate("psi", "psi(value, is_reference [, bins])", Kind::Binned(measures::psi)),
        aggregate("js", "js(value, is_reference [, bins])", Kind::Binned(measures::js)),
        aggregate("ks", "ks(value, is_reference)", Kind::Whole(measures::ks)),
        aggregate("wasserstein", "wasserstein(value, is_reference)", Kind::Whole(measures::wasserstein)),
    ]
}

fn aggregate(name: &'static str, usage: Usage, kind: Kind) -> AggregateUDF {
    let counts: &[usize] = if matches!(kind, Kind::Binned(_)) { &[2, 3] } else { &[2] };
    let each = counts.iter().map(|count| TypeSignature::Any(*count)).collect();
    AggregateUDF::from(OverSamples { name, usage, kind, signature: Signature::one_of(each, Volatility::Immutable) })
}

#[derive(Debug)]
struct OverSamples {
    name: &'static str,
    usage: Usage,
    kind: Kind,
    signature: Signature,
}

impl PartialEq for OverSamples {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OverSamples {}

impl Hash for OverSamples {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for OverSamples {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if !arguments.first().is_some_and(is_number) {
            return plan_err!("{}: the value is a number", self.usage);
        }
        if !arguments.get(1).is_some_and(|kind| matches!(kind, DataType::Boolean | DataType::Null)) {
            return plan_err!("{}: whether a value is of the reference is a truth, a condition", self.usage);
        }
        Ok(DataType::Float64)
    }

    /// No order of rows changes an answer, so the engine need not sort them, nor hand over what they are ordered by.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        every_row_counts(arguments.is_distinct, self.usage)?;
        let bins = match arguments.exprs.get(2) {
            None => BINS,
            stated => usize::try_from(constant(stated, self.usage)?).unwrap_or(0),
        };
        if !(2..=MOST_BINS).contains(&bins) {
            return plan_err!("{}: bins are 2 to {MOST_BINS}", self.usage);
        }
        let allowance = Allowance::new(MOST_FRAMED);
        Ok(Box::new(Collected { kind: self.kind, bins, samples: Samples::default(), allowance, answer: None }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(["reference", "current"].into_iter().flat_map(|sample| column_fields(arguments.name, sample)).collect())
    }
}

#[derive(Debug)]
struct Collected {
    kind: Kind,
    bins: usize,
    samples: Samples,
    /// What the frames of a window may compare; an aggregate asks once.
    allowance: Allowance,
    /// The answer, until rows come or go.
    answer: Option<ScalarValue>,
}

impl Collected {
    fn answered(&self) -> ScalarValue {
        ScalarValue::Float64(match self.kind {
            Kind::Binned(measure) => measure(&self.samples, self.bins),
            Kind::Whole(measure) => measure(&self.samples),
        })
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.answer = None;
        let columns = present(values)?;
        let [numbers_of, references, ..] = columns.as_slice() else { return exec_err!("a shift is of (value, is_reference)") };
        let Some(references) = references.as_boolean_opt() else { return Ok(()) };
        let bits = references.values();
        self.samples.extend(shared(&numbers(numbers_of)?), bits.values(), bits.offset());
        Ok(())
    }

    /// A frame lets its rows go in the order in which it took them.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.answer = None;
        let columns = present(values)?;
        let Some(references) = columns.get(1).and_then(|column| column.as_boolean_opt()) else { return Ok(()) };
        let reference = references.true_count();
        self.samples.forget_first(reference, references.len() - reference);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let samples = std::mem::take(&mut self.samples);
        Ok([pack_column(samples.reference)?, pack_column(samples.current)?].concat())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [large_references, references, large_currents, currents] = states else {
            return exec_err!("the state of a shift is two samples");
        };
        self.answer = None;
        for row in 0..references.len() {
            self.samples.reference.append(unpack_column(large_references, references, row)?);
            self.samples.current.append(unpack_column(large_currents, currents, row)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if let Some(answer) = &self.answer {
            return Ok(answer.clone());
        }
        let compared = self.samples.reference.len() + self.samples.current.len();
        self.allowance
            .take(compared, || format!("the frames of a window compare at most {MOST_FRAMED} rows, all together; group instead"))?;
        let answer = aside(compared, || self.answered());
        self.answer = Some(answer.clone());
        Ok(answer)
    }

    /// With what sorting the numbers will take.
    fn size(&self) -> usize {
        size_of_val(self) + self.samples.size() * 3
    }
}
