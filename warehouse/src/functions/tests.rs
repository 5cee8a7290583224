//! The promises of the aggregates that hold whatever they measure: partitions, order, frames, NULL, wrong calls.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Float64Builder, Int64Array, ListBuilder, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

pub enum Column {
    Whole(Vec<i64>),
    Number(Vec<f64>),
    Numbers(Vec<Vec<f64>>),
    Truth(Vec<bool>),
    Text(Vec<String>),
}

impl Column {
    fn array(self) -> ArrayRef {
        match self {
            Self::Whole(values) => Arc::new(Int64Array::from(values)),
            Self::Number(values) => Arc::new(Float64Array::from(values)),
            Self::Truth(values) => Arc::new(BooleanArray::from(values)),
            Self::Text(values) => Arc::new(StringArray::from(values)),
            Self::Numbers(rows) => {
                let mut lists = ListBuilder::new(Float64Builder::new());
                for row in rows {
                    lists.values().append_slice(&row);
                    lists.append(true);
                }
                Arc::new(lists.finish())
            }
        }
    }
}

/// A session with one table, its rows dealt in small batches to `partitions`.
pub fn session(table: &str, columns: Vec<(&str, Column)>, partitions: usize) -> SessionContext {
    let (names, arrays): (Vec<&str>, Vec<ArrayRef>) = columns.into_iter().map(|(name, column)| (name, column.array())).unzip();
    let fields: Vec<Field> = names.iter().zip(&arrays).map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let whole = RecordBatch::try_new(Arc::clone(&schema), arrays).expect("columns of one length");
    let mut parts = vec![Vec::new(); partitions];
    for (nth, from) in (0..whole.num_rows()).step_by(7).enumerate() {
        parts[nth % partitions].push(whole.slice(from, 7.min(whole.num_rows() - from)));
    }
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    super::register(&ctx);
    ctx.register_table(table, Arc::new(MemTable::try_new(schema, parts).expect("a table"))).expect("registers");
    ctx
}

pub async fn asked(ctx: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let frame = ctx.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// All cells as text; doubles show every digit that tells them apart.
async fn told(ctx: &SessionContext, sql: &str) -> Vec<String> {
    let batches = asked(ctx, sql).await;
    let cells = batches.iter().flat_map(|batch| {
        (0..batch.num_rows())
            .flat_map(move |row| batch.columns().iter().map(move |column| array_value_to_string(column, row).expect("a value")))
    });
    cells.collect()
}

async fn refusal(ctx: &SessionContext, sql: &str) -> String {
    match ctx.sql(sql).await {
        Err(error) => error.to_string(),
        Ok(frame) => frame.collect().await.expect_err(sql).to_string(),
    }
}

/// Every aggregate over the columns of `drawn`.
const ALL: [&str; 19] = [
    "auroc(label, score)",
    "auroc(label, score, weight)",
    "auroc_ovr(kind, probabilities)",
    "auroc_error(label, score)",
    "auprc(kind, probabilities, weight)",
    "auroc_ci(label, score)",
    RESAMPLED,
    "brier(label, score, weight)",
    "log_loss(kind, probabilities)",
    "ece(label, score)",
    "calibration(label, score, weight)",
    "sensitivity_at(label, score, 0.5)",
    "ppv_at(label, score, weight)",
    "psi(score, weight > 0.5)",
    "js(score, weight > 0.5, 4)",
    "ks(score, weight > 0.5)",
    "wasserstein(score, weight > 0.5)",
    "charlson(code)",
    "charlson_conditions(code)",
];

/// The one that draws resamples, which frames do not.
const RESAMPLED: &str = "auroc_ci(kind, probabilities, 20, 3, weight)";

const CODES: [&str; 6] = ["ICD10CM/E11.9", "ICD10CM/E11.22", "ICD9CM/4280", "ICD10CM/Z59.0", "SNOMED/1", "ICD9CM/197.0"];

/// Rows in the order of `turn`, of which each order has all rows.
fn drawn(rows: usize, turn: usize) -> Vec<(&'static str, Column)> {
    let mut state = 42_u64;
    let mut below = |limit: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 40).unwrap_or(0) % limit
    };
    let drawn: Vec<[u32; 7]> = (0..rows).map(|_| [below(2), below(97), below(7), below(4), below(8), below(8), below(6)]).collect();
    let at: Vec<[u32; 7]> = (0..rows).map(|row| drawn[(row * (2 * turn + 1)) % rows]).collect();
    let number = |of: fn(&[u32; 7]) -> f64| Column::Number(at.iter().map(of).collect());
    let probabilities = at.iter().map(|row| [row[4], row[5], 16 - row[4] - row[5], 0].map(|part| f64::from(part) / 16.0).to_vec());
    vec![
        ("at", Column::Whole((0..).take(rows).collect())),
        ("label", Column::Whole(at.iter().map(|row| i64::from(row[0])).collect())),
        ("score", number(|row| f64::from(row[1]) / 96.0)),
        ("weight", number(|row| f64::from(row[2]) / 3.0)),
        ("kind", Column::Whole(at.iter().map(|row| i64::from(row[3])).collect())),
        ("probabilities", Column::Numbers(probabilities.collect())),
        ("code", Column::Text(at.iter().map(|row| CODES[row[6] as usize].to_owned()).collect())),
    ]
}

