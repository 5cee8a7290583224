//! Exports as files, however their rows are dealt to row groups.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::windows::Event;

const CODES: [&str; 6] =
    ["EPISODE_BEGIN", "EPISODE_END//01", "EPISODE_END//20", "MATURE//readmission", "NOTE//progress", "EXCLUDED//readmission//hospice"];

/// Subjects with up to forty events in a few months; some have none that counts.
fn rows(subjects: i64) -> Vec<(i64, Option<i64>, &'static str)> {
    let mut state = 7_u64;
    let mut drawn = move |among: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % among
    };
    let mut rows = Vec::new();
    for subject in 0..subjects {
        rows.push((subject * 977 - 5_000, None, "SEX//female"));
        let mut times: Vec<i64> = (0..drawn(40)).map(|_| drawn(14) as i64 * 432_000_000_000).collect();
        times.sort_unstable();
        rows.extend(times.into_iter().map(|at| (subject * 977 - 5_000, Some(at), CODES[drawn(CODES.len())])));
    }
    rows
}

fn written(folder: &Path, rows: &[(i64, Option<i64>, &str)], group: usize, dictionary: bool) {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let times: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<TimestampMicrosecondArray>());
    let codes: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.2)).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter_with_nullable([("subject_id", ids, false), ("time", times, true), ("code", codes, false)])
        .expect("fits");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).set_dictionary_enabled(dictionary).build();
    std::fs::create_dir_all(folder).expect("is made");
    let file = std::fs::File::create(folder.join("0.parquet")).expect("is made");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("begins");
    writer.write(&batch).expect("is written");
    writer.close().expect("ends");
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wardstream-cohorts-{name}-{}", std::process::id()));
    let _absent = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn row_groups_and_threads_change_nothing() {
    let (config, rows) = (Config::read(crate::READMISSION).expect("is read"), rows(400));
    let mut expected = Vec::new();
    for subject in rows.chunk_by(|one, next| one.0 == next.0) {
        let events: Vec<Event> = subject
            .iter()
            .filter_map(|row| Some(Event { at: row.1?, matches: config.matches(row.2) }))
            .filter(|event| event.matches != 0)
            .collect();
        find(&config, subject[0].0, &events, &mut expected);
    }
    assert!(expected.len() > 100 && expected.iter().any(|one| one.label) && expected.iter().any(|one| !one.label));
    let export = folder("groups");
    for (group, dictionary) in [(1_000_000, true), (64, true), (64, false), (3, true)] {
        written(&export.join("data/train"), &rows, group, dictionary);
        let shard = Shard::open(&export.join("data/train/0.parquet")).expect("opens");
        for threads in [1, 3] {
            assert_eq!(extract(&config, &export, threads).expect("is read"), expected, "{group} {threads}");
        }
        // As parts of one row group each: a subject may reach over several.
        let each: Vec<Part> = (0..shard.row_groups().len()).map(|nth| part(&config, &shard, vec![nth]).expect("is read")).collect();
        assert_eq!(stitched(&config, each), expected, "{group}");
    }
    std::fs::remove_dir_all(export).expect("was made");
}

#[test]
fn what_is_no_export_is_said_to_be_none() {
    let config = Config::read(crate::READMISSION).expect("is read");
    let export = folder("none");
    assert!(extract(&config, &export, 1).expect_err("none").to_string().contains("that is no export of MEDS"));
    std::fs::create_dir_all(export.join("data/train")).expect("is made");
    std::fs::write(export.join("data/train/0.parquet"), "no Parquet").expect("is written");
    assert!(extract(&config, &export, 1).expect_err("none").to_string().contains("0.parquet"));
    std::fs::remove_dir_all(export).expect("was made");
}
