//! What a task file may say, and what is refused.

use std::path::PathBuf;

use super::Tasks;
use crate::dataset::fixture::{Story, empty, open};
use crate::settings::{Departments, Splits, TaskSettings};
use crate::{AsOf, Format, render};

const TOML: &str = "title = \"Days\"\nnote = \"admission\"\nclock = \"admission\"\nhorizon_days = 28\n\n[delay]\nfacts = [\"discharge\"]\n\
                    at_least_days = 2\nat_most_days = 30\n\n[target]\nunit = \"days\"\n\n[[rules]]\nreason = \"not_discharged\"\neffect = \"pending\"\nwhy = \"Open.\"\n";
const SQL: &str =
    "SELECT encounter_id, days AS outcome, discharged_at AS outcome_at, discharged_at IS NULL AS not_discharged FROM outcomes";

/// A folder that holds one task.
struct Folder(PathBuf);

impl Folder {
    fn holding(name: &str, toml: &str, sql: &str) -> Self {
        let unique = schemas::Digest::of([name, toml, sql].join("\0").as_bytes()).to_string();
        let path = std::env::temp_dir().join(format!("wardstream-tasks-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        std::fs::write(path.join(format!("{name}.toml")), toml).expect("writes");
        std::fs::write(path.join(format!("{name}.sql")), sql).expect("writes");
        Self(path)
    }

    async fn open(&self) -> Result<Tasks, super::TaskError> {
        Tasks::open(&TaskSettings { folder: Some(self.0.clone()) }, &Departments::default()).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

async fn refusal(toml: &str, sql: &str) -> String {
    let opened = Folder::holding("exact_days", toml, sql).open().await;
    opened.err().map(|error| error.to_string()).unwrap_or_else(|| panic!("it was taken: {sql}"))
}

#[tokio::test]
async fn a_site_adds_a_task_without_code() -> Result<(), super::TaskError> {
    let tasks = Folder::holding("exact_days", TOML, SQL).open().await?;
    assert_eq!(tasks.names().collect::<Vec<_>>(), ["readmission", "mortality", "length_of_stay", "comorbidity", "denial", "exact_days"]);
    assert_ne!(tasks.digest("exact_days"), tasks.digest("mortality"));
    assert_eq!(tasks.digest("nothing"), None);
    Ok(())
}

#[tokio::test]
async fn the_five_pass_what_is_asked_of_a_site() -> Result<(), super::TaskError> {
    let departments = Departments::default();
    for definition in Tasks::open(&TaskSettings::default(), &departments).await?.definitions.iter() {
        super::probe::check(definition, &departments).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_file_is_named_in_one_sentence() {
    for (from, to, said) in [
        ("title = \"Days\"", "title = 5", "line 1: `title` must be a text, not integer `5`"),
        ("horizon_days", "horizn_days", "line 4: unknown field `horizn_days`"),
        ("note = \"admission\"", "note = \"letter\"", "line 2: unknown variant `letter`"),
        ("clock = \"admission\"", "clock = admission", "line 3: "),
        ("horizon_days = 28", "horizon_days = 0", "`horizon_days` must be 1 to 3650"),
        ("unit = \"days\"", "classes = 1", "`target.classes` must be 2 to 26"),
        ("unit = \"days\"", "", "`target` must say either"),
        ("at_most_days = 30", "at_most_days = 1", "must not exceed"),
        ("reason = \"not_discharged\"", "reason = \"cancelled\"", "belongs to every task"),
        ("[\"discharge\"]", "[]", "at least one of"),
    ] {
        let error = refusal(&TOML.replace(from, to), SQL).await;
        assert!(error.starts_with("task exact_days: ") && error.contains(said) && !error.contains(['\n', '|', '^']), "{error}");
    }
}

#[tokio::test]
async fn a_query_that_reads_or_does_what_it_must_not_is_refused() {
    for (sql, said) in [
        ("SELECT encounter_id, label AS outcome FROM labels", "reads `labels`"),
        ("SELECT encounter_id, 1 AS outcome FROM notes", "reads `notes`"),
        ("SELECT * FROM predictions", "reads `predictions`"),
        ("SELECT * FROM information_schema.tables", "reads `information_schema.tables`"),
        ("SELECT * FROM 'file.parquet'", "reads"),
        ("WITH e AS (SELECT * FROM note_rows) SELECT * FROM e", "reads `note_rows`"),
        ("DROP TABLE outcomes", "must be a SELECT"),
        ("COPY outcomes TO 'x.csv'", "must be one SELECT"),
        ("SELECT 1; SELECT 2", "must be one SELECT"),
        ("SELECT encounter_id FROM", "cannot be planned"),
        ("SELECT encounter_id, nothing FROM outcomes", "cannot be planned"),
        ("SELECT encounter_id, days AS outcome, discharged_at AS outcome_at FROM outcomes", "no column `not_discharged`"),
        (
            "SELECT *, true AS died_twice FROM (SELECT encounter_id, days AS outcome, discharged_at AS outcome_at, false AS not_discharged FROM outcomes)",
            "gives a column `died_twice`",
        ),
        (
            "SELECT encounter_id, department AS outcome, discharged_at AS outcome_at, false AS not_discharged FROM outcomes",
            "column `outcome` must be a number",
        ),
        (
            "SELECT encounter_id, days AS outcome, days AS outcome_at, false AS not_discharged FROM outcomes",
            "column `outcome_at` must be a timestamp",
        ),
        ("SELECT encounter_id, days AS outcome, discharged_at AS outcome_at, 1 AS not_discharged FROM outcomes", "must be a truth value"),
        ("SELECT encounter_id, days AS outcome, now() AS outcome_at, false AS not_discharged FROM outcomes", "calls `now`"),
        (
            "SELECT encounter_id, row_number() OVER () AS outcome, discharged_at AS outcome_at, false AS not_discharged FROM outcomes",
            "calls `row_number() OVER without ORDER BY`",
        ),
        (
            "SELECT encounter_id, 1 / (whole_days - whole_days) AS outcome, discharged_at AS outcome_at, false AS not_discharged FROM outcomes",
            "cannot be answered",
        ),
        (
            "SELECT o.encounter_id, o.days AS outcome, o.discharged_at AS outcome_at, false AS not_discharged FROM outcomes AS o CROSS JOIN outcomes AS p",
            "several rows for a stay",
        ),
    ] {
        let error = refusal(TOML, sql).await;
        assert!(error.contains(said) && !error.contains('\n'), "{sql}\n{error}");
    }
}

#[tokio::test]
async fn a_query_that_never_ends_is_refused_in_a_sentence() -> Result<(), super::TaskError> {
    let endless = format!(
        "WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers) {SQL} WHERE whole_days IN (SELECT n FROM numbers)"
    );
    let definition = super::Definition::parse("exact_days", TOML, |_| Ok(endless.clone()))?;
    let tried = super::probe::check_within(std::time::Duration::from_secs(2), &definition, &Departments::default()).await;
    let error = tried.expect_err("nobody waits for ever").to_string();
    assert!(error.contains("may never end") && !error.contains('\n'), "{error}");
    Ok(())
}

/// A query over each stay's codes, which come in no order.
fn of_codes(outcome: &str) -> String {
    format!(
        "SELECT e.encounter_id, {outcome} AS outcome, max(e.discharged_at) AS outcome_at, max(e.discharged_at) IS NULL AS not_discharged \
         FROM encounters AS e LEFT JOIN diagnoses AS d ON d.encounter_id = e.encounter_id GROUP BY e.encounter_id"
    )
}

/// The same dataset's id must give the same bytes, in whatever order the engine hands rows on.
#[tokio::test]
async fn an_answer_that_goes_by_an_order_that_nobody_states_is_refused() {
    let some = |rows: &str| {
        format!(
            "SELECT encounter_id, days AS outcome, discharged_at AS outcome_at, discharged_at IS NULL AS not_discharged FROM ({rows}) AS o"
        )
    };
    for (sql, said) in [
        (of_codes("CAST(COALESCE(first_value(d.code), 'A') < 'J' AS INT)"), "calls `first_value` without ORDER BY"),
        (of_codes("CAST(COALESCE(last_value(d.code), 'A') < 'J' AS INT)"), "calls `last_value` without ORDER BY"),
        (of_codes("CAST(any_value(d.code) < 'J' AS INT)"), "calls `any_value`"),
        (of_codes("CAST(array_to_string(array_agg(d.code), ',') < 'J' AS INT)"), "calls `array_agg` without ORDER BY"),
        (of_codes("CAST(string_agg(d.code, ',') < 'J' AS INT)"), "calls `string_agg` without ORDER BY"),
        (of_codes("approx_distinct(d.code)"), "calls `approx_distinct`"),
        (of_codes("sum(CAST(d.rank AS DOUBLE))"), "adds up floating-point numbers by `sum`"),
        (of_codes("avg(d.rank / 3.0)"), "adds up floating-point numbers by `avg`"),
        (of_codes("stddev(character_length(d.code))"), "adds up floating-point numbers by `stddev`"),
        (some("SELECT * FROM outcomes LIMIT 5"), "has LIMIT or OFFSET without ORDER BY"),
        (some("SELECT * FROM outcomes OFFSET 1"), "has LIMIT or OFFSET without ORDER BY"),
        (some("SELECT * FROM (SELECT * FROM outcomes ORDER BY days) AS r WHERE days > 1 LIMIT 5"), "has LIMIT or OFFSET without ORDER BY"),
        (some("SELECT DISTINCT ON (patient_id) * FROM outcomes"), "has DISTINCT ON without"),
        (some("SELECT DISTINCT ON (patient_id) * FROM outcomes ORDER BY patient_id"), "has DISTINCT ON without"),
        (some("SELECT * FROM outcomes WHERE days > (SELECT sum(days) FROM outcomes)"), "adds up floating-point numbers by `sum`"),
        (some("SELECT *, sum(days) OVER (PARTITION BY patient_id) AS all_days FROM outcomes"), "adds up floating-point numbers by `sum`"),
    ] {
        let error = refusal(TOML, &sql).await;
        assert!(error.contains(said) && !error.contains('\n'), "{sql}\n{error}");
    }
}

#[tokio::test]
async fn an_order_that_is_stated_and_sums_that_are_exact_are_taken() -> Result<(), super::TaskError> {
    let of = |rows: &str| {
        format!(
            "SELECT encounter_id, days AS outcome, discharged_at AS outcome_at, discharged_at IS NULL AS not_discharged FROM ({rows}) AS o"
        )
    };
    for sql in [
        of_codes("COALESCE(character_length(string_agg(d.code, ',' ORDER BY d.code)), 0) + COALESCE(sum(CAST(d.rank AS BIGINT)), 0)"),
        of_codes(
            "COALESCE(character_length(first_value(d.code ORDER BY d.code DESC)), 0) + COALESCE(sum(CAST(d.rank AS DECIMAL(9, 2))), 0)",
        ),
        of("SELECT * FROM outcomes ORDER BY admitted_at, encounter_id LIMIT 1000"),
        of("SELECT DISTINCT ON (patient_id, encounter_id) * FROM outcomes ORDER BY patient_id, encounter_id, admitted_at"),
        of("SELECT *, sum(days) OVER (PARTITION BY patient_id ORDER BY admitted_at, encounter_id) AS until_then FROM outcomes"),
    ] {
        Folder::holding("exact_days", TOML, &sql).open().await?;
    }
    Ok(())
}

/// The example of the README is a task, as it stands there.
#[tokio::test]
async fn the_readmes_example_is_taken() -> Result<(), super::TaskError> {
    let readme = include_str!("../../README.md");
    let block = |head: &str| readme.split(head).nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default().to_owned();
    let (toml, sql) = (block("```toml\n# exact_days.toml\n"), block("```sql\n-- exact_days.sql: "));
    let tasks = Folder::holding("exact_days", &toml, &format!("-- {sql}")).open().await?;
    assert_eq!(tasks.names().last(), Some("exact_days"));
    Ok(())
}

#[tokio::test]
async fn a_question_that_the_note_answers_is_refused() {
    let discharge = TOML.replace("note = \"admission\"", "note = \"discharge\"");
    for toml in [&discharge, &discharge.replace("clock = \"admission\"", "clock = \"discharge\"")] {
        let error = refusal(toml, SQL).await;
        assert!(error.contains("it asks a discharge note about what is decided at or before discharge"), "{error}");
    }
    // Its own word is not believed: nothing that becomes known later changes who died.
    let disguised = "SELECT encounter_id, died AS outcome, discharged_at + $horizon AS outcome_at, discharged_at IS NULL AS not_discharged FROM outcomes";
    let error = refusal(&discharge.replace("unit = \"days\"", "classes = 2"), disguised).await;
    assert!(error.contains("what is decided at or before discharge"), "{error}");
    let age = "SELECT encounter_id, 1 AS outcome, admitted_at AS outcome_at, discharged_at IS NULL AS not_discharged FROM outcomes";
    let error = refusal(TOML, age).await;
    assert!(error.contains("an admission note about what is decided at or before admission"), "{error}");
}

/// A task about classes, of this kind of note.
fn of_note(kind: &str) -> String {
    TOML.replace("note = \"admission\"", &format!("note = \"{kind}\"")).replace("unit = \"days\"", "classes = 2")
}

/// A query over `outcomes`, for the rules of [`TOML`].
fn of_outcomes(outcome: &str, outcome_at: &str) -> String {
    format!(
        "SELECT encounter_id, CAST({outcome} AS INT) AS outcome, {outcome_at} AS outcome_at, discharged_at IS NULL AS not_discharged FROM outcomes"
    )
}

/// One stay whose outcome is decided when its note is written is enough, whatever the query says of when it came to be.
#[tokio::test]
async fn a_question_that_the_note_answers_of_some_stays_is_refused() {
    let within = "COALESCE(died_at <= discharged_at + $horizon, false)";
    let sex = "SELECT o.encounter_id, CAST(p.sex = 'female' AS INT) AS outcome, o.discharged_at + $horizon AS outcome_at, \
               o.discharged_at IS NULL AS not_discharged FROM outcomes AS o LEFT JOIN patients AS p ON p.patient_id = o.patient_id";
    let returned = of_outcomes("COALESCE(returned_at <= discharged_at + $horizon, false)", "least(returned_at, discharged_at + $horizon)");
    for (kind, sql, said) in [
        (
            "discharge",
            of_outcomes(within, "discharged_at + $horizon"),
            "of a patient who dies in the stay, its outcome is 1 whatever comes later",
        ),
        (
            "discharge",
            of_outcomes("COALESCE(whole_days > 5 OR denied, false)", "discharged_at + $horizon"),
            "its outcome is 1 whatever comes later",
        ),
        (
            "discharge",
            of_outcomes("COALESCE(disposition = 'exp', false)", "discharged_at + INTERVAL '1 day'"),
            "what is decided at or before discharge",
        ),
        (
            "discharge",
            of_outcomes("COALESCE(disposition = 'home', false)", "discharged_at + INTERVAL '1 day'"),
            "what is decided at or before discharge",
        ),
        ("discharge", returned, "of a patient who dies in the stay, its outcome is 0 whatever comes later"),
        (
            "report",
            of_outcomes("died", "discharged_at + $horizon"),
            "a note of the kind report about what is decided at or before discharge",
        ),
        (
            "progress",
            of_outcomes("died", "discharged_at + $horizon"),
            "a note of the kind progress about what is decided at or before discharge",
        ),
        ("admission", sex.to_owned(), "an admission note about what is decided at or before admission"),
        (
            "admission",
            of_outcomes("COALESCE(observation, false)", "discharged_at"),
            "an admission note about what is decided at or before admission",
        ),
    ] {
        let error = refusal(&of_note(kind), &sql).await;
        assert!(error.contains(said) && !error.contains('\n'), "{sql}\n{error}");
    }
}

/// What says when its outcome came to be is asked of those of whom it is still open, and taken.
#[tokio::test]
async fn a_question_that_is_open_for_whom_it_is_asked_is_taken() -> Result<(), super::TaskError> {
    let within = "COALESCE(died_at <= discharged_at + $horizon, false)";
    for (kind, sql) in [
        ("discharge", of_outcomes(within, "least(died_at, discharged_at + $horizon)")),
        ("discharge", of_outcomes("COALESCE(denied, false)", "discharged_at + $horizon")),
        ("report", of_outcomes("died", "discharged_at")),
        ("progress", of_outcomes("whole_days > 5", "discharged_at")),
        // No story of the trial has a word of it.
        ("admission", of_outcomes("department = 'A-3'", "discharged_at")),
    ] {
        Folder::holding("exact_days", &of_note(kind), &sql).open().await?;
    }
    Ok(())
}

/// The README's `query = "length_of_stay"`: the file beside it, else the one that is built in.
#[tokio::test]
async fn a_task_takes_another_horizon_over_a_query_that_is_built_in() -> Result<(), super::TaskError> {
    let toml =
        include_str!("../../tasks/length_of_stay.toml").replace("horizon_days = 28", "horizon_days = 14\nquery = \"length_of_stay\"");
    let folder = Folder::holding("fortnight", &toml, "");
    std::fs::remove_file(folder.0.join("fortnight.sql")).expect("was written");
    assert_eq!(folder.open().await?.names().last(), Some("fortnight"));
    std::fs::write(folder.0.join("length_of_stay.sql"), "SELECT 1").expect("writes");
    assert!(folder.open().await.is_err_and(|error| error.to_string().contains("no column `encounter_id`")));
    Ok(())
}

/// A chain is a tree that is walked by recursion: it must not end the process.
#[tokio::test]
async fn a_query_that_is_a_long_chain_is_refused_before_it_is_walked() {
    for chain in [vec!["1"; 20_000].join("+"), vec!["CAST(days > 1 AS INT)"; 20_000].join(" * ")] {
        let error = refusal(TOML, &of_outcomes(&chain, "discharged_at")).await;
        assert!(error.contains("more than 1000 operators") && !error.contains('\n'), "{}", error.len());
    }
}

#[tokio::test]
async fn a_split_rule_for_no_task_is_refused_with_the_tasks_that_there_are() -> Result<(), super::TaskError> {
    let mut splits = Splits::default();
    let rule = splits.of("mortality");
    splits.0.insert("exact_days".to_owned(), rule);
    let tasks = Tasks::open(&TaskSettings::default(), &Departments::default()).await?;
    let refused = tasks.hold(&splits).expect_err("there is no such task").to_string();
    assert!(refused.contains("exact_days") && refused.contains("readmission, mortality") && refused.contains("`default`"), "{refused}");
    Folder::holding("exact_days", TOML, SQL).open().await?.hold(&splits)?;
    tasks.hold(&Splits::default())
}

#[tokio::test]
async fn a_task_may_not_be_called_what_means_several() {
    for name in ["all", "default"] {
        let opened = Folder::holding(name, TOML, SQL).open().await;
        assert!(opened.is_err_and(|error| error.to_string().contains("means all tasks")), "{name}");
    }
}

/// A number that is none is no outcome, and a site's own task is nothing to the datasets of the others.
#[tokio::test]
async fn an_infinite_outcome_is_none_and_a_sites_task_leaves_other_datasets_ids_alone() {
    let sql = "SELECT encounter_id, days + CAST('Infinity' AS DOUBLE) AS outcome, discharged_at AS outcome_at, discharged_at IS NULL AS not_discharged FROM outcomes \
               WHERE encounter_id NOT IN (SELECT encounter_id FROM coverages WHERE plan = 'NONE' AND encounter_id IS NOT NULL)";
    let tasks = Folder::holding("exact_days", TOML, sql);
    let (warehouse, folder) = empty("tasks-infinite").await;
    warehouse.append(&mut Story::hospital().take()).await.expect("appends");
    let before = warehouse.dataset_id("mortality", &AsOf::default()).await.expect("has stays");
    let warehouse = open(&folder, |settings| settings.tasks.folder = Some(tasks.0.clone())).await;
    assert_eq!(warehouse.dataset_id("mortality", &AsOf::default()).await.expect("has stays"), before);
    let sql = "SELECT count(value) AS given, count(*) FILTER (WHERE excluded_because = 'no_outcome') > 100 AS none FROM labels WHERE task = 'exact_days'";
    let answer = render(&warehouse.query(sql, &AsOf::default()).await.expect("answers"), Format::Csv).expect("csv");
    assert_eq!(answer, "given,none\n0,true\n");
    std::fs::remove_dir_all(&folder).expect("was made");
}
