//! Measures over (label, score) as SQL aggregates, grouped and windowed as any other. The arithmetic is the crate `measures`'.
//!
//! `label` is a class: 0, 1, 2, ..., or a truth. `score` is the score of class 1, or the list of the probabilities of all classes.
//! A row with a NULL (or an empty list) counts nowhere; a NaN, a weight below 0 and, where probabilities are asked, what is none make
//! the answer of their group NaN; an answer that is not defined is NULL. Rows of weight 0 count nowhere.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StructArray, UInt8Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, UInt8Type};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, TypeSignature, Volatility};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use measures::{Bin, MOST_DRAWS, MOST_RESAMPLES, Measure, Rows, Sums};

use super::arguments::{
    self, Usage, by_length, column_fields, constant, every_row_counts, is_label, is_list, is_number, pack, pack_column, present,
    state_field, unpack, unpack_column,
};
use super::work::{Allowance, MOST_FRAMED, aside};

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Asks which score is above which: keeps the rows.
    Ranked(fn(&Rows) -> Option<f64>),
    /// Adds up: keeps sums.
    Added(Measure),
    /// The 95 % interval of the AUROC.
    Interval,
}

/// The aggregates over (label, score).
pub fn all() -> Vec<AggregateUDF> {
    let added = |name, usage, measure| aggregate(name, usage, Kind::Added(measure));
    vec![
        aggregate("auroc", "auroc(label, score [, weight])", Kind::Ranked(measures::auroc)),
        aggregate("auroc_ovr", "auroc_ovr(label, probabilities [, weight])", Kind::Ranked(measures::auroc)),
        aggregate("auroc_error", "auroc_error(label, score)", Kind::Ranked(measures::auroc_error)),
        aggregate("auprc", "auprc(label, score [, weight])", Kind::Ranked(measures::auprc)),
        aggregate("auroc_ci", "auroc_ci(label, score [, resamples, seed [, weight]])", Kind::Interval),
        added("brier", "brier(label, probability [, weight])", Measure::Brier),
        added("log_loss", "log_loss(label, probability [, weight])", Measure::LogLoss),
        added("ece", "ece(label, probability [, weight])", Measure::Ece),
        added("calibration", "calibration(label, probability [, weight])", Measure::Calibration),
        added("sensitivity_at", "sensitivity_at(label, score, threshold [, weight])", Measure::Sensitivity),
        added("ppv_at", "ppv_at(label, score, threshold [, weight])", Measure::PositivePredictiveValue),
    ]
}

fn aggregate(name: &'static str, usage: Usage, kind: Kind) -> AggregateUDF {
    let counts: &[usize] = match kind {
        Kind::Interval => &[2, 4, 5],
        Kind::Added(Measure::Sensitivity | Measure::PositivePredictiveValue) => &[3, 4],
        Kind::Ranked(_) if name == "auroc_error" => &[2],
        _ => &[2, 3],
    };
    let each = counts.iter().map(|count| TypeSignature::Any(*count)).collect();
    AggregateUDF::from(OverPredictions { name, usage, kind, signature: Signature::one_of(each, Volatility::Immutable) })
}

#[derive(Debug)]
struct OverPredictions {
    name: &'static str,
    usage: Usage,
    kind: Kind,
    signature: Signature,
}

impl OverPredictions {
    /// What is asked of the rows that are kept.
    fn question(&self, arguments: &AccumulatorArgs<'_>) -> Result<Question> {
        match self.kind {
            Kind::Ranked(measure) => Ok(Question::One(measure)),
            Kind::Added(_) => exec_err!("{}: no rows are kept", self.usage),
            Kind::Interval if arguments.exprs.len() < 4 => Ok(Question::DeLong),
            Kind::Interval => {
                let resamples = usize::try_from(constant(arguments.exprs.get(2), self.usage)?).unwrap_or(0);
                let seed = constant(arguments.exprs.get(3), self.usage)?.cast_unsigned();
                if !(2..=MOST_RESAMPLES).contains(&resamples) {
                    return plan_err!("{}: resamples are 2 to {MOST_RESAMPLES}", self.usage);
                }
                Ok(Question::Bootstrap { resamples, seed })
            }
        }
    }
}

