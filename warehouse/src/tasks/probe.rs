//! A task is tried on a hospital of some twenty stays before it is taken: its query must run, give a row a stay, and ask for what is still open at the prediction:
//! by its own word, and in that what becomes known later matters to it.
//!
//! The second is asked stay by stay. Each patient's story is told up to the note and goes on as another's did: what came after one note could have come after any
//! other, but that the dead neither come back nor die again. Of every stay that no rule leaves out, two such stories must give two outcomes; a stay whose outcome is the
//! same in all of them is decided when its note is written, and the note may say it. A query that gives one outcome throughout asks for words that no story
//! holds, and is taken at its own word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::{SessionConfig, SessionContext};
use schemas::NoteKind;

use super::definition::Effect;
use super::{Definition, READABLE, TaskError, Tasks, query};
use crate::functions;
use crate::settings::Departments;
use crate::views;

/// The messages of the hospital, as rows of the base relations; `$half` of the task's horizon.
const ROWS: &str = include_str!("probe.sql");

/// So long a query is tried. What takes longer over some twenty stays never ends, or would not over a hospital's.
const PATIENCE: Duration = Duration::from_secs(30);

/// Patients whose stories others' go on as: those after whom most questions are settled stand first.
const DONORS: [&str; 9] = ["g", "a", "c", "b", "d", "k", "l", "e", "h"];

/// What the trial says: rows, stays among them, outcomes, and outcomes that came to be after admission and after discharge.
const TRIAL: &str = "SELECT count(*) AS answers, count(DISTINCT q.encounter_id) AS stays, count(q.outcome_at) FILTER (WHERE q.outcome IS NOT NULL) AS outcomes, \
                     max(q.outcome) AS largest, count(*) FILTER (WHERE q.outcome IS NOT NULL AND q.outcome_at > e.admitted_at) AS ahead_of_admission, \
                     count(*) FILTER (WHERE q.outcome IS NOT NULL AND q.outcome_at > e.discharged_at) AS ahead_of_discharge \
                     FROM (SELECT encounter_id, arrow_cast(outcome_at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS outcome_at, outcome FROM tried) AS q \
                     LEFT JOIN (SELECT encounter_id, admitted_at, discharged_at FROM encounters) AS e ON e.encounter_id = q.encounter_id";

/// The outcome of each stay that is asked about, where it comes to be after the note.
const OUTCOMES: &str = "SELECT q.encounter_id, CAST(CAST(q.outcome AS DOUBLE) AS VARCHAR) AS outcome \
                        FROM (SELECT *, arrow_cast(outcome_at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS came_at FROM tried) AS q \
                        JOIN encounters AS e ON e.encounter_id = q.encounter_id \
                        WHERE q.encounter_id LIKE '%1' AND q.outcome IS NOT NULL AND q.came_at > e.$written AND NOT ($left)";

/// Every patient's facts up to the note, and behind them the donor's, as long after the note as the donor's were. `$columns` are those of the base relation.
const RETOLD: &str = "WITH moments AS (SELECT patient_id, max(time) AS written_at, COALESCE(bool_or(text_value IN ('20', 'exp')), false) AS dead \
                      FROM event_rows WHERE code = '$code' AND encounter_id LIKE '%1' GROUP BY patient_id) \
                      SELECT e.* FROM event_rows AS e LEFT JOIN moments AS m ON m.patient_id = e.patient_id \
                      WHERE m.written_at IS NULL OR e.known_at <= m.written_at \
                      UNION ALL SELECT $columns FROM event_rows AS e JOIN moments AS q ON q.patient_id = e.patient_id CROSS JOIN moments AS p \
                      WHERE q.patient_id = '$donor' AND e.known_at > q.written_at AND (NOT p.dead OR e.encounter_id = q.patient_id || '1')";

/// What the query gives in the trial.
struct Trial {
    answers: i64,
    stays: i64,
    outcomes: i64,
    ahead_of_admission: i64,
    ahead_of_discharge: i64,
}

/// When a note is taken to be written: whatever is known by then it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    AtAdmission,
    AtDischarge,
}

