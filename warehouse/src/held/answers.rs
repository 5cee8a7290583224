//! What one function of a window answers, what it keeps of its arguments, and how far its frames reach back: by its name and its frame.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::windows::WindowUDFExpr;

use crate::written::{self, Views};

/// Aggregates that keep no more than a few numbers or one value, however many they are given.
const SMALL: [&str; 32] = [
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "last_value",
    "max",
    "min",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// How much of its arguments a function gives for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// The value of one row, and each only once; and for any row so many bytes that stand in the place of what is not there.
    Once(usize),
    /// The value of one row, which may be the longest each time.
    Longest,
    /// The values of all rows of a frame; of so many rows at most, where the frame says so.
    All(Option<usize>),
}

/// Rows that have been answered and that frames of rows to come may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// So many.
    Rows(usize),
    /// All of the partition.
    Partition,
}

impl Behind {
    /// What either may hold.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Rows(one), Self::Rows(two)) => Self::Rows(one.max(two)),
            _ => Self::Partition,
        }
    }

    pub(super) fn of(expr: &dyn WindowExpr) -> Self {
        let frame = expr.get_window_frame();
        let Some(function) = window(expr) else { return reach(frame, Self::Rows(0)) };
        match function.fun().name() {
            "row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" | "ntile" => Self::Rows(0),
            "lag" | "lead" if !ignores_nulls(function) => shift(function).map_or(Self::Partition, Self::Rows),
            "first_value" => reach(frame, Self::Rows(0)),
            "last_value" | "nth_value" => reach(frame, Self::Partition),
            _ => Self::Partition,
        }
    }
}

/// Behind a row of this frame; `unbounded`, where the frame begins with its partition.
fn reach(frame: &WindowFrame, unbounded: Behind) -> Behind {
    match (frame.units, &frame.start_bound) {
        (_, bound) if bound.is_unbounded() => unbounded,
        (WindowFrameUnits::Rows, bound) => rows(bound).map_or(Behind::Partition, Behind::Rows),
        _ => Behind::Partition,
    }
}

/// The engine says so nowhere else.
fn ignores_nulls(function: &WindowUDFExpr) -> bool {
    format!("{function:?}").ends_with("ignore_nulls: true }")
}

/// By how many rows `lag` and `lead` look away.
fn shift(function: &WindowUDFExpr) -> Option<usize> {
    let Some(offset) = function.args().get(1) else { return Some(1) };
    match offset.downcast_ref::<Literal>()?.value().cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(rows))) => usize::try_from(rows.unsigned_abs()).ok(),
        _ => None,
    }
}

/// What one function of the window answers.
pub(super) struct Answers {
    expr: Arc<dyn WindowExpr>,
    repeats: Repeats,
    /// Whether it keeps all that it is given.
    keeps: bool,
    /// Of the partition that goes on: rows that are not answered, bytes of all its arguments, and of the longest.
    rows: usize,
    bytes: usize,
    longest: usize,
}

impl Answers {
    /// `None` for a function that answers numbers, keeps numbers, and is given columns as they are.
    ///
    /// # Errors
    /// Where its types cannot be told.
    pub(super) fn of(expr: &Arc<dyn WindowExpr>, input: &Schema) -> Result<Option<Self>> {
        let answers_long = written::is_long(expr.field()?.data_type());
        let keeps = aggregate(expr.as_ref()).is_some_and(|expr| expr.is_distinct() || !SMALL.contains(&expr.fun().name()));
        let mut computes_long = false;
        for argument in expr.expressions() {
            computes_long |= argument.downcast_ref::<Column>().is_none() && written::is_long(&argument.data_type(input)?);
        }
        if !answers_long && !keeps && !computes_long {
            return Ok(None);
        }
        let repeats = match name(expr.as_ref()) {
            _ if !answers_long => Repeats::Once(0),
            "lag" | "lead" => Repeats::Once(instead(expr.as_ref())?),
            "string_agg" | "array_agg" => Repeats::All(frame_rows(expr.get_window_frame())),
            _ => Repeats::Longest,
        };
        Ok(Some(Self { expr: Arc::clone(expr), repeats, keeps, rows: 0, bytes: 0, longest: 0 }))
    }