/// Whether a call is one over a window: the engine tells an aggregate so by its name alone, which then ends in the frame.
fn is_framed(name: &str) -> bool {
    name.contains(" BETWEEN ") && [" PRECEDING", " FOLLOWING", " CURRENT ROW"].iter().any(|end| name.ends_with(end))
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

/// Columns of an interval.
fn interval_fields() -> Fields {
    Fields::from(vec![Field::new("low", DataType::Float64, true), Field::new("high", DataType::Float64, true)])
}

/// Columns of a bin of calibration.
fn bin_fields() -> Fields {
    let number = |name: &str, nullable| Field::new(name, DataType::Float64, nullable);
    let counted = Field::new("n", DataType::Int64, false);
    Fields::from(vec![number("low", false), number("high", false), counted, number("score", true), number("observed", true)])
}

fn bins_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(bin_fields()), true)))
}

impl Kind {
    fn returns(self) -> DataType {
        match self {
            Self::Interval => DataType::Struct(interval_fields()),
            Self::Added(Measure::Calibration) => bins_type(),
            _ => DataType::Float64,
        }
    }

    /// Label, score, and where a threshold and a weight stand among the arguments.
    fn places(self) -> (Option<usize>, usize) {
        match self {
            Self::Interval => (None, 4),
            Self::Added(Measure::Sensitivity | Measure::PositivePredictiveValue) => (Some(2), 3),
            _ => (None, 2),
        }
    }

    /// The rows of a batch, those with a NULL left out.
    fn rows(self, values: &[ArrayRef]) -> Result<Rows> {
        self.of(&present(values)?)
    }

    /// The same, those with lists of one length together: sums read a row by how many classes it has.
    fn rows_by_length(self, values: &[ArrayRef]) -> Result<Vec<Rows>> {
        let rows = by_length(present(values)?)?.iter().map(|columns| self.of(columns)).collect::<Result<Vec<Rows>>>()?;
        let of_one_score = matches!(self, Self::Added(Measure::Sensitivity | Measure::PositivePredictiveValue));
        if of_one_score && rows.iter().any(|rows| rows.width() > 2 && !rows.is_empty()) {
            return exec_err!("a threshold asks about one score: of several classes name one, as in (label = 2, probabilities[3], 0.5)");
        }
        Ok(rows)
    }

    fn of(self, columns: &[ArrayRef]) -> Result<Rows> {
        let [label, score, ..] = columns else { return exec_err!("a measure takes (label, score)") };
        let (threshold, weight) = self.places();
        arguments::rows(label, score, threshold.and_then(|at| columns.get(at)), columns.get(weight))
    }
}

impl AggregateUDFImpl for OverPredictions {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let (label, score) = (arguments.first(), arguments.get(1));
        if !label.is_some_and(is_label) {
            return plan_err!("{}: the label is a class, a whole number or a truth", self.usage);
        }
        if !score.is_some_and(|kind| is_number(kind) || is_list(kind)) {
            return plan_err!("{}: a score is a number, or a list of the probabilities of all classes", self.usage);
        }
        if !arguments.iter().skip(2).all(is_number) {
            return plan_err!("{}: what follows the score is a number", self.usage);
        }
        Ok(self.kind.returns())
    }

    /// No order of rows changes an answer, so the engine need not sort them, nor hand over what they are ordered by.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        every_row_counts(arguments.is_distinct, self.usage)?;
        let kind = self.kind;
        if let Kind::Added(measure) = kind {
            return Ok(Box::new(Added { kind, sums: Sums::new(measure) }));
        }
        let question = self.question(&arguments)?;
        if matches!(question, Question::Bootstrap { .. }) && is_framed(arguments.name) {
            return not_impl_err!(
                "{}: resamples are not supported in the frames of a window; leave them out (DeLong), or group",
                self.usage
            );
        }
        Ok(Box::new(Ranked::new(kind, question, question.allowance())))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        matches!(self.kind, Kind::Interval) && arguments.exprs.len() >= 4
    }

    /// All groups draw from one allowance: they are answered in one go.
    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        every_row_counts(arguments.is_distinct, self.usage)?;
        let (kind, question) = (self.kind, self.question(&arguments)?);
        let allowance = question.allowance();
        let group = move || -> Result<Box<dyn Accumulator>> { Ok(Box::new(Ranked::new(kind, question, allowance.clone()))) };
        Ok(Box::new(GroupsAccumulatorAdapter::new(group)))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |what, of| state_field(arguments.name, what, of);
        Ok(match self.kind {
            Kind::Added(_) => vec![field("sums", DataType::Float64)],
            _ => {
                let [large_scores, scores] = column_fields(arguments.name, "scores");
                vec![field("labels", DataType::UInt8), large_scores, scores, field("weights", DataType::Float64)]
            }
        })
    }
}

