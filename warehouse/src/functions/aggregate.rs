//! Measures over (label, probabilities) as SQL aggregates, grouped and windowed as any other.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Builder, Int64Builder, ListBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::measures::Judged;

type Measure = fn(&[Judged]) -> Option<f64>;

/// The aggregate `name(label, probabilities)`.
pub fn over_predictions(name: &'static str, measure: Measure) -> AggregateUDF {
    AggregateUDF::from(OverPredictions { name, measure, signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug)]
struct OverPredictions {
    name: &'static str,
    measure: Measure,
    signature: Signature,
}

impl PartialEq for OverPredictions {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OverPredictions {}

impl Hash for OverPredictions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn numbers() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
}

fn whole_numbers() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

impl AggregateUDFImpl for OverPredictions {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Collected { rows: Vec::new(), measure: self.measure }))
    }

    /// Labels, and all probabilities in one run: the classes are their number divided by the labels'.
    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |what: &str, kind| Arc::new(Field::new(format!("{}[{what}]", arguments.name), kind, true));
        Ok(vec![field("labels", whole_numbers()), field("probabilities", numbers())])
    }
}

#[derive(Debug)]
struct Collected {
    rows: Vec<Judged>,
    measure: Measure,
}

impl Collected {
    fn take_in(&mut self, labels: &ArrayRef, lists: &ArrayRef) -> Result<()> {
        let labels = cast(labels, &DataType::Int64)?;
        let lists = cast(lists, &numbers())?;
        let (labels, lists) = (labels.as_primitive::<Int64Type>(), lists.as_list::<i32>());
        for row in 0..labels.len() {
            if labels.is_null(row) || lists.is_null(row) {
                continue;
            }
            let Ok(label) = usize::try_from(labels.value(row)) else { return exec_err!("a label is a class: 0, 1, 2, ...") };
            let probabilities = lists.value(row).as_primitive::<Float64Type>().iter().flatten().collect();
            self.rows.push(Judged { label, probabilities });
        }
        Ok(())
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values {
            [labels, lists] => self.take_in(labels, lists),
            _ => exec_err!("a measure takes (label, probabilities)"),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut labels = ListBuilder::new(Int64Builder::new());
        let mut probabilities = ListBuilder::new(Float64Builder::new());
        for row in &self.rows {
            labels.values().append_value(i64::try_from(row.label).unwrap_or(i64::MAX));
            probabilities.values().append_slice(&row.probabilities);
        }
        labels.append(true);
        probabilities.append(true);
        Ok(vec![ScalarValue::List(Arc::new(labels.finish())), ScalarValue::List(Arc::new(probabilities.finish()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [labels, lists] = states else { return exec_err!("a measure's state is (labels, probabilities)") };
        let (labels, lists) = (labels.as_list::<i32>(), lists.as_list::<i32>());
        for state in 0..labels.len() {
            let (labels, numbers) = (labels.value(state), lists.value(state));
            let (labels, numbers) = (labels.as_primitive::<Int64Type>(), numbers.as_primitive::<Float64Type>());
            let classes = numbers.len().checked_div(labels.len()).unwrap_or(0);
            for (row, label) in labels.iter().flatten().enumerate() {
                let probabilities = numbers.values().iter().skip(row * classes).take(classes).copied().collect();
                self.rows.push(Judged { label: usize::try_from(label).unwrap_or(usize::MAX), probabilities });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.measure)(&self.rows)))
    }

    fn size(&self) -> usize {
        std::mem::size_of_val(self)
            + self.rows.iter().map(|row| std::mem::size_of_val(row) + row.probabilities.capacity() * 8).sum::<usize>()
    }
}
