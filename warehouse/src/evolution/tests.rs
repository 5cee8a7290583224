//! Tables of other releases, made as those would have made them.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use deltalake_core::DeltaTableBuilder;
use schemas::EventCode;
use url::Url;

use super::*;
use crate::store::tests::{Record, Ward, fact, settings, told_at};
use crate::{AsOf, Warehouse};

/// A table whose columns are `columns`, with `rows` rows of nothing.
async fn write_table(folder: &Path, table: Table, columns: Vec<Field>, rows: usize) -> DeltaTable {
    let place = folder.join(table.as_str());
    std::fs::create_dir_all(&place).expect("room for a folder");
    let url = Url::from_directory_path(&place).expect("a folder");
    let schema = Arc::new(Schema::new(columns));
    let column = |field: &Arc<Field>| match field.data_type() {
        kind if field.is_nullable() => new_null_array(kind, rows),
        DataType::Utf8 => Arc::new(StringArray::from(vec![""; rows])) as ArrayRef,
        kind => cast(&Int64Array::from(vec![0; rows]), kind).expect("a number is any of them"),
    };
    let batch = RecordBatch::try_new(Arc::clone(&schema), schema.fields().iter().map(column).collect()).expect("fits");
    DeltaTableBuilder::from_url(url).expect("a place").build().expect("a table").write(vec![batch]).await.expect("is written")
}

fn columns(table: Table, keep: impl Fn(&str) -> bool) -> Vec<Field> {
    table.schema().fields().iter().filter(|field| keep(field.name())).map(|field| field.as_ref().clone()).collect()
}

/// Every file under a folder, with its bytes.
fn contents(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

/// Opening must fail with exactly this sentence, and nothing in the folder may have changed.
async fn is_refused(folder: &Path, sentence: &str) {
    let before = contents(folder);
    let error = Warehouse::open(&settings(folder)).await.map(|_| ()).expect_err("another release's");
    assert_eq!(error.to_string(), sentence, "{error:?}");
    // Empty folders of tables that are not there yet are no tables.
    assert_eq!(contents(folder), before);
}

#[tokio::test]
async fn tables_of_an_older_release_get_the_columns_they_lack_before_the_first_row() {
    let folder = tempfile::tempdir().expect("room");
    let older = columns(Table::Notes, |name| !matches!(name, "length" | "template" | "readable"));
    write_table(folder.path(), Table::Notes, older, 3).await;
    let warehouse = Warehouse::open(&settings(folder.path())).await.expect("opens an older table");
    let counted = "SELECT count(*), count(length), count(template), count(readable) FROM note_rows";
    assert_eq!(told_at(&warehouse, counted, &AsOf::default()).await, "3,0,0,0\n");
    assert_eq!(warehouse.snapshot(Table::Notes).await.expect("a table").version(), Some(1));
    // The version of before they came is still read: a cycle of training that the older release began goes on from there.
    let mut pin = warehouse.pin().await.expect("a pin");
    pin.versions.insert(Table::Notes, 0);
    let then = AsOf { pin: Some(pin), ..AsOf::default() };
    assert_eq!(told_at(&warehouse, counted, &then).await, "3,0,0,0\n");
    assert_eq!(told_at(&warehouse, "SELECT count(*) FROM prompt_notes", &then).await, "0\n");
    // Once: whoever opens it next finds nothing to do.
    Warehouse::open(&settings(folder.path())).await.expect("opens again");
    assert_eq!(warehouse.snapshot(Table::Notes).await.expect("a table").version(), Some(1));
}

#[tokio::test]
async fn several_processes_that_open_an_older_table_at_once_add_its_columns_once() {
    let folder = tempfile::tempdir().expect("room");
    let older = columns(Table::Events, |name| !matches!(name, "asserted_at" | "related"));
    write_table(folder.path(), Table::Events, older, 1).await;
    let told = settings(folder.path());
    let opened = futures::future::join_all((0..4).map(|_| Warehouse::open(&told))).await;
    let opened: Vec<Warehouse> = opened.into_iter().map(|one| one.expect("opens")).collect();
    for warehouse in &opened {
        assert_eq!(warehouse.snapshot(Table::Events).await.expect("a table").version(), Some(1), "one commit added them");
        assert_eq!(told_at(warehouse, "SELECT count(*), count(related) FROM event_rows", &AsOf::default()).await, "1,0\n");
    }
}

#[tokio::test]
async fn rows_land_in_an_older_table_by_the_names_of_their_columns() {
    let mut ward = Ward::empty().await;
    let folder = tempfile::tempdir().expect("room");
    write_table(folder.path(), Table::Events, columns(Table::Events, |name| name != "facility"), 0).await;
    ward.settings = settings(folder.path());
    ward.warehouse = Warehouse::open(&ward.settings).await.expect("opens");
    ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, "1", None, None)])]).await;
    assert_eq!(ward.told_of("SELECT facility, patient_system, patient_value, code FROM event_rows").await, "north,MRN,1,patient.sex\n");
    ward.is_conserved().await;
}

#[tokio::test]
async fn a_table_of_a_newer_release_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().expect("room");
    let mut newer = columns(Table::Events, |_| true);
    newer.push(Field::new("payer", DataType::Utf8, true));
    write_table(folder.path(), Table::Events, newer, 1).await;
    // An older table beside it stays as it is.
    write_table(folder.path(), Table::Notes, columns(Table::Notes, |name| name != "length"), 1).await;
    is_refused(
        folder.path(),
        "table events has a column payer that this release does not know: start the newer release that wrote it; nothing was changed",
    )
    .await;
}

#[tokio::test]
async fn a_column_that_changed_its_type_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().expect("room");
    let mut changed = columns(Table::Events, |name| name != "numeric_value");
    changed.push(Field::new("numeric_value", DataType::Utf8, true));
    write_table(folder.path(), Table::Events, changed, 1).await;
    is_refused(
        folder.path(),
        "table events holds column numeric_value as string, and this release wants double; it was written by another release, and nothing was changed",
    )
    .await;
}

#[tokio::test]
async fn a_column_that_no_row_may_be_without_is_not_made_up() {
    let folder = tempfile::tempdir().expect("room");
    write_table(folder.path(), Table::Events, columns(Table::Events, |name| name != "reading"), 1).await;
    is_refused(
        folder.path(),
        "table events has no column reading, and no row may be without it; it was written by another release, and nothing was changed",
    )
    .await;
}

#[tokio::test]
async fn a_table_in_a_newer_form_of_delta_is_refused_and_not_touched() {
    for protocol in [
        r#"{"protocol":{"minReaderVersion":99,"minWriterVersion":99}}"#,
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["timeMachine"],"writerFeatures":["timeMachine"]}}"#,
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["timeMachine"]}}"#,
    ] {
        let folder = tempfile::tempdir().expect("room");
        write_table(folder.path(), Table::Messages, columns(Table::Messages, |_| true), 1).await;
        std::fs::write(folder.path().join("messages/_delta_log/00000000000000000001.json"), protocol).expect("a commit");
        is_refused(
            folder.path(),
            "table messages is written in a newer form of Delta Lake than this release reads and writes; nothing was changed",
        )
        .await;
    }
}
