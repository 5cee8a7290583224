//! What a cycle finds when it begins, and who may begin one.

use super::*;

fn moment(line: i64) -> Deeds {
    serde_json::from_value(serde_json::json!(line)).expect("a line's number")
}

/// Begins a cycle from this champion, when the audit has come to this line.
async fn begins(warehouse: &Warehouse, workdir: &Path, champion: &str, line: i64) -> Begun {
    let model_version = ModelVersion(champion.to_owned());
    let champion = Champion { model_version, weights_uri: champion.to_owned(), promoted_at: Timestamp::UNIX_EPOCH };
    let order = Order { reason: Reason::Scheduled, at: Timestamp::UNIX_EPOCH, workdir };
    let deeds = std::future::ready(Ok(moment(line)));
    let begun = begin(warehouse, &order, (Some(&champion), None), String::new(), deeds).await.expect("begins");
    assert_eq!(begun.parent, Some(champion.model_version));
    begun
}

async fn opened(place: &Path) -> Warehouse {
    let url = place.join("warehouse").display().to_string();
    Warehouse::open(&warehouse::Settings { url, ..warehouse::Settings::default() }).await.expect("opens")
}

/// One that died goes on from its checkpoint; from another's it must not, and weights of who is no champion any more serve nobody.
#[tokio::test]
async fn a_cycle_that_begins_anew_finds_nothing_that_another_left() {
    let place = tempfile::tempdir().expect("room");
    let (warehouse, workdir) = (opened(place.path()).await, place.path().join("trainer"));
    let left = || [STATE, PARENT].map(|name| workdir.join(name).exists());
    begins(&warehouse, &workdir, "a", 0).await;
    assert_eq!(left(), [false, false]);
    for name in [STATE, PARENT] {
        std::fs::create_dir(workdir.join(name)).expect("a folder");
    }
    begins(&warehouse, &workdir, "a", 0).await;
    assert_eq!(left(), [true, true], "it goes on");
    begins(&warehouse, &workdir, "b", 0).await;
    assert_eq!(left(), [false, false]);
}

/// `wardstream trainer --once` beside a trainer that runs would write into its checkpoints, and remove them under it.
#[test]
fn one_cycle_at_a_time_works_in_a_folder() {
    let place = tempfile::tempdir().expect("room");
    let workdir = place.path().join("state").join("trainer");
    let first = alone(&workdir).expect("nobody is there");
    assert!(matches!(alone(&workdir), Err(CycleError::Busy { path }) if path == workdir));
    drop(first);
    alone(&workdir).expect("the first has ended");
}

/// Whoever was erased while it was dead was there when its rows were pinned.
#[tokio::test]
async fn a_cycle_that_goes_on_keeps_the_moment_of_its_pin() {
    let place = tempfile::tempdir().expect("room");
    let (warehouse, workdir) = (opened(place.path()).await, place.path().join("trainer"));
    assert_eq!(begins(&warehouse, &workdir, "a", 7).await.before, moment(7));
    assert_eq!(begins(&warehouse, &workdir, "a", 9).await.before, moment(7), "it goes on");
    assert_eq!(begins(&warehouse, &workdir, "b", 9).await.before, moment(9));
    // As an earlier release left it: nobody knows who was erased since.
    let file = workdir.join("cycle.json");
    let mut begun: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("is kept")).expect("is JSON");
    begun.as_object_mut().and_then(|begun| begun.remove("before")).expect("it has one");
    std::fs::write(&file, begun.to_string()).expect("is written");
    assert_eq!(begins(&warehouse, &workdir, "b", 11).await.before, moment(11), "it begins anew");
    let mut gone = begins(&warehouse, &workdir, "b", 12).await;
    assert_eq!(gone.before, moment(11));
    gone.pin.versions.values_mut().for_each(|version| *version += 1_000);
    std::fs::write(&file, serde_json::to_vec(&gone).expect("is JSON")).expect("is written");
    assert_eq!(begins(&warehouse, &workdir, "b", 13).await.before, moment(13), "its rows are there no more");
}

/// It would learn from patients who were erased while it was dead, where it is asked for so that a model forgets them.
#[tokio::test]
async fn a_cycle_from_nothing_does_not_go_on_behind_an_erasure() {
    let place = tempfile::tempdir().expect("room");
    let (warehouse, workdir) = (opened(place.path()).await, place.path().join("trainer"));
    let begins = async |line: i64| {
        let order = Order { reason: Reason::First, at: Timestamp::UNIX_EPOCH, workdir: &workdir };
        let deeds = std::future::ready(Ok(moment(line)));
        begin(&warehouse, &order, (None, None), String::new(), deeds).await.expect("begins").before
    };
    assert_eq!(begins(7).await, moment(7));
    std::fs::create_dir(workdir.join(STATE)).expect("a folder");
    assert_eq!(begins(7).await, moment(7));
    assert!(workdir.join(STATE).exists(), "it goes on");
    assert_eq!(begins(9).await, moment(9));
    assert!(!workdir.join(STATE).exists(), "it begins anew");
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(number: usize) -> T {
    format!("00000000-0000-0000-0000-{number:012}").parse().expect("an id")
}

/// The answer to one question about one note of the validation fold.
fn validation(task: Task, at: &str, (number, label): (usize, i32)) -> Example {
    Example {
        task,
        split: None,
        fold: "validation".to_owned(),
        encounter_id: id(number),
        patient_id: id(number),
        note_id: id(number),
        note_version_id: id(number),
        prediction_at: at.parse().expect("an instant"),
        label,
        text: format!("Seen with the team, day {number}."),
    }
}

/// The champion's decisions went by a threshold; its refresh has one, too, of a task whose recent answers nobody knows yet.
#[test]
fn a_refresh_has_thresholds_of_tasks_that_are_answered_late() {
    let place = tempfile::tempdir().expect("room");
    let (old, recent) = ("2020-01-01T00:00:00Z", "2021-06-01T00:00:00Z");
    let deaths = (0..2 * ENOUGH_CASES).map(|number| validation(Task::Mortality, recent, (number, i32::from(number % 2 == 0))));
    let denials = (100..110).map(|number| validation(Task::Denial, old, (number, i32::from(number % 2 == 0))));
    let returns = (200..204).map(|number| validation(Task::Readmission, recent, (number, 1)));
    let since = "2021-05-01T00:00:00Z".parse().expect("an instant");
    let work = Work {
        settings: Settings::default(),
        workdir: place.path().to_owned(),
        begun: Begun {
            reason: Reason::Alarm { since },
            at: since,
            pin: Pin { versions: BTreeMap::new(), watermark: None },
            before: moment(0),
            parent: None,
            lora: None,
            settings: String::new(),
        },
        parent: Some(place.path().to_owned()),
        examples: deaths.chain(denials).chain(returns).collect(),
        dataset_id: DatasetId("none".to_owned()),
    };
    let tokenizer = model::train_tokenizer(std::iter::once("Seen with the team, day 0123456789."), 400).expect("a tokenizer");
    let learner = Learner::new(Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1).expect("a learner");
    let thresholds = work.thresholds(&learner).expect("measured");
    assert_eq!(thresholds.into_keys().collect::<Vec<_>>(), [Task::Readmission, Task::Mortality, Task::Denial]);
}
