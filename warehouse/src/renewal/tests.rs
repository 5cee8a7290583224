//! Rows that are taken over are the rows that would be computed: for every view, over random histories that come piece by piece.

use schemas::{EventCode, NoteKind, NoteStatus, Source};

use crate::views::history::{Dice, Line, OF_THE_LOG, What, batch, history, rows, tied_history};
use crate::{AsOf, Batch, Settings, Subject, Warehouse, views};

struct Stand {
    settings: Settings,
    living: Warehouse,
}

impl Stand {
    async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wardstream-renewal-{}-{name}", std::process::id()));
        let settings = Settings { url: folder.display().to_string(), compact_files: 2, ..Settings::default() };
        let living = Warehouse::open(&settings).await.expect("opens");
        Self { settings, living }
    }

    async fn append(&self, lines: &[Line], offset: usize) {
        self.living.append(&mut batch(lines, offset)).await.expect("appends");
    }

    /// Whether rows were taken over; those of every view are as a warehouse has them that computes all.
    async fn agrees(&self, after: &str) -> bool {
        let fresh = Warehouse::open(&self.settings).await.expect("opens");
        for view in views::names().filter(|view| !OF_THE_LOG.contains(view)) {
            assert_eq!(rows(&self.living, view, &AsOf::default()).await, rows(&fresh, view, &AsOf::default()).await, "{view} {after}");
        }
        self.took_over().await
    }

    async fn took_over(&self) -> bool {
        self.told(super::Renewal::took_over).await
    }

    /// Whether copies and readings were taken over, too.
    async fn records_held(&self) -> bool {
        self.told(super::Renewal::records_held).await
    }

    async fn told(&self, of: fn(&super::Renewal) -> bool) -> bool {
        self.living.0.newest.lock().await.as_ref().and_then(|relations| relations.renewal()).is_some_and(of)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.settings.url);
    }
}

#[tokio::test]
async fn rows_that_are_taken_over_are_those_that_would_be_computed() {
    for seed in [5_u64, 17] {
        let stand = Stand::new(&format!("pieces-{seed}")).await;
        let mut dice = Dice::new(seed ^ 0x5eed);
        let lines = tied_history(seed, 35);
        let mut at = lines.len() * 6 / 10;
        stand.append(&lines[..at], 0).await;
        assert!(!stand.agrees("at first").await);
        let (mut times, mut turn) = (0, 0);
        while at < lines.len() {
            let next = (at + 10 + usize::try_from(dice.below(40)).expect("small")).min(lines.len());
            stand.append(&lines[at..next], at).await;
            at = next;
            turn += 1;
            match turn % 4 {
                // Somebody asks little, and the rest is older than that.
                1 => {
                    rows(&stand.living, "note_states", &AsOf::default()).await;
                    continue;
                }
                2 => continue,
                // What was computed is lost, and with the next question the rows between are nobody's news.
                3 if turn % 8 == 3 => {
                    *stand.living.0.newest.lock().await = None;
                    rows(&stand.living, "labels", &AsOf::default()).await;
                    continue;
                }
                3 => stand.living.compact().await.expect("merges"),
                _ => {}
            }
            times += usize::from(stand.agrees(&format!("after {at} of {} records, seed {seed}", lines.len())).await);
        }
        assert!(times >= 2, "rows were taken over {times} times, seed {seed}");
    }
}

