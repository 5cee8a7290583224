//! One cycle from a pinned version to a line in the registry. A cycle that dies goes on from its last checkpoint.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::{Asked, Computing, Config, Draft, LearnError, Learner, Lora, ScoreError};
use schemas::{DatasetId, ModelVersion, Task};
use serde::{Deserialize, Serialize};
use warehouse::{
    AsOf, Champion, Deeds, Evaluation, Example, KeepingError, NewModel, Pin, Registry, RegistryError, Warehouse, Weights, WeightsError,
    claimed,
};

use crate::dataset::{self, Known};
use crate::evaluation::{Paired, advantage, auroc_interval, auroc_ovr, ece, threshold};
use crate::gate::{Evidence, diagnosis};
use crate::report::{Figures, Interval, Reason, Report};
use crate::settings::Settings;
use crate::tune::{Plan, Tuned, tune};

/// Bootstrap resamples of every interval (L1 section 3).
const RESAMPLES: usize = 1_000;
/// Cases of the second class from which on a refresh sets a task's threshold by recent ones alone.
const ENOUGH_CASES: usize = 20;
/// Where checkpoints lie within a cycle's folder.
const STATE: &str = "state";
/// Where the weights lie that a cycle starts from.
const PARENT: &str = "parent";
/// Where the finished model lies within a cycle's folder.
const MODEL: &str = "model";
/// Where adapters lie within a cycle's folder.
const ADAPTERS: &str = "adapters";

