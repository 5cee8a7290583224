//! The tasks: what is asked of which note, of whom, and when its answer is mature. Data, not code: a TOML file and a query each, the five of the paper built in
//! and a site's own from a folder.
//!
//! A task's query gives a row for each stay that stands: `encounter_id`, `outcome`, `outcome_at` (when the outcome came to be) and a column of truths for
//! each rule that the TOML file names. Everything else follows here: who leaves at which step, what is mature, and that nothing is asked that was decided
//! before the prediction.

mod definition;
mod probe;
mod query;
#[cfg(test)]
mod replay;
mod steady;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;

use crate::computed::{Computed, Query, Renewed};
use crate::dataset::ALL;
use crate::renewal::Renewal;
use crate::settings::{DEFAULT_RULE, Departments, Splits, TaskSettings};
pub(crate) use definition::Definition;

/// Relations that a task's query may read. None of them holds a note's text, a label or a prediction.
pub const READABLE: [&str; 12] = [
    "encounters",
    "episodes",
    "outcomes",
    "planned_stays",
    "patients",
    "diagnoses",
    "procedures",
    "claims",
    "coverages",
    "movements",
    "department_kinds",
    "events",
];

macro_rules! built_in {
    ($($name:literal,)+) => {
        const BUILT_IN: &[(&str, &str, &str)] =
            &[$(($name, include_str!(concat!("../tasks/", $name, ".toml")), include_str!(concat!("../tasks/", $name, ".sql"))),)+];
    };
}

built_in! { "readmission", "mortality", "length_of_stay", "comorbidity", "denial", }

/// A task cannot be taken as it is written: mend the file, then start again. Nothing was touched.
#[derive(Debug, thiserror::Error)]
#[error("task {task}: {reason}")]
pub struct TaskError {
    task: String,
    reason: String,
}

impl TaskError {
    fn new(task: &str, reason: impl std::fmt::Display) -> Self {
        Self { task: task.to_owned(), reason: reason.to_string() }
    }

    /// That the query of a task could not be answered.
    pub(crate) fn unanswered(task: &str, error: &DataFusionError) -> Self {
        Self::new(task, format_args!("its query cannot be answered: {}", query::one_line(error)))
    }

    /// Of which task.
    pub(crate) fn task(&self) -> &str {
        &self.task
    }
}

/// All tasks of a warehouse, and which departments are no acute care.
#[derive(Clone)]
pub struct Tasks {
    definitions: Arc<Vec<Definition>>,
    departments: Departments,
}

impl Tasks {
    /// The five, and those of the folder, each checked as far as it can be without data.
    ///
    /// # Errors
    /// One sentence that names the task and what is wrong with it.
    pub async fn open(settings: &TaskSettings, departments: &Departments) -> std::result::Result<Self, TaskError> {
        let mut definitions = Vec::new();
        for (name, toml, sql) in BUILT_IN {
            definitions.push(Definition::parse(name, toml, |_| Ok((*sql).to_owned()))?);
        }
        let tasks = Self { definitions: Arc::new(definitions), departments: departments.clone() };
        match &settings.folder {
            Some(folder) => tasks.with_folder(folder).await,
            None => Ok(tasks),
        }
    }

