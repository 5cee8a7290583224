//! What held: the services' own figures beside the hospital's truth.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use schemas::Task;
use serde::Deserialize;
use warehouse::{AsOf, Format, Warehouse, render};

use super::report::{Report, TaskFigures};
use super::truth::Truth;
use crate::services::Services;

/// The share of the way from 0.5 to the ceiling that each task must reach.
const SHARE: f64 = 0.6;
/// Months within which planted drift must be alarmed.
const MONTHS: f64 = 3.0;

/// Judges the whole story.
///
/// # Errors
/// Where a figure could not be read.
pub async fn all(report: &mut Report, services: &Services, truth: &Truth, first_at: Timestamp) -> anyhow::Result<()> {
    messages(report, services).await?;
    labels(report, &services.warehouse, truth).await?;
    tasks(report, services, truth, first_at).await?;
    predictions(report, &services.warehouse).await?;
    drift(report, services).await?;
    refresh(report, &services.warehouse).await
}

async fn rows<T: serde::de::DeserializeOwned>(warehouse: &Warehouse, sql: &str, at: &AsOf) -> anyhow::Result<Vec<T>> {
    let batches = warehouse.query(sql, at).await.with_context(|| format!("could not ask: {sql}"))?;
    let text = render(&batches, Format::Ndjson).context("could not read an answer")?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("an answer has another shape: {sql}"))).collect()
}

async fn messages(report: &mut Report, services: &Services) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Row {
        landed: u64,
        rejected: u64,
    }
    let sql =
        "SELECT count(*) AS landed, count(*) FILTER (WHERE outcome = 'rejected') AS rejected FROM messages WHERE facility <> 'wardstream'";
    let row: Row = rows(&services.warehouse, sql, &AsOf::default()).await?.pop().context("no row")?;
    let gaps = services.warehouse.verify().await.context("could not verify")?;
    report.messages.landed = row.landed;
    report.messages.rejected = row.rejected;
    report.messages.missing = gaps.iter().map(|gap| gap.missing.unsigned_abs()).sum();
    report.messages.doubled = gaps.iter().map(|gap| gap.doubled.unsigned_abs()).sum();
    let found = format!("{} of {} landed, {} ranges in doubt", row.landed, report.messages.published, gaps.len());
    report.check("nothing is lost, nothing is doubled", gaps.is_empty() && row.landed == report.messages.published, found);
    Ok(())
}

#[derive(Deserialize)]
struct Labelled {
    task: String,
    encounter_id: String,
    label: i32,
}

async fn labels(report: &mut Report, warehouse: &Warehouse, truth: &Truth) -> anyhow::Result<()> {
    let labelled: Vec<Labelled> =
        rows(warehouse, "SELECT task, encounter_id, label FROM labels WHERE label IS NOT NULL", &AsOf::default()).await?;
    for row in labelled {
        match truth.get(&(row.task, row.encounter_id)) {
            Some(known) => {
                report.labels.compared += 1;
                report.labels.equal += u64::from(known.label == row.label);
            }
            None => report.labels.only_in_labels += 1,
        }
    }
    let labels = &report.labels;
    let found = format!("{} of {} equal, {} that the hospital does not know", labels.equal, labels.compared, labels.only_in_labels);
    let held = labels.compared > 0 && labels.equal == labels.compared && labels.only_in_labels == 0;
    report.check("mature labels equal the hospital's truth", held, found);
    Ok(())
}

async fn tasks(report: &mut Report, services: &Services, truth: &Truth, first_at: Timestamp) -> anyhow::Result<()> {
    let first = services.training.with(|orders| orders.reports.first().cloned()).context("no first cycle")?;
    let at = AsOf { known_at: Some(first_at), ..AsOf::default() };
    let tested: Vec<Labelled> =
        rows(&services.warehouse, "SELECT task, encounter_id, label FROM examples WHERE split = 'test'", &at).await?;
    for task in Task::ALL {
        let figures = first.figures(task, "test").with_context(|| format!("the first cycle has no figures for {task}"))?;
        let known = tested
            .iter()
            .filter(|row| row.task == task.as_str())
            .filter_map(|row| truth.get(&(row.task.clone(), row.encounter_id.clone())));
        let (labels, probabilities): (Vec<i32>, Vec<Vec<f64>>) = known.map(|known| (known.label, known.probability.clone())).unzip();
        let ceiling =
            trainer::evaluation::auroc_ovr(&labels, &probabilities).with_context(|| format!("the test of {task} has one class only"))?;
        let share = (figures.auroc - 0.5) / (ceiling - 0.5);
        let separate = figures.low > figures.zero_shot.high;
        report.check(
            &format!("{task} is learned"),
            separate && share >= SHARE,
            format_args!(
                "AUROC {:.3} [{:.3}, {:.3}], zero-shot {:.3} up to {:.3}, {:.0} % of the way to {:.3}",
                figures.auroc,
                figures.low,
                figures.high,
                figures.zero_shot.auroc,
                figures.zero_shot.high,
                100.0 * share,
                ceiling
            ),
        );
        let row = TaskFigures {
            n: figures.n,
            auroc: figures.auroc,
            low: figures.low,
            high: figures.high,
            ceiling,
            share,
            zero_shot: figures.zero_shot.auroc,
            zero_shot_high: figures.zero_shot.high,
        };
        report.tasks.insert(task.to_string(), row);
    }
    Ok(())
}