#[tokio::test]
async fn partitions_and_the_order_of_rows_change_no_bit_of_an_answer() {
    let sql = format!("SELECT {} FROM rows", ALL.join(", "));
    let grouped = format!("SELECT kind, {} FROM rows GROUP BY kind ORDER BY kind", ALL.join(", "));
    let mut seen = Vec::new();
    for (partitions, turn) in [(1, 0), (2, 0), (5, 3), (3, 11), (4, 70)] {
        let ctx = session("rows", drawn(256, turn), partitions);
        seen.push((told(&ctx, &sql).await, told(&ctx, &grouped).await));
    }
    assert_eq!(seen[0].0.len(), ALL.len());
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:#?}");
}

#[tokio::test]
async fn a_frame_gives_what_its_rows_alone_give() {
    let ctx = session("rows", drawn(60, 0), 2);
    for call in ALL.iter().filter(|call| **call != RESAMPLED) {
        let framed = format!("SELECT at, {call} OVER (ORDER BY at ROWS BETWEEN 12 PRECEDING AND 2 PRECEDING) FROM rows ORDER BY at");
        let alone = format!(
            "SELECT r.at, f.answer FROM rows AS r LEFT JOIN (SELECT a.at, {} AS answer FROM (SELECT at FROM rows) AS a \
             JOIN rows AS b ON b.at BETWEEN a.at - 12 AND a.at - 2 GROUP BY a.at) AS f ON f.at = r.at ORDER BY r.at",
            call
        );
        assert_eq!(told(&ctx, &framed).await, told(&ctx, &alone).await, "{call}");
    }
}

/// Rows that stand beside one another have one frame, whose answer is not made again.
#[tokio::test]
async fn rows_that_are_ordered_alike_have_one_answer() {
    let ctx = session("rows", drawn(60, 0), 2);
    for call in ALL.iter().filter(|call| **call != RESAMPLED) {
        let framed = format!("SELECT at, {call} OVER (ORDER BY kind) FROM rows ORDER BY at");
        let alone = format!(
            "SELECT r.at, f.answer FROM rows AS r JOIN (SELECT a.upto, {call} AS answer FROM (SELECT DISTINCT kind AS upto FROM rows) AS a \
             JOIN rows AS b ON b.kind <= a.upto GROUP BY a.upto) AS f ON f.upto = r.kind ORDER BY r.at"
        );
        assert_eq!(told(&ctx, &framed).await, told(&ctx, &alone).await, "{call}");
    }
}