    async fn with_folder(self, folder: &Path) -> std::result::Result<Self, TaskError> {
        let unread = |error: std::io::Error| TaskError::new("folder", format_args!("could not read {}: {error}", folder.display()));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        let mut definitions = Vec::clone(&self.definitions);
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let read = |path: &Path| {
                std::fs::read_to_string(path)
                    .map_err(|error| TaskError::new(&name, format_args!("could not read {}: {error}", path.display())))
            };
            let query = |sql: &str| {
                let file = folder.join(format!("{sql}.sql"));
                match BUILT_IN.iter().find(|(name, _, _)| *name == sql && !file.exists()) {
                    Some((_, _, built_in)) => Ok((*built_in).to_owned()),
                    None => read(&file),
                }
            };
            let toml = read(&file)?;
            let definition = Definition::parse(&name, &toml, query)?;
            if definitions.iter().any(|one| one.name == name) {
                return Err(TaskError::new(&name, "the name is taken by a task that is built in; choose another"));
            }
            if [ALL, DEFAULT_RULE].contains(&name.as_str()) {
                return Err(TaskError::new(&name, "the name means all tasks, or those without a split rule of their own; choose another"));
            }
            probe::check(&definition, &self.departments).await?;
            definitions.push(definition);
        }
        Ok(Self { definitions: Arc::new(definitions), ..self })
    }

    /// Names, the five first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.definitions.iter().map(|definition| definition.name.as_str())
    }

    /// Holds the split rules against the tasks: a rule for no task would be taken for one that holds.
    pub(crate) fn hold(&self, splits: &Splits) -> std::result::Result<(), TaskError> {
        let is_known = |rule: &str| rule == DEFAULT_RULE || self.names().any(|name| name == rule);
        let Some(rule) = splits.0.keys().find(|rule| !is_known(rule)) else { return Ok(()) };
        let known: Vec<&str> = self.names().collect();
        Err(TaskError::new(
            rule,
            format_args!("`warehouse.splits` has a rule for it, and there is none; there are {}, and `{DEFAULT_RULE}`", known.join(", ")),
        ))
    }

    /// Whether these are the five alone, each of which says of a stay what its own subject's facts say.
    pub(crate) fn are_the_papers(&self) -> bool {
        self.definitions.len() == BUILT_IN.len()
    }

    /// The queries by which these tasks ask for their outcomes.
    pub(crate) fn queries(&self, of: &[String]) -> impl Iterator<Item = &str> {
        self.definitions.iter().filter(move |definition| of.contains(&definition.name)).map(|definition| definition.sql.as_str())
    }

    /// Name and SQL of each task's relation.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (String, &str)> {
        self.definitions.iter().map(|definition| (definition.relation(), definition.sql.as_str()))
    }

    /// Digest of all that a task is: its file, its query and the departments it leaves out. `None` where there is no such task.
    #[must_use]
    pub fn digest(&self, name: &str) -> Option<String> {
        let definition = self.definitions.iter().find(|definition| definition.name == name)?;
        let departments = serde_json::to_string(&self.departments).ok()?;
        Some(schemas::Digest::of([definition.toml.as_str(), &definition.sql, &departments].join("\0").as_bytes()).to_string())
    }

    /// A view's SQL for each task, with what the task's file says in the place of its `$names`.
    pub(crate) fn asked(&self, sql: &str) -> Vec<String> {
        self.definitions.iter().map(|definition| query::asked(definition, sql)).collect()
    }

    /// `department_kinds`, on which the views about stays build.
    pub(crate) async fn register_departments(&self, ctx: &SessionContext) -> Result<()> {
        register(ctx, "department_kinds", &query::departments(&self.departments)).await
    }

    /// The relations that say what the tasks are, and each task's rows over the views that `ctx` holds already.
    pub(crate) async fn register(&self, ctx: &SessionContext, renewal: Option<&Arc<Renewal>>) -> Result<()> {
        for (place, definition) in self.definitions.iter().enumerate() {
            let frame = ctx.sql(&definition.sql).await.map_err(|error| error.context(format!("task {}", definition.name)))?;
            let query = Query::new(frame, ctx.runtime_env())?;
            let query = match renewal.filter(|_| place < BUILT_IN.len()) {
                Some(renewal) => {
                    let (view, key) = (definition.relation(), "encounter_id".to_owned());
                    query.renewed(Renewed { view, key: Some(key), renewal: Arc::clone(renewal) })
                }
                None => query,
            };
            ctx.register_table(definition.relation(), Arc::new(Computed::once(query)))?;
        }
        register(ctx, "task_definitions", &query::definitions(&self.definitions)).await?;
        register(ctx, "task_facts", &query::facts(&self.definitions)).await?;
        register(ctx, "task_steps", &query::steps(&self.definitions)).await?;
        register(ctx, "task_marks", &query::marks(&self.definitions)).await
    }
}

async fn register(ctx: &SessionContext, name: &str, sql: &str) -> Result<()> {
    let frame = ctx.sql(sql).await.map_err(|error| error.context(format!("relation {name}")))?;
    ctx.register_table(name, frame.into_view()).map(|_| ())
}