/// Sums of the rows so far.
#[derive(Debug)]
struct Added {
    kind: Kind,
    sums: Sums,
}

impl Accumulator for Added {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kind.rows_by_length(values)?.iter().for_each(|rows| self.sums.add(rows));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kind.rows_by_length(values)?.iter().for_each(|rows| self.sums.retract(rows));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![pack(Arc::new(Float64Array::from(self.sums.state())))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [sums] = states else { return exec_err!("the state of a sum is one list") };
        (0..sums.len()).try_for_each(|row| {
            self.sums.merge(unpack(sums, row)?.values());
            Ok(())
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.kind {
            Kind::Added(Measure::Calibration) => {
                self.sums.bins().map_or_else(|| ScalarValue::try_from(&bins_type()), |bins| Ok(list(&bins)))
            }
            _ => Ok(ScalarValue::Float64(self.sums.value())),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.size()
    }
}

fn list(bins: &[Bin]) -> ScalarValue {
    let numbers = |of: fn(&Bin) -> Option<f64>| Arc::new(bins.iter().map(of).collect::<Float64Array>()) as ArrayRef;
    let counted: Int64Array = bins.iter().map(|bin| i64::try_from(bin.n).ok()).collect();
    let low = numbers(|bin| Some(bin.low));
    let columns = vec![low, numbers(|bin| Some(bin.high)), Arc::new(counted), numbers(|bin| bin.score), numbers(|bin| bin.observed)];
    let rows = StructArray::new(bin_fields(), columns, None);
    let field = Arc::new(Field::new_list_field(DataType::Struct(bin_fields()), true));
    ScalarValue::List(Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([bins.len()]), Arc::new(rows), None)))
}

#[derive(Clone, Copy, Debug)]
enum Question {
    One(fn(&Rows) -> Option<f64>),
    DeLong,
    Bootstrap { resamples: usize, seed: u64 },
}

impl Question {
    /// What whoever asks it may compute. An aggregate asks once a group, a window once a frame.
    fn allowance(self) -> Allowance {
        Allowance::new(if matches!(self, Self::Bootstrap { .. }) { MOST_DRAWS } else { MOST_FRAMED })
    }

    /// Rows that are ranked for an answer, once a class that is asked.
    fn ranked(self, rows: &Rows) -> usize {
        let classes = if rows.width() <= 2 { 1 } else { rows.width() };
        let resamples = if let Self::Bootstrap { resamples, .. } = self { resamples } else { 1 };
        rows.len().saturating_mul(classes).saturating_mul(resamples)
    }

    fn too_much(self) -> String {
        match self {
            Self::Bootstrap { .. } => {
                format!("auroc_ci draws at most {MOST_DRAWS} rows, all groups together; ask for fewer resamples, or for none (DeLong)")
            }
            _ => format!("the frames of a window rank at most {MOST_FRAMED} rows, all together; ask for narrower ones, or group"),
        }
    }
}

/// The rows so far, in columns.
#[derive(Debug)]
struct Ranked {
    kind: Kind,
    question: Question,
    rows: Rows,
    allowance: Allowance,
    /// The answer, until rows come or go: frames of equal rows are asked for again and again.
    answer: Option<ScalarValue>,
}

impl Ranked {
    fn new(kind: Kind, question: Question, allowance: Allowance) -> Self {
        Self { kind, question, rows: Rows::default(), allowance, answer: None }
    }

    fn interval(&self) -> Result<Option<(f64, f64)>> {
        let measured = match self.question {
            Question::Bootstrap { resamples, seed } => {
                measures::auroc(&self.rows).zip(measures::auroc_deviation(&self.rows, resamples, seed))
            }
            _ if self.rows.width() > 2 => {
                return exec_err!("auroc_ci of several classes draws resamples: auroc_ci(label, probabilities, 1000, 1)");
            }
            _ => measures::auroc_delong(&self.rows),
        };
        Ok(measured.map(|(area, deviation)| measures::interval(area, deviation)))
    }

