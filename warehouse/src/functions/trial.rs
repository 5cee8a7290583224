//! Made-up predictions and distributions in memory, to measure the functions over them. Holds nothing of the warehouse.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::error::Result as EngineResult;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::QueryError;

/// Partitions that are read beside one another, as in a session of the warehouse.
const PARTITIONS: usize = 2;
/// Rows a batch, as the engine cuts them.
const BATCH: usize = 8_192;

/// Tables `predictions(label, score)` and `samples(value, is_reference)`.
pub struct Trial {
    ctx: SessionContext,
}

/// Numbers after a linear congruence: no more than made-up rows need.
struct Numbers(u64);

impl Numbers {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About 0, with a deviation of about 1.
    fn spread(&mut self) -> f64 {
        ((0..12).map(|_| self.share()).sum::<f64>() - 6.0).clamp(-6.0, 6.0)
    }
}

impl Trial {
    /// `predictions` of `rows` rows, half of them of class 1, whose score is half a deviation higher; `samples` of `rows` rows of the
    /// reference and as many that are moved by 0.05. Scores are of single precision, as a model gives them.
    ///
    /// # Errors
    /// Where the tables cannot be made, which is a bug.
    pub fn of(rows: usize) -> Result<Self, QueryError> {
        let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(PARTITIONS));
        super::register(&ctx);
        let mut numbers = Numbers(1);
        let labels: Vec<i64> = (0..rows).map(|_| i64::from(numbers.share() < 0.5)).collect();
        let single = |number: f64| f64::from(number as f32);
        let scores: Vec<f64> = labels.iter().map(|label| single(numbers.spread() + 0.5 * *label as f64)).collect();
        let values: Vec<f64> = scores.iter().copied().chain(scores.iter().map(|score| single(score + 0.05))).collect();
        let references: BooleanArray = (0..2 * rows).map(|row| Some(row < rows)).collect();
        let label = Field::new("label", DataType::Int64, false);
        let number = |name: &str| Field::new(name, DataType::Float64, false);
        let predictions: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(labels)), Arc::new(Float64Array::from(scores))];
        ctx.register_table("predictions", Arc::new(table(vec![label, number("score")], predictions)?))?;
        let samples: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(values)), Arc::new(references)];
        let fields = vec![number("value"), Field::new("is_reference", DataType::Boolean, false)];
        ctx.register_table("samples", Arc::new(table(fields, samples)?))?;
        Ok(Self { ctx })
    }

    /// Asks one question, and reads all of the answer.
    ///
    /// # Errors
    /// Where the query is refused or cannot be answered.
    pub async fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        Ok(self.ctx.sql(sql).await?.collect().await?)
    }
}

fn table(fields: Vec<Field>, columns: Vec<ArrayRef>) -> EngineResult<MemTable> {
    let schema = Arc::new(Schema::new(fields));
    let whole = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let cuts = (0..whole.num_rows()).step_by(BATCH);
    let batches: Vec<RecordBatch> = cuts.map(|from| whole.slice(from, BATCH.min(whole.num_rows() - from))).collect();
    let parts = batches.chunks(batches.len().div_ceil(PARTITIONS).max(1)).map(<[RecordBatch]>::to_vec).collect();
    MemTable::try_new(schema, parts)
}