#[tokio::test]
async fn what_stands_otherwise_than_before_is_told_anew() {
    let stand = Stand::new("otherwise").await;
    let lines = tied_history(23, 40);
    let half = lines.len() / 2;
    stand.append(&lines[..half], 0).await;
    assert!(!stand.agrees("at first").await);
    let is_fact = |line: &Line| matches!(&line.what, What::Fact { code: EventCode::EncounterDischarged, .. });
    let places: Vec<usize> = (0..half).filter(|place| is_fact(&lines[*place])).collect();
    let (first, second) = (places[0], places[places.len() / 2]);

    // The same bytes again, which another map has read as somebody else's: the first still stands.
    let again = |place: usize, offset: usize, patient: &str| {
        let line = Line { patient: patient.to_owned(), visit: patient.replace('p', "v") + "-0", ..lines[place].clone() };
        let mut copy = batch(&[line], offset);
        let bytes = batch(&lines[place..=place], place);
        copy.messages[0].digest.clone_from(&bytes.messages[0].digest);
        copy.messages[0].payload.clone_from(&bytes.messages[0].payload);
        copy
    };
    let repeat = |place: usize, partition: i32| {
        let mut repeat = again(place, place, "p3");
        let source = Source { partition, ..repeat.messages[0].source.clone() };
        (repeat.messages[0].source, repeat.events[0].source) = (source.clone(), source.clone());
        repeat.upto = [(source.topic_partition(), source.offset)].into();
        repeat
    };
    stand.living.append(&mut repeat(first, 1)).await.expect("appends");
    assert!(stand.agrees("after a repeat").await && !stand.records_held().await);

    // A replay that reads it as a third person's, and one that finds nothing in another record.
    let mut replay = again(first, first, "p5");
    replay.messages[0].rows_reading = crate::NEWEST;
    stand.living.append_reading(replay).await.expect("appends");
    assert!(stand.agrees("after a replay").await && !stand.records_held().await);
    let mut empty = Batch { messages: batch(&lines[second..=second], second).messages, ..Batch::default() };
    empty.messages[0].rows_reading = crate::NEWEST;
    stand.living.append_reading(empty).await.expect("appends");
    assert!(stand.agrees("after a replay that found nothing").await && !stand.records_held().await);

    // Nothing at all is news too.
    stand.living.append(&mut batch(&lines[half..=half], half)).await.expect("appends");
    stand.living.compact().await.expect("merges");
    assert!(stand.agrees("after one record and a merge").await && stand.records_held().await);
    assert!(stand.agrees("after nothing").await);

    // Rows that go leave nothing of before to take over: what holds is what the erasure's own last look has computed.
    let patient = Subject { system: "H".to_owned(), value: "p7".to_owned(), facility: None };
    stand.living.erase(&patient).await.expect("erases");
    stand.agrees("after an erasure").await;
    assert!(!stand.records_held().await);
    stand.living.append(&mut batch(&lines[half + 1..half + 3], half + 1)).await.expect("appends");
    assert!(stand.agrees("after the records behind an erasure").await && stand.records_held().await);
    stand.living.append(&mut batch(&lines[half + 3..half + 4], half + 3)).await.expect("appends");
    assert!(stand.agrees("after one more").await && stand.records_held().await);

    // Records of these bytes alone are ranked anew: the copy of a record, and one that gave more facts and stands in place of the others.
    stand.living.append(&mut repeat(second, 1)).await.expect("appends");
    assert!(stand.agrees("after a repeat of what is known").await && stand.records_held().await);
    let mut fuller = repeat(second, 2);
    fuller.messages[0].events += 1;
    stand.living.append(&mut fuller).await.expect("appends");
    assert!(stand.agrees("after a repeat that stands").await && stand.records_held().await);
}

/// Another patient's note that replaces one says of that one that it is taken back, though nothing else ties the two patients.
#[tokio::test]
async fn a_note_is_told_anew_where_another_patients_replaces_it() {
    let stand = Stand::new("replaced").await;
    let lines = history(23, 40);
    stand.append(&lines, 0).await;
    assert!(!stand.agrees("at first").await);
    let is_first = |line: &&Line| line.patient == "p5" && matches!(&line.what, What::Note { status: NoteStatus::Final, .. });
    let first = lines.iter().find(is_first).expect("a note of p5");
    let replaced = batch(std::slice::from_ref(first), 0).notes[0].note_id;
    let known = lines[lines.len() - 1].known + 1;
    let (document, text) = ("another".to_owned(), "Nothing else of note.".to_owned());
    let what = What::Note { kind: NoteKind::Admission, document, status: NoteStatus::Final, text };
    let line = Line { known, asserted: known, patient: "p3".to_owned(), visit: "v3-0".to_owned(), what };
    let mut replacing = batch(&[line], lines.len());
    replacing.notes[0].replaces = Some(replaced);
    stand.living.append(&mut replacing).await.expect("appends");
    assert!(stand.agrees("after another patient's note").await);
    let told = format!("(SELECT DISTINCT retracted FROM note_versions WHERE note_id = '{replaced}') AS told");
    assert_eq!(rows(&stand.living, &told, &AsOf::default()).await, ["|retracted|", "|true|"]);
}

#[tokio::test]
async fn rows_from_before_an_erasure_are_let_go_so_that_later_ones_are_taken_over() {
    let stand = Stand::new("erased").await;
    let lines = tied_history(23, 40);
    let half = lines.len() / 2;
    stand.append(&lines[..=half], 0).await;
    assert!(!stand.agrees("at first").await);
    let patient = Subject { system: "H".to_owned(), value: "p7".to_owned(), facility: None };
    stand.living.erase(&patient).await.expect("erases");

    // One view is asked for again; nobody asks for labels, whose stays were computed before.
    rows(&stand.living, "note_states", &AsOf::default()).await;
    assert!(!stand.told(|renewal| renewal.inherits("asked_stays")).await, "rows of the erased are still held");
    stand.append(&lines[half + 1..half + 3], half + 1).await;
    rows(&stand.living, "note_states", &AsOf::default()).await;
    assert!(stand.took_over().await, "what was computed after the erasure holds");
    assert!(stand.agrees("after the records behind an erasure").await);
}
