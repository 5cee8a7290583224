//! The program as its users run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;

const DAY: i64 = 86_400_000_000;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wardstream-cohorts-command-{name}-{}", std::process::id()));
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("data/train")).expect("is made");
    folder
}

/// Two episodes of one subject end, of which the first is followed by another within thirty days.
fn export(folder: &Path) {
    let stays =
        [(0, "EPISODE_END//01"), (0, "MATURE//readmission"), (7, "EPISODE_BEGIN"), (9, "EPISODE_END//01"), (9, "MATURE//readmission")];
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![5; stays.len()]));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(stays.map(|(day, _)| day * DAY)));
    let codes: ArrayRef = Arc::new(StringArray::from_iter_values(stays.map(|(_, code)| code)));
    let batch = RecordBatch::try_from_iter([("subject_id", ids), ("time", times), ("code", codes)]).expect("fits");
    let file = std::fs::File::create(folder.join("data/train/0.parquet")).expect("is made");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("begins");
    writer.write(&batch).expect("is written");
    writer.close().expect("ends");
}

fn run(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cohorts")).args(arguments).output().expect("runs")
}

#[test]
fn rows_are_told_one_a_line() {
    let folder = folder("rows");
    export(&folder);
    let told = run(&[&folder]);
    assert_eq!(
        String::from_utf8_lossy(&told.stdout),
        format!("{{\"at\":0,\"label\":true,\"subject_id\":5}}\n{{\"at\":{},\"label\":false,\"subject_id\":5}}\n", 9 * DAY)
    );
    assert!(told.status.success() && told.stderr.is_empty());
    std::fs::remove_dir_all(folder).expect("was made");
}

#[test]
fn what_cannot_be_read_is_told_in_a_sentence() {
    let folder = folder("wrong");
    let told = run(&[&folder]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("that is no export of MEDS"));
    let configuration = folder.join("wrong.yaml");
    std::fs::write(&configuration, "predicates: 7").expect("is written");
    let told = run(&[&folder, Path::new("--aces"), &configuration]);
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stderr).contains("wrong.yaml: "), "{}", String::from_utf8_lossy(&told.stderr));
    std::fs::remove_dir_all(folder).expect("was made");
}