impl Written {
    /// A discharge note when the patient leaves, an admission note when the patient came. Any other may come as long as its outcome is ahead: after the patient
    /// has left, where an outcome comes later than that.
    fn of(note: NoteKind, trial: &Trial) -> Self {
        match note {
            NoteKind::Discharge => Self::AtDischarge,
            NoteKind::Admission => Self::AtAdmission,
            _ if trial.ahead_of_discharge > 0 => Self::AtDischarge,
            _ => Self::AtAdmission,
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::AtAdmission => "admission",
            Self::AtDischarge => "discharge",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::AtAdmission => "admitted_at",
            Self::AtDischarge => "discharged_at",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::AtAdmission => "encounter.admitted",
            Self::AtDischarge => "encounter.discharged",
        }
    }
}

/// Outcomes of each stay, over several stories.
type Outcomes = BTreeMap<String, BTreeSet<String>>;

/// Checks a task's query, then tries it.
pub async fn check(definition: &Definition, departments: &Departments) -> std::result::Result<(), TaskError> {
    check_within(PATIENCE, definition, departments).await
}

/// The same, with another patience.
pub async fn check_within(patience: Duration, definition: &Definition, departments: &Departments) -> std::result::Result<(), TaskError> {
    match tokio::time::timeout(patience, try_out(definition, departments)).await {
        Ok(checked) => checked,
        Err(_elapsed) => {
            let seconds = patience.as_secs();
            Err(TaskError::new(
                &definition.name,
                format_args!("its query takes more than {seconds} s over some twenty stays: it may never end; ask for less"),
            ))
        }
    }
}

async fn try_out(definition: &Definition, departments: &Departments) -> std::result::Result<(), TaskError> {
    let failed = |error: DataFusionError| TaskError::unanswered(&definition.name, &error);
    let ctx = session(definition, departments, None).await.map_err(failed)?;
    query::check(definition, &ctx).await?;
    let trial = tried(definition, &ctx).await.map_err(failed)?;
    if trial.answers > trial.stays {
        return Err(TaskError::new(&definition.name, "its query gives several rows for a stay; it must give one"));
    }
    if trial.outcomes == 0 {
        return Ok(());
    }
    let written = Written::of(definition.note, &trial);
    let ahead = if written == Written::AtDischarge { trial.ahead_of_discharge } else { trial.ahead_of_admission };
    if ahead == 0 {
        return Err(refused(definition, written, None));
    }
    match decided(definition, departments, written, &ctx).await.map_err(failed)? {
        Some(stay) => Err(refused(definition, written, Some(stay))),
        None => Ok(()),
    }
}

/// That the note may say what is asked: throughout, or of a stay with this outcome.
fn refused(definition: &Definition, written: Written, of: Option<(String, String)>) -> TaskError {
    let asked = match definition.note {
        NoteKind::Discharge => "a discharge note".to_owned(),
        NoteKind::Admission => "an admission note".to_owned(),
        other => format!("a note of the kind {}", other.as_str()),
    };
    let (which, leave) = match &of {
        Some((stay, outcome)) => {
            let outcome = outcome.trim_end_matches(".0");
            let which = format!(": of {}, its outcome is {outcome} whatever comes later", in_words(stay));
            (which, "leave such stays out by a rule, say in `outcome_at` when it came to be, ")
        }
        None => (String::new(), ""),
    };
    let at = written.event();
    let reason = format!(
        "it asks {asked} about what is decided at or before {at}, which the note may say{which}; {leave}ask another kind of note, or for something that is still open then"
    );
    TaskError::new(&definition.name, reason)
}

/// What became of the patient of a stay.
fn in_words(stay: &str) -> &'static str {
    match stay {
        "a1" | "k1" => "a patient who comes back soon",
        "b1" => "a patient who comes back after months",
        "c1" | "m1" => "a patient who dies in the stay",
        "d1" | "n1" => "a patient who leaves for hospice",
        "e1" | "p1" => "a patient who is transferred",
        "o1" => "a patient who goes home",
        "f1" => "a newborn",
        "g1" => "a patient under observation",
        "h1" => "a patient in rehabilitation",
        "j1" => "a patient who was there before",
        "l1" => "a patient who dies at home",
        _ => "a patient",
    }
}

/// A stay whose outcome is the same whatever becomes known after its note, and that outcome.
async fn decided(
    definition: &Definition,
    departments: &Departments,
    written: Written,
    ctx: &SessionContext,
) -> Result<Option<(String, String)>> {
    let mut given = Outcomes::new();
    gather(definition, written, ctx, &mut given).await?;
    for donor in DONORS {
        if !given.is_empty() && given.values().all(|outcomes| outcomes.len() > 1) {
            return Ok(None);
        }
        let retold = session(definition, departments, Some((donor, written))).await?;
        tried(definition, &retold).await?;
        gather(definition, written, &retold, &mut given).await?;
    }
    if given.values().flatten().collect::<BTreeSet<_>>().len() < 2 {
        return Ok(None);
    }
    let alone = given.into_iter().find(|(_, outcomes)| outcomes.len() == 1);
    Ok(alone.and_then(|(stay, outcomes)| Some((stay, outcomes.into_iter().next()?))))
}

