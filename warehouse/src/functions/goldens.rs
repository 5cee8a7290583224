//! The measures beside scikit-learn, SciPy and numpy, and Charlson's index beside its public implementations: what those say lies in
//! `goldens/`, with the scripts that asked them. Everything is asked through SQL, over several partitions.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::prelude::SessionContext;
use serde::Deserialize;

use super::tests::{Column, asked, session};

mod comorbidity;

const NEAR: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    binary: Vec<Binary>,
    several: Vec<Several>,
    distributions: Vec<Distributions>,
}

#[derive(Deserialize)]
struct Binary {
    label: Vec<i64>,
    score: Vec<f64>,
    weight: Option<Vec<f64>>,
    threshold: f64,
    auroc: Option<f64>,
    auprc: Option<f64>,
    brier: f64,
    log_loss: f64,
    ece: f64,
    calibration: Vec<(i64, Option<f64>, Option<f64>)>,
    sensitivity: Option<f64>,
    ppv: Option<f64>,
    delong: Option<f64>,
    bootstrap: Option<f64>,
}

#[derive(Deserialize)]
struct Several {
    label: Vec<i64>,
    probabilities: Vec<Vec<f64>>,
    weight: Option<Vec<f64>>,
    auroc: f64,
    auprc: f64,
    brier: f64,
    log_loss: f64,
    ece: f64,
}

#[derive(Deserialize)]
struct Distributions {
    reference: Vec<f64>,
    current: Vec<f64>,
    bins: i64,
    psi: f64,
    js: f64,
    ks: f64,
    wasserstein: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("goldens/measures.json")).expect("the golden is JSON")
}

/// The only row's columns as doubles.
fn row(batches: &[RecordBatch]) -> Vec<Option<f64>> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).expect("a row");
    let number = |column: &ArrayRef| {
        let numbers = cast(column, &DataType::Float64).expect("a number");
        let numbers = numbers.as_primitive::<Float64Type>();
        numbers.is_valid(0).then(|| numbers.value(0))
    };
    batch.columns().iter().map(number).collect()
}

fn near(found: &[Option<f64>], expected: &[Option<f64>], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        match (found, expected) {
            (Some(found), Some(expected)) => assert!((found - expected).abs() < NEAR, "{what}, column {place}: {found} is not {expected}"),
            _ => assert_eq!(found, expected, "{what}, column {place}"),
        }
    }
}

#[tokio::test]
async fn two_classes_are_judged_as_scikit_learn_judges_them() {
    for (number, case) in golden().binary.into_iter().enumerate() {
        let weight = if case.weight.is_some() { ", weight" } else { "" };
        let rows = case.label.len();
        let columns = vec![
            ("label", Column::Whole(case.label)),
            ("score", Column::Number(case.score)),
            ("weight", Column::Number(case.weight.unwrap_or_else(|| vec![1.0; rows]))),
        ];
        let ctx = session("predictions", columns, 3);
        let threshold = case.threshold;
        let sql = format!(
            "SELECT auroc(label, score{weight}), auprc(label, score{weight}), brier(label, score{weight}), log_loss(label, score{weight}), \
             ece(label, score{weight}), sensitivity_at(label, score, {threshold}{weight}), ppv_at(label, score, {threshold}{weight}) FROM predictions"
        );
        let expected = [case.auroc, case.auprc, Some(case.brier), Some(case.log_loss), Some(case.ece), case.sensitivity, case.ppv];
        near(&row(&asked(&ctx, &sql).await), &expected, &format!("case {number}"));
        bins_are(&ctx, weight, &case.calibration).await;
        if let Some(deviation) = case.delong {
            let sql = "SELECT auroc_ci(label, score)['low'], auroc_ci(label, score)['high'] FROM predictions";
            near(&row(&asked(&ctx, sql).await), &interval(case.auroc, deviation), &format!("interval of case {number}"));
        }
        if let Some(deviation) = case.bootstrap {
            let weight = if weight.is_empty() { "" } else { ", weight" };
            let sql =
                format!("SELECT ci['low'], ci['high'] FROM (SELECT auroc_ci(label, score, 40, {number}{weight}) AS ci FROM predictions)");
            near(&row(&asked(&ctx, &sql).await), &interval(case.auroc, deviation), &format!("bootstrap of case {number}"));
        }
    }
}

fn interval(area: Option<f64>, deviation: f64) -> [Option<f64>; 2] {
    area.map_or([None, None], |area| [Some((area - 1.96 * deviation).max(0.0)), Some((area + 1.96 * deviation).min(1.0))])
}

async fn bins_are(ctx: &SessionContext, weight: &str, expected: &[(i64, Option<f64>, Option<f64>)]) {
    let sql = format!(
        "SELECT bin['n'] AS n, bin['score'] AS score, bin['observed'] AS observed, bin['low'] AS low \
         FROM (SELECT unnest(calibration(label, score{weight})) AS bin FROM predictions) ORDER BY low"
    );
    let batches = asked(ctx, &sql).await;
    let batch = batches.first().expect("bins");
    let counted = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(counted, expected.iter().map(|bin| bin.0).collect::<Vec<_>>());
    for (column, of) in [(1, expected.iter().map(|bin| bin.1).collect::<Vec<_>>()), (2, expected.iter().map(|bin| bin.2).collect())] {
        near(&batch.column(column).as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), &of, "bins");
    }
}

#[tokio::test]
async fn several_classes_are_judged_as_scikit_learn_judges_them() {
    for (number, case) in golden().several.into_iter().enumerate() {
        let weight = if case.weight.is_some() { ", weight" } else { "" };
        let rows = case.label.len();
        let columns = vec![
            ("label", Column::Whole(case.label)),
            ("probabilities", Column::Numbers(case.probabilities)),
            ("weight", Column::Number(case.weight.unwrap_or_else(|| vec![1.0; rows]))),
        ];
        let ctx = session("predictions", columns, 3);
        let of = |name: &str| format!("{name}(label, probabilities{weight})");
        let names = ["auroc_ovr", "auroc", "auprc", "brier", "log_loss", "ece"].map(of).join(", ");
        let expected = [case.auroc, case.auroc, case.auprc, case.brier, case.log_loss, case.ece].map(Some);
        near(&row(&asked(&ctx, &format!("SELECT {names} FROM predictions")).await), &expected, &format!("case {number}"));
    }
}

#[tokio::test]
async fn distributions_lie_as_far_apart_as_scipy_and_numpy_say() {
    for (number, case) in golden().distributions.into_iter().enumerate() {
        let truths = (0..case.reference.len() + case.current.len()).map(|row| row < case.reference.len()).collect();
        let values = case.reference.into_iter().chain(case.current).collect();
        let ctx = session("samples", vec![("value", Column::Number(values)), ("is_reference", Column::Truth(truths))], 3);
        let bins = case.bins;
        let sql = format!(
            "SELECT psi(value, is_reference, {bins}), js(value, is_reference, {bins}), ks(value, is_reference), wasserstein(value, is_reference) \
             FROM samples"
        );
        near(&row(&asked(&ctx, &sql).await), &[case.psi, case.js, case.ks, case.wasserstein].map(Some), &format!("case {number}"));
    }
}
