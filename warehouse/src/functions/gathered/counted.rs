//! What an aggregate keeps of one group, and of many, counted as often as it lies in memory.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use crate::written::{self, Views};

/// Bytes of the texts that views of these rows point to.
fn behind(values: &dyn Array, rows: Range<usize>) -> usize {
    written::bytes(values, rows.clone(), Views::Written).saturating_sub(written::bytes(values, rows, Views::Shared))
}

/// What is kept of one group.
#[derive(Debug)]
pub(super) struct One {
    engines: Box<dyn Accumulator>,
    times: usize,
    /// What the engine's takes that has been given nothing: of many groups most of it.
    empty_bytes: usize,
    keeps_views: bool,
    /// Bytes of the texts that the views of the group point to.
    behind_bytes: usize,
}

impl One {
    pub(super) fn new(engines: Box<dyn Accumulator>, times: usize, keeps_views: bool) -> Self {
        let empty_bytes = engines.size();
        Self { engines, times, empty_bytes, keeps_views, behind_bytes: 0 }
    }

    fn behind(&self, values: &[ArrayRef]) -> usize {
        values.first().filter(|_| self.keeps_views).map_or(0, |values| behind(values.as_ref(), 0..values.len()))
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.behind_bytes += self.behind(values);
        self.engines.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.behind_bytes += self.behind(states);
        self.engines.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.behind_bytes = self.behind_bytes.saturating_sub(self.behind(values));
        self.engines.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.engines.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.engines.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.engines.evaluate()
    }

    fn size(&self) -> usize {
        let kept = self.engines.size().saturating_sub(self.empty_bytes) + self.behind_bytes;
        size_of_val(self) + self.empty_bytes + kept.saturating_mul(self.times)
    }
}

/// What is kept of many groups.
pub(super) struct Groups {
    engines: Box<dyn GroupsAccumulator>,
    times: usize,
    keeps_views: bool,
    /// Bytes of the texts that the views of each group point to, and of all of them.
    behind: Vec<usize>,
    behind_bytes: usize,
}

impl Groups {
    pub(super) fn new(engines: Box<dyn GroupsAccumulator>, times: usize, keeps_views: bool) -> Self {
        Self { engines, times, keeps_views, behind: Vec::new(), behind_bytes: 0 }
    }

    /// Rows, each of a group, of which those count that `counts` is true of.
    fn point(&mut self, values: &[ArrayRef], groups: &[usize], counts: Option<&BooleanArray>, total: usize) {
        let Some(values) = values.first().filter(|_| self.keeps_views) else { return };
        self.behind.resize(total, 0);
        for (row, group) in groups.iter().enumerate() {
            if counts.is_none_or(|counts| counts.is_valid(row) && counts.value(row)) {
                let bytes = behind(values.as_ref(), row..row + 1);
                self.behind[*group] += bytes;
                self.behind_bytes += bytes;
            }
        }
    }

    fn let_go(&mut self, emit_to: EmitTo) {
        if self.keeps_views {
            self.behind_bytes -= emit_to.take_needed(&mut self.behind).into_iter().sum::<usize>();
        }
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.point(values, group_indices, opt_filter, total_num_groups);
        self.engines.update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.point(values, group_indices, None, total_num_groups);
        self.engines.merge_batch(values, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.let_go(emit_to);
        self.engines.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.let_go(emit_to);
        self.engines.state(emit_to)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.engines.convert_to_state(values, opt_filter)
    }

    fn size(&self) -> usize {
        self.behind.capacity() * size_of::<usize>() + (self.engines.size() + self.behind_bytes).saturating_mul(self.times)
    }
}
