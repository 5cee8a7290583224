//! Merges beside each other, and how long history is kept.

use schemas::EventCode;

use super::*;
use crate::store::tests::{Record, Ward, fact};
use crate::{Settings, Warehouse};

/// Delta alone lets both pass, and every row would stand twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_merge_the_same_files_at_once_double_nothing() {
    let mut ward = Ward::told(|settings| settings.compact_files = 2).await;
    for patient in 0..12 {
        ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, &patient.to_string(), None, None)])]).await;
    }
    let others = [Warehouse::open(&ward.settings).await.expect("opens"), Warehouse::open(&ward.settings).await.expect("opens")];
    for warehouse in &others {
        warehouse.snapshot(Table::Events).await.expect("a table");
    }
    // Both plan from the same version; which of them is refused is not told beforehand.
    let (one, two) = tokio::join!(others[0].merge_files(Table::Events), others[1].merge_files(Table::Events));
    assert!(one.is_ok() || two.is_ok(), "one of them merges");
    assert_eq!(ward.told_of("SELECT count(*), count(DISTINCT event_id) FROM event_rows").await, "12,12\n");
    ward.is_conserved().await;
}

#[tokio::test]
async fn merged_and_vacuumed_tables_hold_the_same_rows_in_fewer_files() {
    let mut ward = Ward::told(|settings: &mut Settings| (settings.compact_files, settings.checkpoint_commits) = (4, 5)).await;
    for patient in 0..10 {
        ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, &patient.to_string(), None, None)])]).await;
    }
    ward.warehouse.compact().await.expect("merges");
    let far: Timestamp = "2100-01-01T00:00:00Z".parse().expect("an instant");
    ward.warehouse.vacuum(far).await.expect("vacuums");
    let delta = ward.warehouse.snapshot(Table::Events).await.expect("a table");
    assert_eq!(delta.snapshot().expect("loaded").snapshot().log_data().iter().count(), 1);
    assert!(last_checkpoint(&delta).await >= 10, "the log is summed up");
    ward.is_conserved().await;
}

#[tokio::test]
async fn a_merged_file_says_of_a_patient_that_he_is_not_in_it() {
    let mut ward = Ward::told(|settings: &mut Settings| settings.compact_files = 2).await;
    for patient in 0..3 {
        ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, &patient.to_string(), None, None)])]).await;
    }
    ward.warehouse.compact().await.expect("merges");
    let delta = ward.warehouse.snapshot(Table::Events).await.expect("a table");
    let file = delta.snapshot().expect("loaded").snapshot().log_data().iter().next().expect("one file").object_store_path();
    let bytes = delta.log_store().object_store(None).get(&file).await.expect("there").bytes().await.expect("read");
    let properties = parquet::file::properties::ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = parquet::file::serialized_reader::ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let reader = parquet::file::serialized_reader::SerializedFileReader::new_with_options(bytes, options).expect("Parquet");
    let group = parquet::file::reader::FileReader::get_row_group(&reader, 0).expect("a row group");
    let columns = reader_columns(&reader);
    let filter = group.get_column_bloom_filter(columns.iter().position(|name| name == "patient_id").expect("a column")).expect("a filter");
    let id =
        |value: &str| schemas::PatientId::derive(&schemas::Facility::new("north"), &crate::store::tests::identifier(value)).to_string();
    assert!(filter.check(&id("1").as_str()));
    assert!(!filter.check(&id("another").as_str()));
}

/// The columns of a file, in order.
fn reader_columns<R: parquet::file::reader::ChunkReader + 'static>(
    reader: &parquet::file::serialized_reader::SerializedFileReader<R>,
) -> Vec<String> {
    let schema = parquet::file::reader::FileReader::metadata(reader).file_metadata().schema_descr();
    schema.columns().iter().map(|column| column.path().string()).collect()
}

#[test]
fn history_before_an_erasure_goes_within_its_days_and_other_history_after_the_kept_ones() {
    let (keep, within) = (DAY * 30, DAY * 7);
    assert_eq!(kept_for(keep, None, within), (keep, VacuumMode::Full));
    let erased = |days: u32| Some(Since { oldest: DAY * days, newest: DAY * days });
    assert_eq!(kept_for(keep, erased(3), within), (keep, VacuumMode::Full), "its time is not up");
    assert_eq!(kept_for(keep, erased(6), within), (DAY * 6, VacuumMode::Full), "the last day has begun");
    assert_eq!(kept_for(keep, erased(10), within), (DAY * 10, VacuumMode::Full), "there was no turn in time");
    assert_eq!(kept_for(keep, erased(40), within), (keep, VacuumMode::Full), "all of it is older than what is kept");
    let followed = Some(Since { oldest: DAY * 8, newest: DAY * 2 });
    assert_eq!(kept_for(keep, followed, within), (DAY * 6, VacuumMode::Full), "the later one's time is not up");
    // At once: what an append has written but not committed is left alone.
    assert_eq!(kept_for(keep, erased(0), Duration::ZERO), (Duration::ZERO, VacuumMode::Lite));
}

/// A clock that each erasure sets anew would never run out where one follows another within its days.
#[test]
fn every_erasure_leaves_history_in_its_days_however_often_another_follows() {
    for every in 1..40 {
        let (mut held, mut marks) = (Vec::new(), None);
        for day in 0..200_u32 {
            if day % every == 0 {
                held.push(day);
                marks = Some(marks.map_or((day, day), |(oldest, _): (u32, u32)| (oldest, day)));
            }
            let since = marks.map(|(oldest, newest)| Since { oldest: DAY * (day - oldest), newest: DAY * (day - newest) });
            let (kept, mode) = kept_for(DAY * 30, since, DAY * 7);
            held.retain(|at| DAY * (day - at) < kept);
            if mode == VacuumMode::Full && since.is_some_and(|since| kept <= since.newest) {
                marks = None;
            }
            assert!(held.iter().all(|at| day - at < 7), "one every {every} days, on day {day}: {held:?}");
        }
    }
}