/// A cycle did not end. What it had is kept: start it again.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The tables.
    #[error("could not pin the tables")]
    Pin(#[from] warehouse::ReadError),
    /// The views.
    #[error("could not read the examples")]
    Examples(#[from] warehouse::QueryError),
    /// What the examples are made of.
    #[error("could not tell which dataset the examples are")]
    Dataset(#[from] warehouse::DatasetError),
    /// The registry.
    #[error("could not use the registry")]
    Registry(#[from] RegistryError),
    /// The store of weights.
    #[error("could not keep the model's weights")]
    Weights(#[from] WeightsError),
    /// The weights to start from.
    #[error("could not fetch the champion's weights")]
    Parent(#[from] KeepingError),
    /// The gradient steps.
    #[error("could not train")]
    Learn(#[from] LearnError),
    /// The tokenizer.
    #[error("could not train a tokenizer")]
    Tokenizer(#[from] model::TokenizerError),
    /// The champion.
    #[error("could not load the model to start from")]
    Load(#[from] model::LoadError),
    /// The finished model.
    #[error("could not write the model")]
    Save(#[from] model::SaveError),
    /// The evaluation.
    #[error("could not evaluate")]
    Score(#[from] ScoreError),
    /// The work folder.
    #[error("could not use {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing to learn from.
    #[error("there are {examples} labelled examples to learn from; labels may not be mature yet, see the view attrition")]
    NoExamples {
        /// How many.
        examples: usize,
    },
    /// Another process is at it: let that end.
    #[error("another cycle is running in {}", path.display())]
    Busy {
        /// The work folder.
        path: PathBuf,
    },
    /// A thread died.
    #[error("the training thread died")]
    Died(#[from] tokio::task::JoinError),
}

/// What is ordered.
pub struct Order<'a> {
    /// Why.
    pub reason: Reason,
    /// The log's time.
    pub at: Timestamp,
    /// Where checkpoints lie.
    pub workdir: &'a Path,
}

/// What a cycle works on, written down first, so that one that died goes on with the same.
#[derive(Clone, Serialize, Deserialize)]
struct Begun {
    reason: Reason,
    at: Timestamp,
    pin: Pin,
    /// How far the audit of erasures had come before the rows were pinned. A cycle that an earlier release began has none, and begins anew.
    before: Deeds,
    parent: Option<ModelVersion>,
    /// The adapters that learn: a checkpoint is of these and no others.
    #[serde(default)]
    lora: Option<Lora>,
    /// What decides the steps besides: of other settings a checkpoint is another cycle's.
    #[serde(default)]
    settings: String,
}

/// Runs one cycle.
///
/// # Errors
/// See [`CycleError`]; a refused model is no error but a report that says why.
pub async fn run(
    warehouse: &Warehouse,
    registry: &Registry,
    weights: &Weights,
    settings: &Settings,
    order: Order<'_>,
    said: impl Fn(String) + Send + 'static,
) -> Result<Report, CycleError> {
    let _alone = alone(order.workdir)?;
    let live = registry.champion().await?;
    let champion = live.as_ref().filter(|_| order.reason != Reason::First);
    let lora = settings.lora.clone().filter(|_| champion.is_some());
    let begun = begin(warehouse, &order, (champion, lora), settings.of_steps(), registry.deeds()).await?;
    let parent = fetched(registry, weights, champion, order.workdir).await?;
    let examples = warehouse.examples(&begun.pin).await?;
    if examples.is_empty() {
        return Err(CycleError::NoExamples { examples: 0 });
    }
    let dataset_id = warehouse.dataset_id(warehouse::ALL_TASKS, &AsOf { pin: Some(begun.pin.clone()), ..AsOf::default() }).await?;
    let work = Work { settings: settings.clone(), workdir: order.workdir.to_owned(), begun: begun.clone(), parent, examples, dataset_id };
    let (made, folder) = tokio::task::spawn_blocking(move || work.make(&said).map(|made| (made, work.workdir.join(MODEL)))).await??;
    let mut report = made;
    let uri = weights.put_folder(&folder, &report.model_version).await?;
    let adapters = kept_adapters(weights, &report, order.workdir).await?;
    let listed = registry.register(&row(&report, &begun, (uri, adapters)), report.refused.as_deref(), begun.before).await?;
    if listed > 0 {
        tracing::warn!(
            model = %report.model_version,
            erasures = listed,
            "the model may carry what it, or a model before it, learned from patients who were erased since; the audit lists it, in erasures: `wardstream trainer --once --anew` learns one from nothing"
        );
    }
    if report.refused.is_none() && settings.auto_promote {
        let why = serde_json::to_string(&report.reason).unwrap_or_default();
        let before = live.as_ref().map(|live| &live.model_version);
        report.promoted = registry.succeed(before, &report.model_version, order.at, ("trainer", &why)).await?;
        if !report.promoted {
            tracing::warn!(model = %report.model_version, "another model went live while this one learned, so it was not promoted; `wardstream models promote` does that by hand");
        }
    }
    std::fs::remove_dir_all(order.workdir).map_err(|source| CycleError::Folder { path: order.workdir.to_owned(), source })?;
    Ok(report)
}

/// The work folder for one cycle alone, as long as the file is open: a process that dies lets go of it.
fn alone(workdir: &Path) -> Result<File, CycleError> {
    let path = workdir.with_extension("lock");
    let held = claimed::alone(&path).map_err(|source| CycleError::Folder { path, source })?;
    held.ok_or_else(|| CycleError::Busy { path: workdir.to_owned() })
}

/// The cycle that was begun for the same reason, to learn the same, and never ended, while its rows are still there; or a new one.
async fn begin(
    warehouse: &Warehouse,
    order: &Order<'_>,
    (champion, lora): (Option<&Champion>, Option<Lora>),
    settings: String,
    deeds: impl Future<Output = Result<Deeds, RegistryError>>,
) -> Result<Begun, CycleError> {
    let folder = |source| CycleError::Folder { path: order.workdir.to_owned(), source };
    std::fs::create_dir_all(order.workdir).map_err(folder)?;
    let file = order.workdir.join("cycle.json");
    let parent = champion.map(|champion| champion.model_version.clone());
    let left: Option<Begun> = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let is_same = |left: &Begun| left.reason == order.reason && left.parent == parent && left.lora == lora && left.settings == settings;
    // Before the rows are pinned: what is erased in between is listed rather than missed.
    let before = deeds.await?;
    // What learns from nothing is to know nobody who was erased since its rows were pinned. A refresh carries on what its parent learned, and goes on.
    let is_clean = |left: &Begun| left.parent.is_some() || left.before == before;
    if let Some(left) = left.filter(|left| is_same(left) && is_clean(left))
        && warehouse.stands(&left.pin).await?
    {
        return Ok(left);
    }
    let begun = Begun { reason: order.reason, at: order.at, pin: warehouse.pin().await?, before, parent, lora, settings };
    // Another cycle's checkpoint, and the weights that it started from: nobody goes on from them any more.
    for left in [STATE, PARENT].map(|name| order.workdir.join(name)).into_iter().filter(|left| left.exists()) {
        std::fs::remove_dir_all(left).map_err(folder)?;
    }
    std::fs::write(&file, serde_json::to_vec(&begun).unwrap_or_default()).map_err(folder)?;
    Ok(begun)
}

async fn fetched(
    registry: &Registry,
    weights: &Weights,
    champion: Option<&Champion>,
    workdir: &Path,
) -> Result<Option<PathBuf>, CycleError> {
    let Some(champion) = champion else { return Ok(None) };
    let folder = workdir.join(PARENT);
    registry.fetch(weights, champion, &folder).await?;
    Ok(Some(folder))
}

/// Keeps adapters beside the model that they were merged into: in its own folder `transformers` would take it for an adapter.
async fn kept_adapters(weights: &Weights, report: &Report, workdir: &Path) -> Result<Option<String>, CycleError> {
    if report.lora.is_none() {
        return Ok(None);
    }
    let name = ModelVersion(format!("{}-adapters", report.model_version.0));
    Ok(Some(weights.put_folder(&workdir.join(ADAPTERS), &name).await?))
}

fn row(report: &Report, begun: &Begun, (weights_uri, adapters_uri): (String, Option<String>)) -> NewModel {
    let evaluation =
        |figures: &Figures| Evaluation { task: figures.task, split: figures.split.clone(), figures: serde_json::json!(figures) };
    NewModel {
        model_version: report.model_version.clone(),
        dataset_id: report.dataset_id.clone(),
        parent: begun.parent.clone(),
        weights_uri,
        created_at: begun.at,
        details: serde_json::json!({"pin": begun.pin, "report": report, "adapters_uri": adapters_uri}),
        evaluations: report.figures.iter().map(evaluation).collect(),
    }
}

/// The part of a cycle that only computes.
struct Work {
    settings: Settings,
    workdir: PathBuf,
    begun: Begun,
    parent: Option<PathBuf>,
    examples: Vec<Example>,
    dataset_id: DatasetId,
}

/// What one split of one task was measured on.
struct Measured {
    task: Task,
    labels: Vec<i32>,
    probabilities: Vec<Vec<f64>>,
}

impl Work {
    fn make(&self, said: &dyn Fn(String)) -> Result<Report, CycleError> {
        let lessons = self.lessons();
        if lessons.len() < self.settings.batch_notes {
            return Err(CycleError::NoExamples { examples: lessons.len() });
        }
        said(format!("{} labelled examples, {} notes to learn from", self.examples.len(), lessons.len()));
        let mut learner = self.learner(&lessons)?.on(self.settings.device.clone())?;
        let splits: &[&str] = if self.parent.is_some() { &["recent"] } else { &["test", "temporal_test"] };
        // The start and the outcome are held against each other on the same notes.
        let before = self.measure_all(splits, |notes| learner.score(notes))?;
        let plan = match self.parent {
            Some(_) => Plan { notes: self.settings.refresh_notes, learning_rate: self.settings.refresh_learning_rate },
            None => Plan { notes: self.settings.first_notes, learning_rate: self.settings.first_learning_rate },
        };
        let tuned = tune(&mut learner, &lessons, &plan, &self.settings, &self.workdir.join(STATE), said)?;
        let after = self.measure_all(splits, |notes| learner.score(notes))?;
        self.conclude(&learner, tuned, &before, &after)
    }

    fn conclude(&self, learner: &Learner, tuned: Tuned, before: &Splits, after: &Splits) -> Result<Report, CycleError> {
        let figures: Vec<Figures> = after
            .iter()
            .flat_map(|(split, measured)| measured.iter().map(move |one| (split, one)))
            .filter_map(|(split, one)| figures(split, one, before.get(split)?.iter().find(|zero| zero.task == one.task)?))
            .collect();
        let main = if self.parent.is_some() { "recent" } else { "test" };
        let advantage = self.parent.as_ref().and_then(|_| paired(before.get(main)?, after.get(main)?));
        let judged: Vec<Figures> = figures.iter().filter(|figures| figures.split == main).cloned().collect();
        let spread = after.get(main).map_or(0.0, |measured| measured.iter().map(spread).fold(0.0, f64::max));
        let refused = diagnosis(&Evidence { figures: &judged, spread, tuned, advantage, refresh: self.parent.is_some() });
        let dataset_id = self.dataset_id.clone();
        let draft = Draft {
            dataset_id: Some(dataset_id.clone()),
            parent: self.begun.parent.clone(),
            thresholds: self.thresholds(learner)?,
            int8_shift: self.int8_shift(learner, main, after)?,
            training: serde_json::json!({"notes": tuned.notes, "tokens": tuned.tokens, "answer_loss": tuned.last_loss,
                "went_back": tuned.went_back, "skipped": tuned.skipped, "lora": learner.lora(), "figures": figures}),
        };
        // What a process that died left there is no part of the model.
        for folder in [MODEL, ADAPTERS].map(|name| self.workdir.join(name)).into_iter().filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(&folder).map_err(|source| CycleError::Folder { path: folder, source })?;
        }
        let model_version = learner.export(&self.workdir.join(MODEL), draft)?;
        learner.export_adapters(&self.workdir.join(ADAPTERS))?;
        Ok(Report {
            reason: self.begun.reason,
            model_version,
            dataset_id,
            figures,
            advantage,
            refused,
            promoted: false,
            notes_read: tuned.notes,
            tokens_read: tuned.tokens,
            lora: learner.lora().cloned(),
        })
    }

    /// From when on a refresh learns; `None` for a first model.
    fn recent_from(&self) -> Option<Timestamp> {
        match (self.begun.reason, &self.parent) {
            (Reason::Alarm { since }, Some(_)) => Some(since),
            (_, Some(_)) => self.begun.at.checked_sub(jiff::SignedDuration::from_hours(24 * 365)).ok(),
            _ => None,
        }
    }

    /// What is learned from: the training split, or for a refresh the recent notes of patients of the training fold. Both are those that hold for all tasks:
    /// a note that one task learns from is in no other fold, and in no temporal test, of another.
    fn lessons(&self) -> Vec<Known<'_>> {
        match self.recent_from() {
            Some(from) => dataset::by_note(&self.examples, |example| example.fold == "train" && example.prediction_at >= from),
            None => dataset::by_note(&self.examples, |example| example.split.as_deref() == Some("train")),
        }
    }

    fn learner(&self, lessons: &[Known<'_>]) -> Result<Learner, CycleError> {
        match (&self.parent, &self.begun.lora) {
            (Some(parent), Some(lora)) => return Ok(Learner::adapting(parent, lora.clone(), self.settings.seed, Computing::default())?),
            (Some(parent), None) => return Ok(Learner::from(parent)?),
            (None, _) => {}
        }
        let step = (lessons.len() / self.settings.tokenizer_notes.max(1)).max(1);
        let tokenizer = model::train_tokenizer(lessons.iter().step_by(step).map(|known| known.text), self.settings.vocabulary)?;
        let config = Config::demo(tokenizer.get_vocab_size(true));
        Ok(Learner::new(config, tokenizer, self.settings.seed)?)
    }

    /// Whether an example belongs to what a split is measured on. A refresh is compared on recent notes of patients
    /// that neither it nor the champion has learned from.
    fn is_in(&self, split: &str, example: &Example) -> bool {
        match self.recent_from() {
            Some(from) => split == "recent" && example.fold != "train" && example.prediction_at >= from,
            None => example.split.as_deref() == Some(split),
        }
    }

    fn measure_all(
        &self,
        splits: &[&str],
        score: impl Fn(&[Asked<'_>]) -> Result<Vec<Vec<model::Answer>>, ScoreError>,
    ) -> Result<Splits, CycleError> {
        splits.iter().map(|split| Ok(((*split).to_owned(), self.measure(|example| self.is_in(split, example), &score)?))).collect()
    }

    /// Answers to every question about the chosen notes, task by task; where there are too many, about evenly spaced ones.
    fn measure(
        &self,
        keep: impl Fn(&Example) -> bool,
        score: &impl Fn(&[Asked<'_>]) -> Result<Vec<Vec<model::Answer>>, ScoreError>,
    ) -> Result<Vec<Measured>, CycleError> {
        let mut notes = dataset::by_note(&self.examples, keep);
        let limit = self.settings.measured_examples * 2;
        let step = notes.len().div_ceil(limit.max(1)).max(1);
        notes = notes.into_iter().step_by(step).collect();
        let tasks: Vec<Vec<Task>> = notes.iter().map(|note| note.answers.iter().map(|(task, _)| *task).collect()).collect();
        let asked: Vec<Asked<'_>> = notes.iter().zip(&tasks).map(|(note, tasks)| Asked { text: note.text, tasks }).collect();
        let mut measured: BTreeMap<Task, Measured> = BTreeMap::new();
        for (note, answers) in notes.iter().zip(score(&asked)?) {
            for ((task, label), answer) in note.answers.iter().zip(answers) {
                let one = measured.entry(*task).or_insert_with(|| Measured { task: *task, labels: Vec::new(), probabilities: Vec::new() });
                one.labels.push(*label);
                one.probabilities.push(answer.probabilities);
            }
        }
        Ok(measured.into_values().collect())
    }

    /// By how much weights of 8 bits move the AUROC of a task at most, on the split that the model is judged by.
    fn int8_shift(&self, learner: &Learner, split: &str, after: &Splits) -> Result<Option<f64>, CycleError> {
        let coarsest = model::Settings::coarsest();
        let eighth = self.measure(|example| self.is_in(split, example), &|notes| learner.score_with(notes, &coarsest))?;
        let whole = after.get(split).map_or(&[][..], Vec::as_slice);
        Ok(whole.iter().filter_map(|one| shift(one, eighth.iter().find(|other| other.task == one.task)?)).max_by(f64::total_cmp))
    }

    /// Thresholds of the two-class tasks, on the validation fold. Of a task whose answers are known late, such as claims, a refresh knows few recent ones or none:
    /// those of all periods count then. Without a threshold the likelier class would be decided for, and that is hardly ever the second.
    fn thresholds(&self, learner: &Learner) -> Result<BTreeMap<Task, f64>, CycleError> {
        let from = self.recent_from();
        let keep = |example: &Example| match from {
            Some(from) => example.fold == "validation" && example.prediction_at >= from,
            None => example.split.as_deref() == Some("validation"),
        };
        let mut measured = self.measure(keep, &|notes: &[Asked<'_>]| learner.score(notes))?;
        if from.is_some() {
            measured.retain(|one| one.labels.iter().filter(|label| **label == 1).count() >= ENOUGH_CASES);
            let known: Vec<Task> = measured.iter().map(|one| one.task).collect();
            let is_missing = |task: Task| task.classes() == 2 && !known.contains(&task);
            let of_all_periods = |example: &Example| example.fold == "validation" && is_missing(example.task);
            measured.extend(self.measure(of_all_periods, &|notes: &[Asked<'_>]| learner.score(notes))?);
        }
        Ok(measured
            .iter()
            .filter(|one| one.task.classes() == 2)
            .map(|one| (one.task, threshold(&one.labels, &one.probabilities)))
            .collect())
    }
}

type Splits = BTreeMap<String, Vec<Measured>>;

fn figures(split: &str, after: &Measured, before: &Measured) -> Option<Figures> {
    let interval = |one: &Measured| auroc_interval(&one.labels, &one.probabilities, RESAMPLES, 1);
    let (now, zero_shot): (Interval, Interval) = (interval(after)?, interval(before)?);
    Some(Figures {
        task: after.task,
        split: split.to_owned(),
        n: after.labels.len(),
        positives: after.labels.iter().filter(|label| **label > 0).count(),
        auroc: now.auroc,
        low: now.low,
        high: now.high,
        ece: ece(&after.labels, &after.probabilities),
        zero_shot,
    })
}

/// How far apart the AUROC of two ways to answer the same questions are.
fn shift(one: &Measured, other: &Measured) -> Option<f64> {
    Some((auroc_ovr(&one.labels, &one.probabilities)? - auroc_ovr(&other.labels, &other.probabilities)?).abs())
}

fn paired(before: &[Measured], after: &[Measured]) -> Option<Interval> {
    let tasks: Vec<Paired> = after
        .iter()
        .filter_map(|new| {
            let old = before.iter().find(|old| old.task == new.task)?;
            Some(Paired { labels: new.labels.clone(), new: new.probabilities.clone(), old: old.probabilities.clone() })
        })
        .collect();
    advantage(&tasks, RESAMPLES, 1)
}

/// Largest less smallest probability of the first class.
fn spread(measured: &Measured) -> f64 {
    let first = || measured.probabilities.iter().filter_map(|row| row.first().copied());
    first().fold(f64::NEG_INFINITY, f64::max) - first().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests;