    fn answered(&self) -> Result<ScalarValue> {
        if let Question::One(measure) = self.question {
            return Ok(ScalarValue::Float64(measure(&self.rows)));
        }
        let Some((low, high)) = self.interval()? else { return ScalarValue::try_from(&self.kind.returns()) };
        let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![low])), Arc::new(Float64Array::from(vec![high]))];
        Ok(ScalarValue::Struct(Arc::new(StructArray::new(interval_fields(), columns, None))))
    }
}

impl Accumulator for Ranked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.answer = None;
        self.rows.append(self.kind.rows(values)?);
        Ok(())
    }

    /// A frame lets its rows go in the order in which it took them.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.answer = None;
        self.rows.forget_first(self.kind.rows(values)?.len());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (labels, scores, weights) = self.rows.take();
        let [large_scores, scores] = pack_column(scores)?;
        Ok(vec![pack(Arc::new(UInt8Array::from(labels))), large_scores, scores, pack(Arc::new(Float64Array::from(weights)))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [labels, large_scores, scores, weights] = states else { return exec_err!("the state of a measure is labels, scores, weights") };
        let Some(labels) = labels.as_list_opt::<i64>() else { return exec_err!("a state is a list of labels") };
        self.answer = None;
        for row in (0..labels.len()).filter(|row| labels.is_valid(*row)) {
            let stated = labels.value(row);
            let classes = stated.as_primitive::<UInt8Type>().values();
            self.rows.extend(classes, unpack_column(large_scores, scores, row)?, unpack(weights, row)?.values());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if let Some(answer) = &self.answer {
            return Ok(answer.clone());
        }
        let ranked = self.question.ranked(&self.rows);
        self.allowance.take(ranked, || self.question.too_much())?;
        let answer = aside(ranked, || self.answered())?;
        self.answer = Some(answer.clone());
        Ok(answer)
    }

    /// With what sorting the rows will take.
    fn size(&self) -> usize {
        const SORTING: usize = 2 * size_of::<u64>();
        size_of_val(self) + self.rows.size() + self.rows.len() * SORTING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(question: Question, allowance: &Allowance) -> Ranked {
        let labels: ArrayRef = Arc::new((0..40_i64).map(|row| row % 2).collect::<Int64Array>());
        let scores: ArrayRef = Arc::new((0..40_i32).map(|row| f64::from(row * 7 % 40)).collect::<Float64Array>());
        let mut ranked = Ranked::new(Kind::Interval, question, allowance.clone());
        ranked.update_batch(&[labels, scores]).expect("rows");
        ranked
    }

    #[test]
    fn groups_draw_from_one_allowance() {
        let (question, allowance) = (Question::Bootstrap { resamples: 10, seed: 1 }, Allowance::new(2 * 40 * 10));
        let answers: Vec<_> = (0..3).map(|_| drawn(question, &allowance).evaluate()).collect();
        assert_eq!(answers.iter().map(|answer| answer.is_ok()).collect::<Vec<_>>(), [true, true, false]);
        assert!(answers[2].as_ref().expect_err("no more").to_string().contains("auroc_ci draws at most"));
    }

    #[test]
    fn frames_that_rank_too_much_are_refused_and_equal_ones_are_ranked_once() {
        let allowance = Allowance::new(2 * 40);
        let mut framed = drawn(Question::DeLong, &allowance);
        let first = framed.evaluate().expect("an answer");
        assert!((0..100).all(|_| framed.evaluate().expect("the same rows") == first));
        let one: [ArrayRef; 2] = [Arc::new(Int64Array::from(vec![0])), Arc::new(Float64Array::from(vec![0.0]))];
        framed.retract_batch(&one).expect("leaves");
        assert_ne!(framed.evaluate().expect("other rows"), first);
        framed.update_batch(&one).expect("comes");
        assert!(framed.evaluate().expect_err("no more").to_string().contains("the frames of a window rank at most"));
    }

    #[test]
    fn a_call_over_a_window_is_told_by_its_frame() {
        for framed in
            ["auroc(a,b) ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", "x PARTITION BY [k] RANGE BETWEEN 1 PRECEDING AND 2 FOLLOWING"]
        {
            assert!(is_framed(framed));
        }
        for plain in ["auroc(a,b)", "auroc(a,sum(b) ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)", "auroc", "the CURRENT ROW"] {
            assert!(!is_framed(plain));
        }
    }
}