    /// What the answers for these rows may take, in bytes, and what was kept for partitions that end within them. `under_way`: rows that were not answered before
    /// these came.
    ///
    /// # Errors
    /// Where its arguments cannot be computed.
    pub(super) fn taken(&mut self, batch: &RecordBatch, (partitions, goes_on): (&[Range<usize>], bool), under_way: usize) -> Result<usize> {
        self.rows = self.rows.min(under_way);
        let arguments = self.expr.evaluate_args(batch)?;
        let mut taken = 0_usize;
        for (place, rows) in partitions.iter().enumerate() {
            if place > 0 || !goes_on {
                taken = taken.saturating_add(self.kept());
                (self.rows, self.bytes, self.longest) = (0, 0, 0);
            }
            let before = self.answered();
            for argument in &arguments {
                self.bytes = self.bytes.saturating_add(written::bytes(argument.as_ref(), rows.clone(), Views::Written));
                self.longest = self.longest.max(longest(&argument.slice(rows.start, rows.len())));
            }
            self.rows = self.rows.saturating_add(rows.len());
            taken = taken.saturating_add(self.answered().saturating_sub(before));
        }
        Ok(taken)
    }

    /// Bytes that it keeps for the partition that goes on.
    pub(super) fn kept(&self) -> usize {
        if self.keeps { self.bytes } else { 0 }
    }

    /// Of the partition that goes on.
    fn answered(&self) -> usize {
        match self.repeats {
            Repeats::Once(instead) => self.bytes.saturating_add(self.rows.saturating_mul(instead)),
            Repeats::Longest => self.rows.saturating_mul(self.longest),
            Repeats::All(None) => self.rows.saturating_mul(self.bytes),
            Repeats::All(Some(rows)) => self.rows.saturating_mul(self.bytes.min(rows.saturating_mul(self.longest))),
        }
    }
}

fn aggregate(expr: &dyn WindowExpr) -> Option<&AggregateFunctionExpr> {
    let any = expr.as_any();
    let plain = any.downcast_ref::<PlainAggregateWindowExpr>().map(PlainAggregateWindowExpr::get_aggregate_expr);
    plain.or_else(|| any.downcast_ref::<SlidingAggregateWindowExpr>().map(SlidingAggregateWindowExpr::get_aggregate_expr))
}

fn window(expr: &dyn WindowExpr) -> Option<&WindowUDFExpr> {
    let standard = expr.as_any().downcast_ref::<StandardWindowExpr>()?;
    standard.get_standard_func_expr().as_any().downcast_ref()
}

/// Whether the engine makes a value of its own of each answer before it makes a column of them: not where all rows have one answer, nor where a function
/// gives a column.
pub(super) fn are_values(expr: &dyn WindowExpr) -> bool {
    if let Some(function) = window(expr) {
        return matches!(function.fun().name(), "first_value" | "last_value" | "nth_value");
    }
    let frame = expr.get_window_frame();
    let is_whole = |bound: &WindowFrameBound| {
        let is_all_alike = frame.units == WindowFrameUnits::Range && expr.order_by().is_empty();
        bound.is_unbounded() || is_all_alike && matches!(bound, WindowFrameBound::CurrentRow)
    };
    !is_whole(&frame.start_bound) || !is_whole(&frame.end_bound)
}

fn name(expr: &dyn WindowExpr) -> &str {
    aggregate(expr).map(|expr| expr.fun().name()).or_else(|| window(expr).map(|window| window.fun().name())).unwrap_or_default()
}

/// Bytes that stand in the place of a row that is not there.
fn instead(expr: &dyn WindowExpr) -> Result<usize> {
    match window(expr).and_then(|function| function.args().get(2)?.downcast_ref::<Literal>()) {
        Some(literal) => Ok(written::bytes(literal.value().to_array()?.as_ref(), 0..1, Views::Written)),
        None => Ok(0),
    }
}

/// How far away a bound is, where it is of so many rows.
fn rows(bound: &WindowFrameBound) -> Option<usize> {
    match bound {
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows))) | WindowFrameBound::Following(ScalarValue::UInt64(Some(rows))) => {
            usize::try_from(*rows).ok()
        }
        _ => None,
    }
}

/// The rows that a frame has at most, where it is of so many rows.
fn frame_rows(frame: &WindowFrame) -> Option<usize> {
    let is_rows = frame.units == WindowFrameUnits::Rows;
    let (before, after) = rows(&frame.start_bound).zip(rows(&frame.end_bound)).filter(|_| is_rows)?;
    Some(before.saturating_add(after).saturating_add(1))
}

/// Bytes of the longest value, at most.
fn longest(column: &ArrayRef) -> usize {
    let lengths = match column.data_type() {
        DataType::Utf8View => column.as_string_view().lengths().max(),
        DataType::BinaryView => column.as_binary_view().lengths().max(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => return written::longest(column.as_ref()),
        other => {
            let each = || (0..column.len()).map(|row| written::bytes(column.as_ref(), row..row + 1, Views::Written));
            return other.primitive_width().unwrap_or_else(|| each().max().unwrap_or(0));
        }
    };
    usize::try_from(lengths.unwrap_or(0)).unwrap_or(usize::MAX)
}