async fn predictions(report: &mut Report, warehouse: &Warehouse) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Row {
        published: u64,
        distinct_ids: u64,
    }
    let sql = "SELECT count(*) AS published, count(DISTINCT prediction_id) AS distinct_ids FROM prediction_rows";
    let row: Row = rows(warehouse, sql, &AsOf::default()).await?.pop().context("no row")?;
    #[derive(Deserialize)]
    struct Unanswered {
        unanswered: u64,
    }
    let sql = "SELECT count(*) AS unanswered FROM labels AS l LEFT JOIN predictions AS p ON p.note_id = l.note_id AND p.task = l.task \
               WHERE l.note_id IS NOT NULL AND l.excluded_because IS NULL AND p.prediction_id IS NULL AND l.prediction_at >= TIMESTAMP '2021-07-01T00:00:00Z'";
    let open: Unanswered = rows(warehouse, sql, &AsOf::default()).await?.pop().context("no row")?;
    report.predictions.published = row.published;
    report.predictions.distinct = row.distinct_ids;
    report.predictions.duplicates = row.published - row.distinct_ids;
    report.check(
        "every note that asks is answered",
        open.unanswered == 0 && row.distinct_ids > 0,
        format_args!("{} predictions, {} questions without one", row.distinct_ids, open.unanswered),
    );
    Ok(())
}

async fn drift(report: &mut Report, services: &Services) -> anyhow::Result<()> {
    let planted = report.drift.planted_at.context("nothing was planted")?;
    let alarms = services.warehouse.alarms().await.context("could not read the alarms")?;
    report.drift.false_alarms = alarms.iter().filter(|alarm| alarm.month < planted).count();
    report.drift.alarmed_at = alarms.iter().filter(|alarm| alarm.month >= planted).map(|alarm| alarm.alarmed_at).min();
    let months = report.drift.alarmed_at.map(|at| at.duration_since(planted).as_secs_f64() / 86_400.0 / 30.44);
    let found = months.map_or_else(|| "never alarmed".to_owned(), |months| format!("alarmed {months:.1} months after it was planted"));
    report.check("planted drift is alarmed within three months", months.is_some_and(|months| months <= MONTHS), found);
    let early: Vec<String> = alarms
        .iter()
        .filter(|alarm| alarm.month < planted)
        .map(|alarm| format!("{} {} {}", alarm.month.strftime("%Y-%m"), alarm.task, alarm.measure))
        .collect();
    report.check("no alarm before it", early.is_empty(), if early.is_empty() { "none".to_owned() } else { early.join(", ") });
    Ok(())
}

async fn refresh(report: &mut Report, warehouse: &Warehouse) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Row {
        model_version: String,
        auroc: Option<f64>,
        since: String,
    }
    let planted = report.drift.planted_at.context("nothing was planted")?;
    let sql = format!(
        "SELECT model_version, sum(auroc * n) / sum(n) AS auroc, CAST(min(month) AS VARCHAR) AS since FROM performance \
         WHERE auroc IS NOT NULL AND month >= TIMESTAMP '{planted}' GROUP BY model_version ORDER BY since"
    );
    let by_model: BTreeMap<String, (String, Option<f64>)> =
        rows::<Row>(warehouse, &sql, &AsOf::default()).await?.into_iter().map(|row| (row.since, (row.model_version, row.auroc))).collect();
    report.refresh.auroc_before = by_model.values().next().and_then(|(_, auroc)| *auroc);
    report.refresh.auroc_after = if by_model.len() > 1 { by_model.values().last().and_then(|(_, auroc)| *auroc) } else { None };
    let (before, after) = (report.refresh.auroc_before, report.refresh.auroc_after);
    let held = report.refresh.promoted && before.zip(after).is_some_and(|(before, after)| after > before);
    let told = |auroc: Option<f64>| auroc.map_or_else(|| "unknown".to_owned(), |auroc| format!("{auroc:.3}"));
    report.check(
        "a refresh is promoted and performance recovers",
        held,
        format_args!("mean AUROC since the shift {} before, {} after", told(before), told(after)),
    );
    Ok(())
}
