//! Charlson's index of a stay's codes as SQL aggregates: conditions after Quan 2005 (ICD-9-CM and ICD-10-CM), weights of Charlson 1987,
//! severe forms over mild ones, no points for age.
//!
//! `charlson(code)` over codes written `ICD10CM/I50.9`, `ICD9CM/428.0`, with or without the dot: the index, 0 where none of them counts,
//! NULL where there is no ICD diagnosis code at all. `charlson_conditions(code)`: the names of what counted, in the order of the code set.

use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringBuilder, UInt32Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt32Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

mod codes;

pub use codes::VERSION;
use codes::{Conditions, MOST_CONDITIONS};

/// `charlson(code)` and `charlson_conditions(code)`.
pub fn all() -> [AggregateUDF; 2] {
    let signature = Signature::exact(vec![DataType::Utf8], Volatility::Immutable);
    [Asked::Index, Asked::Conditions].map(|asked| AggregateUDF::from(Charlson { asked, signature: signature.clone() }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Index,
    Conditions,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Charlson {
    asked: Asked,
    signature: Signature,
}

fn names() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

impl AggregateUDFImpl for Charlson {
    fn name(&self) -> &str {
        match self.asked {
            Asked::Index => "charlson",
            Asked::Conditions => "charlson_conditions",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.asked {
            Asked::Index => DataType::Int64,
            Asked::Conditions => names(),
        })
    }

    /// Codes are a set: neither their order nor how often one is stated changes an answer.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OfOne { asked: self.asked, counts: [0; MOST_CONDITIONS] }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[conditions]", arguments.name), DataType::UInt32, true))])
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(OfMany { asked: self.asked, found: Vec::new() }))
    }
}

impl Asked {
    /// One answer for each set of conditions.
    fn answers(self, found: &[Conditions]) -> ArrayRef {
        match self {
            Self::Index => Arc::new(found.iter().map(|conditions| conditions.index()).collect::<Int64Array>()),
            Self::Conditions => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                for conditions in found {
                    conditions.counted().for_each(|name| lists.values().append_value(name));
                    lists.append(conditions.index().is_some());
                }
                Arc::new(lists.finish())
            }
        }
    }
}

/// What each row's code says; `None` for NULL.
fn stated(codes: &ArrayRef) -> Result<Vec<Option<Conditions>>> {
    let codes = cast(codes, &DataType::Utf8)?;
    Ok(codes.as_string::<i32>().iter().map(|code| code.map(Conditions::of)).collect())
}

fn states(column: &ArrayRef) -> Result<&UInt32Array> {
    match column.as_primitive_opt::<UInt32Type>() {
        Some(states) => Ok(states),
        None => exec_err!("the state of charlson is a set of conditions"),
    }
}

/// How often each condition was stated: a row can leave a frame again.
#[derive(Debug)]
struct OfOne {
    asked: Asked,
    counts: [u32; MOST_CONDITIONS],
}

impl OfOne {
    fn take_in(&mut self, conditions: Conditions) {
        conditions.bits().for_each(|bit| self.counts[bit] += 1);
    }

    fn conditions(&self) -> Conditions {
        Conditions::of_bits(self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bit, _)| bit))
    }
}

impl Accumulator for OfOne {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [codes] = values else { return exec_err!("charlson(code)") };
        stated(codes)?.into_iter().flatten().for_each(|conditions| self.take_in(conditions));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [codes] = values else { return exec_err!("charlson(code)") };
        for conditions in stated(codes)?.into_iter().flatten() {
            conditions.bits().for_each(|bit| self.counts[bit] = self.counts[bit].saturating_sub(1));
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::UInt32(Some(self.conditions().into()))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [found] = values else { return exec_err!("the state of charlson is one column") };
        states(found)?.iter().flatten().for_each(|found| self.take_in(found.into()));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.asked.answers(&[self.conditions()]), 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// One set of conditions a group.
struct OfMany {
    asked: Asked,
    found: Vec<Conditions>,
}

impl OfMany {
    fn add(&mut self, conditions: impl Iterator<Item = Option<Conditions>>, groups: &[usize], count: usize) {
        self.found.resize(count, Conditions::default());
        for (group, conditions) in groups.iter().zip(conditions) {
            if let (Some(conditions), Some(found)) = (conditions, self.found.get_mut(*group)) {
                *found = found.with(conditions);
            }
        }
    }
}

/// Leaves out the rows that a FILTER does not let through.
fn filtered(rows: Vec<Option<Conditions>>, filter: Option<&BooleanArray>) -> Vec<Option<Conditions>> {
    let Some(filter) = filter else { return rows };
    rows.into_iter().zip(filter.iter()).map(|(row, passes)| row.filter(|_| passes == Some(true))).collect()
}

impl GroupsAccumulator for OfMany {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, count: usize) -> Result<()> {
        let [codes] = values else { return exec_err!("charlson(code)") };
        self.add(filtered(stated(codes)?, filter).into_iter(), groups, count);
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        let [found] = values else { return exec_err!("the state of charlson is one column") };
        self.add(states(found)?.iter().map(|found| found.map(Conditions::from)), groups, count);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.asked.answers(&emit_to.take_needed(&mut self.found)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let found = emit_to.take_needed(&mut self.found);
        Ok(vec![Arc::new(found.into_iter().map(|found| Some(u32::from(found))).collect::<UInt32Array>())])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let [codes] = values else { return exec_err!("charlson(code)") };
        let rows = filtered(stated(codes)?, filter).into_iter().map(|row| Some(u32::from(row.unwrap_or_default())));
        Ok(vec![Arc::new(rows.collect::<UInt32Array>())])
    }

    fn size(&self) -> usize {
        self.found.capacity() * size_of::<Conditions>()
    }
}