#[tokio::test]
async fn frames_draw_no_resamples() {
    let ctx = session("rows", drawn(20, 0), 2);
    for window in ["", "PARTITION BY kind", "ORDER BY at", "ORDER BY at ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING"] {
        for call in [RESAMPLED, "auroc_ci(label, score, 20, 3)"] {
            let refused = refusal(&ctx, &format!("SELECT at, {call} OVER ({window}) AS answer FROM rows")).await;
            assert!(refused.contains("resamples are not supported in the frames of a window"), "{call} {window}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_row_with_a_null_counts_nowhere() {
    let ctx = session("rows", drawn(120, 0), 3);
    for call in ALL.iter().filter(|call| !call.contains("charlson")) {
        let holed = call
            .replace("label", "CASE WHEN at % 5 = 0 THEN NULL ELSE label END")
            .replace("kind", "CASE WHEN at % 5 = 1 THEN NULL ELSE kind END")
            .replace("score", "CASE WHEN at % 5 = 2 THEN NULL ELSE score END")
            .replace("probabilities", "CASE WHEN at % 5 = 3 THEN NULL ELSE probabilities END")
            .replace(", weight)", ", CASE WHEN at % 5 = 4 THEN NULL ELSE weight END)");
        let left: Vec<&str> = [("label", "0"), ("kind", "1"), ("score", "2"), ("probabilities", "3"), (", weight)", "4")]
            .iter()
            .filter(|(column, _)| call.contains(column))
            .map(|(_, rest)| *rest)
            .collect();
        let without = format!("SELECT {call} FROM rows WHERE at % 5 NOT IN ({})", left.join(", "));
        assert_eq!(told(&ctx, &format!("SELECT {holed} FROM rows")).await, told(&ctx, &without).await, "{call}");
    }
}

/// What rows are ordered by within a call is neither a weight nor a threshold.
#[tokio::test]
async fn an_order_within_a_call_changes_no_bit_of_an_answer() {
    let orders = ["at", "score DESC", "weight, code", "at % 3, code"];
    for partitions in [1, 3] {
        let ctx = session("rows", drawn(90, 0), partitions);
        for (call, group) in ALL.iter().flat_map(|call| ["", " GROUP BY kind ORDER BY kind"].map(|group| (call, group))) {
            let inner = call.strip_suffix(')').expect("a call");
            let plain = told(&ctx, &format!("SELECT {call} FROM rows{group}")).await;
            for order in orders {
                assert_eq!(told(&ctx, &format!("SELECT {inner} ORDER BY {order}) FROM rows{group}")).await, plain, "{call} {order}{group}");
            }
        }
    }
}

#[tokio::test]
async fn rows_that_are_alike_all_count() {
    let ctx = session("rows", drawn(60, 0), 2);
    for call in ALL {
        let distinct = call.replacen('(', "(DISTINCT ", 1);
        for group in ["", " GROUP BY kind ORDER BY kind"] {
            let sql = format!("SELECT {distinct} FROM rows{group}");
            if call.contains("charlson") {
                assert_eq!(told(&ctx, &sql).await, told(&ctx, &format!("SELECT {call} FROM rows{group}")).await, "{call}");
            } else {
                assert!(refusal(&ctx, &sql).await.contains("DISTINCT is not supported"), "{call}");
            }
        }
    }
}

/// Lists of two classes among lists of three and four: each row is one of the widest, in whatever batch, partition or frame it comes.
#[tokio::test]
async fn lists_of_different_lengths_are_read_as_the_longest() {
    let calls = ["auroc", "auprc", "brier", "log_loss", "ece", "calibration"].map(|name| format!("{name}(label, scores)"));
    let length = |row: usize| if row < 150 { 2 } else { [2, 3, 2, 4][row % 4] };
    let list = |row: usize, width: usize| {
        let first = (row * 7 % 11) as f64 / 16.0;
        let rest = vec![(1.0 - first) / (length(row) - 1) as f64; length(row) - 1];
        [first].into_iter().chain(rest).chain(std::iter::repeat(0.0)).take(width).collect::<Vec<f64>>()
    };
    let columns = |longest: bool| {
        let lists = (0..200).map(|row| list(row, if longest { 4 } else { length(row) })).collect();
        let labels = (0..200).map(|row| i64::try_from(row % length(row)).expect("a class")).collect();
        vec![("at", Column::Whole((0..200).collect())), ("label", Column::Whole(labels)), ("scores", Column::Numbers(lists))]
    };
    let (all, framed) = (format!("SELECT {} FROM rows", calls.join(", ")), calls[2..].iter());
    let expected = told(&session("rows", columns(true), 1), &all).await;
    for partitions in [1, 2, 5] {
        assert_eq!(told(&session("rows", columns(false), partitions), &all).await, expected);
    }
    let ctx = session("rows", columns(false), 2);
    for call in framed {
        let window = format!("SELECT at, {call} OVER (ORDER BY at ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM rows ORDER BY at");
        let alone = format!(
            "SELECT a.at, {call} FROM (SELECT at FROM rows) AS a JOIN rows AS b ON b.at BETWEEN a.at - 2 AND a.at GROUP BY a.at ORDER BY a.at"
        );
        assert_eq!(told(&ctx, &window).await, told(&ctx, &alone).await, "{call}");
    }
}

#[tokio::test]
async fn a_row_that_weighs_nothing_counts_nowhere() {
    let ctx = session("rows", drawn(120, 0), 3);
    for call in ALL.iter().filter(|call| call.contains(", weight)") && !call.contains("ppv_at") && !call.contains("calibration")) {
        let weightless = call.replace(", weight)", ", CASE WHEN kind = 3 OR at % 5 = 0 THEN 0.0 ELSE weight END)");
        let spoilt = weightless
            .replace("score", "CASE WHEN kind = 3 OR at % 5 = 0 THEN 'NaN'::DOUBLE ELSE score END")
            .replace("probabilities", "CASE WHEN kind = 3 OR at % 5 = 0 THEN ['NaN'::DOUBLE, 0.5] ELSE probabilities END");
        let without = told(&ctx, &format!("SELECT {call} FROM rows WHERE kind <> 3 AND at % 5 <> 0")).await;
        assert_eq!(told(&ctx, &format!("SELECT {weightless} FROM rows")).await, without, "{weightless}");
        assert_eq!(told(&ctx, &format!("SELECT {spoilt} FROM rows")).await, without, "{spoilt}");
    }
}

#[tokio::test]
async fn an_empty_group_has_no_answer() {
    let ctx = session("rows", drawn(20, 0), 2);
    for call in ALL {
        assert_eq!(told(&ctx, &format!("SELECT {call} IS NULL FROM rows WHERE at < 0")).await, ["true"], "{call}");
    }
}

#[tokio::test]
async fn what_is_not_defined_is_null_and_what_is_no_number_is_nan() {
    let ctx = session("rows", drawn(20, 0), 2);
    let cases = [
        ("auroc(label, score)", "label = 1", "NULL"),
        ("auroc_ci(label, score)['low']", "label = 1", "NULL"),
        ("auprc(label, score)", "label = 0", "NULL"),
        ("auprc(label, score)", "label = 1", "1.0"),
        ("sensitivity_at(label, score, 0.5)", "label = 0", "NULL"),
        ("ppv_at(label, score, 2.0)", "true", "NULL"),
        ("brier(label, score, 0)", "true", "NULL"),
        ("auroc(label, CASE WHEN at = 3 THEN 'NaN'::DOUBLE ELSE score END)", "true", "NaN"),
        ("brier(label, score + 1.0)", "true", "NaN"),
        ("auroc(label, score, -1.0)", "true", "NaN"),
        ("psi(score, true)", "true", "NULL"),
        ("ks('NaN'::DOUBLE, at < 10)", "true", "NaN"),
        ("auroc(label = 1, CAST(score AS REAL)) = auroc(CAST(label AS DOUBLE), CAST(score AS REAL))", "true", "true"),
        (
            "auroc(label, CASE WHEN at % 2 = 0 THEN [1.0 - score, score] ELSE make_array() END) = auroc(label, score) FILTER (WHERE at % 2 = 0)",
            "true",
            "true",
        ),
        ("auroc(label, CASE WHEN at = 3 THEN [score] ELSE [1.0 - score, score] END)", "true", "NaN"),
        ("auroc(label, CASE WHEN at = 3 THEN [NULL, score] ELSE [1.0 - score, score] END)", "true", "NaN"),
        ("auroc(label, [1.0 - score, score]) = auroc(label, score)", "true", "true"),
        ("psi(CASE WHEN at = 3 THEN '-inf'::DOUBLE ELSE score END, at < 10) BETWEEN 0.0 AND 20.0", "true", "true"),
        ("js(CASE WHEN at = 3 THEN 'inf'::DOUBLE ELSE score END, at < 10) BETWEEN 0.0 AND 0.8326", "true", "true"),
        ("charlson(code)", "code LIKE 'SNOMED%'", "NULL"),
    ];
    for (call, condition, expected) in cases {
        let shown = format!("SELECT coalesce(CAST({call} AS VARCHAR), 'NULL') FROM rows WHERE {condition}");
        assert_eq!(told(&ctx, &shown).await, [expected], "{call}");
    }
}

#[tokio::test]
async fn a_wrong_call_says_what_is_wanted() {
    let ctx = session("rows", drawn(20, 0), 2);
    let cases = [
        ("auroc(label, code)", "auroc(label, score [, weight]): a score is a number"),
        ("auroc(code, score)", "auroc(label, score [, weight]): the label is a class"),
        ("auroc(label - 1, score)", "a label is a class: 0, 1, 2, ..."),
        ("auroc(label / 2.0, score)", "a label is a class: 0, 1, 2, ..."),
        ("auroc(label + 1, score)", "beside one score a label is 0 or 1"),
        ("brier(label, score, code)", "brier(label, probability [, weight]): what follows the score is a number"),
        ("auroc_ci(label, score, 1, 1)", "resamples are 2 to 10000"),
        ("auroc_ci(label, score, kind, 1)", "the numbers at the end are constants"),
        ("auroc_ci(kind, probabilities)", "auroc_ci of several classes draws resamples"),
        ("sensitivity_at(kind, probabilities, 0.5)", "a threshold asks about one score"),
        ("ppv_at(kind, probabilities, 0.5)", "a threshold asks about one score"),
        ("psi(code, true)", "psi(value, is_reference [, bins]): the value is a number"),
        ("psi(score, label)", "whether a value is of the reference is a truth"),
        ("psi(score, label = 1, 1)", "bins are 2 to 1000"),
    ];
    for (call, expected) in cases {
        let refused = refusal(&ctx, &format!("SELECT {call} FROM rows")).await;
        assert!(refused.contains(expected), "{call}: {refused}");
    }
    assert!(refusal(&ctx, "SELECT auroc(label) FROM rows").await.contains("auroc"));
}

#[tokio::test]
async fn the_trial_has_the_rows_that_were_asked() {
    let trial = super::trial::Trial::of(20_000).expect("a trial");
    let batches = trial.ask("SELECT count(*) FROM samples").await.expect("answers");
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 40_000);
    let batches =
        trial.ask("SELECT 1 FROM predictions HAVING auroc(label, score) BETWEEN 0.6 AND 0.67 AND count(*) = 20000").await.expect("answers");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}