async fn gather(definition: &Definition, written: Written, ctx: &SessionContext, given: &mut Outcomes) -> Result<()> {
    let rules = definition.rules.iter().filter(|rule| rule.effect != Effect::Counted);
    let left: Vec<String> = rules.map(|rule| format!("COALESCE(q.\"{}\", false)", rule.reason)).collect();
    let left = if left.is_empty() { "false".to_owned() } else { left.join(" OR ") };
    let sql = OUTCOMES.replace("$written", written.column()).replace("$left", &left);
    for batch in ctx.sql(&sql).await?.collect().await? {
        for (stay, outcome) in texts(&batch, "encounter_id")?.into_iter().zip(texts(&batch, "outcome")?) {
            if let (Some(stay), Some(outcome)) = (stay, outcome) {
                given.entry(stay).or_default().insert(outcome);
            }
        }
    }
    Ok(())
}

fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<Option<String>>> {
    let column = batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("the trial has no column {name}")))?;
    let column = cast(column, &DataType::Utf8)?;
    Ok(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

async fn tried(definition: &Definition, ctx: &SessionContext) -> Result<Trial> {
    let frame = ctx.sql(&definition.sql).await?;
    ctx.register_table("tried", frame.into_view())?;
    let batches = ctx.sql(TRIAL).await?.collect().await?;
    let of = |name: &str| batches.first().and_then(|batch| number(batch, name)).unwrap_or(0);
    Ok(Trial {
        answers: of("answers"),
        stays: of("stays"),
        outcomes: of("outcomes"),
        ahead_of_admission: of("ahead_of_admission"),
        ahead_of_discharge: of("ahead_of_discharge"),
    })
}

fn number(batch: &RecordBatch, name: &str) -> Option<i64> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
    column.iter().next().flatten()
}

/// The relations that a task may read, over the trial's rows, and no others; every story goes on after the note as the donor's did, where one is named.
async fn session(definition: &Definition, departments: &Departments, after: Option<(&str, Written)>) -> Result<SessionContext> {
    let whole = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    functions::register(&whole);
    views::bare::register(&whole)?;
    let rows = ROWS.replace("$half", &format!("INTERVAL '{} hours'", u64::from(definition.horizon_days) * 12));
    for statement in rows.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        whole.sql(statement).await?.collect().await?;
    }
    if let Some((donor, written)) = after {
        retell(&whole, donor, written).await?;
    }
    let none = Tasks { definitions: Arc::default(), departments: departments.clone() };
    views::register_of_stays(&whole, &none, None).await?;
    let readable = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    functions::register(&readable);
    for name in READABLE {
        readable.register_table(name, whole.table_provider(name).await?)?;
    }
    Ok(readable)
}

/// Lets every story go on as the donor's.
async fn retell(whole: &SessionContext, donor: &str, written: Written) -> Result<()> {
    let schema = whole.table_provider("event_rows").await?.schema();
    let column = |name: &str| match name {
        "patient_id" => "p.patient_id".to_owned(),
        "encounter_id" | "visit_number" => format!("p.patient_id || substr(e.{name}, 2) AS {name}"),
        "related" => "p.patient_id || e.related AS related".to_owned(),
        "time" | "asserted_at" | "known_at" => format!("e.{name} + (p.written_at - q.written_at) AS {name}"),
        other => format!("e.{other}"),
    };
    let columns: Vec<String> = schema.fields().iter().map(|field| column(field.name())).collect();
    let sql = RETOLD.replace("$columns", &columns.join(", ")).replace("$code", written.code()).replace("$donor", donor);
    let told = whole.sql(&sql).await?.collect().await?;
    let rows = told.iter().map(|batch| shaped(batch, &schema)).collect::<Result<Vec<_>>>()?;
    whole.deregister_table("event_rows")?;
    whole.register_table("event_rows", Arc::new(MemTable::try_new(schema, vec![rows])?)).map(|_| ())
}

/// The same rows with the columns' own types.
fn shaped(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| cast(column, field.data_type()));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<std::result::Result<Vec<_>, _>>()?)?)
}
