//! Rows are the same from memory and from disk, also after some of them went.

use datafusion::arrow::array::{Int64Array, StringViewArray};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;

fn runtime(bytes: usize) -> Arc<RuntimeEnv> {
    RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes))).build_arc().expect("a runtime")
}

/// A thousand rows.
fn batch(from: i64) -> RecordBatch {
    let fields = vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8View, true)];
    let ids = Int64Array::from_iter_values(from..from + 1_000);
    let texts: StringViewArray = ids.values().iter().map(|id| (id % 3 > 0).then(|| format!("the text of number {id}"))).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(ids), Arc::new(texts)]).expect("fits")
}

/// Two partitions of four batches of a thousand rows.
async fn kept(runtime: &Arc<RuntimeEnv>) -> Kept {
    let schema = batch(0).schema();
    let stream = |first: i64| {
        let batches = (0..4).map(|place| batch((first + place) * 1_000)).collect();
        MemoryStream::try_new(batches, Arc::clone(&schema), None).expect("a stream").boxed()
    };
    Kept::of(&schema, vec![stream(0), stream(4)], runtime).await.expect("is kept")
}

async fn asked(kept: &Arc<Kept>, sql: &str) -> String {
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    ctx.register_table("rows", Arc::new(KeptRows(Arc::clone(kept)))).expect("is known");
    let answer = ctx.sql(sql).await.expect("plans").collect().await.expect("answers");
    pretty_format_batches(&answer).expect("is printed").to_string()
}

#[tokio::test]
async fn rows_are_the_same_from_memory_and_from_disk() {
    let (few, many) = (Arc::new(kept(&runtime(100_000)).await), Arc::new(kept(&runtime(100_000_000)).await));
    assert!(!format!("{few:?}").ends_with("files=0") && format!("{many:?}").ends_with("files=0"), "{few:?}, {many:?}");
    for sql in [
        "SELECT * FROM rows ORDER BY id",
        "SELECT text FROM rows ORDER BY text DESC NULLS LAST LIMIT 7",
        "SELECT count(*), count(text), sum(id) FROM rows WHERE id % 2 = 0",
        "SELECT count(*) FROM rows AS a JOIN rows AS b ON b.id = a.id + 1",
    ] {
        assert_eq!(asked(&few, sql).await, asked(&many, sql).await, "{sql}");
    }
    assert!(asked(&few, "SELECT count(*) FROM rows").await.contains("8000"));
}

/// Twice: a file that lost a few rows stays and loses more of them, or is written anew.
#[tokio::test]
async fn what_holds_on_is_the_same_from_memory_and_from_disk() {
    for (first, second, files) in [(10, 7, 2), (10, 2, 0), (2, 10, 0), (1, 7, 0), (10_000, 10_000, 2)] {
        let mut answers = Vec::new();
        for bytes in [100_000, 100_000_000] {
            let runtime = runtime(bytes);
            let mut rows = kept(&runtime).await;
            let before: Vec<_> = rows.parts.iter().flat_map(|part| &part.runs).map(Run::path).collect();
            for (every, new) in [(first, 8_000), (second, 9_000)] {
                let holds = move |ids: &ArrayRef| {
                    Ok(ids.as_primitive::<Int64Type>().values().iter().map(|id| Some(id % every != every - 1)).collect::<BooleanArray>())
                };
                let new = MemoryStream::try_new(vec![batch(new)], Arc::clone(&rows.schema), None).expect("a stream").boxed();
                rows = Kept::renewed(&rows, 0, holds, vec![new], &runtime).await.expect("is kept");
            }
            let shared = rows.parts.iter().flat_map(|part| &part.runs).filter(|run| before.contains(&run.path())).count();
            assert_eq!(shared, if bytes == 100_000 { files } else { 0 }, "of {before:?}, without every {first}th and {second}th");
            let counted: usize = rows.parts.iter().map(|part| part.rows).sum();
            let rows = Arc::new(rows);
            let all = asked(&rows, "SELECT * FROM rows ORDER BY id").await;
            assert_eq!(all.lines().count(), counted + 4);
            assert!(asked(&rows, "SELECT count(*) FROM rows").await.contains(&format!(" {counted} ")));
            answers.push(all);
        }
        assert_eq!(answers[0], answers[1], "without every {first}th and {second}th");
        assert!(answers[0].contains("the text of number 9001"));
    }
}

/// The engine must not take a join over a column of few texts for a small one, and hold it.
#[tokio::test]
async fn what_is_large_streams_past_what_is_small() {
    let schema: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("ward", DataType::Utf8View, true)]));
    let of = |rows: i64, wards: i64| {
        let ids = Int64Array::from_iter_values(0..rows);
        let texts: StringViewArray = ids.values().iter().map(|id| Some(format!("ward {}", id % wards))).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(texts)]).expect("fits");
        MemoryStream::try_new(vec![batch], Arc::clone(&schema), None).expect("a stream").boxed()
    };
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let runtime = runtime(100_000_000);
    for (name, rows, wards) in [("wards", 5, 5), ("stays", 20_000, 20_000), ("labels", 100_000, 5)] {
        let kept = Kept::of(&schema, vec![of(rows, wards)], &runtime).await.expect("is kept");
        ctx.register_table(name, Arc::new(KeptRows(Arc::new(kept)))).expect("is known");
    }
    let sql =
        "EXPLAIN SELECT count(*) FROM wards AS w JOIN labels AS l ON l.ward = w.ward JOIN stays AS s ON s.id = l.id WHERE w.id <> s.id";
    let plan =
        pretty_format_batches(&ctx.sql(sql).await.expect("plans").collect().await.expect("is told")).expect("is printed").to_string();
    let places = ["rows=20000 ", "rows=5 ", "rows=100000 "].map(|rows| plan.find(rows).expect("is read"));
    assert!(places.is_sorted(), "a join's first side is held: {plan}");
}

#[tokio::test]
async fn what_is_kept_in_memory_is_counted_and_given_back() {
    let runtime = runtime(100_000_000);
    let kept = kept(&runtime).await;
    let counted = runtime.memory_pool.reserved();
    assert!(counted >= 8_000 * 16, "{counted}");
    drop(kept);
    assert_eq!(runtime.memory_pool.reserved(), 0);
}

/// What comes is put behind what there is: copied again every few times, and not each time.
#[tokio::test]
async fn small_batches_are_put_together_every_few_times() {
    let runtime = runtime(100_000_000);
    let mut rows = kept(&runtime).await;
    let mut untouched = 0;
    for turn in 0..20 {
        let before: Vec<_> = rows.parts[0].batches.iter().map(|batch| Arc::clone(batch.column(0))).collect();
        let new = MemoryStream::try_new(vec![batch(8_000 + turn * 1_000)], Arc::clone(&rows.schema), None).expect("a stream").boxed();
        let holds = |ids: &ArrayRef| Ok(ids.as_primitive::<Int64Type>().values().iter().map(|_| Some(true)).collect::<BooleanArray>());
        rows = Kept::renewed(&rows, 0, holds, vec![new], &runtime).await.expect("is kept");
        let after = &rows.parts[0].batches;
        assert!(after.len() <= SMALL + 1, "{} batches after turn {turn}", after.len());
        untouched += usize::from(before.iter().zip(after).all(|(before, after)| Arc::ptr_eq(before, after.column(0))));
    }
    assert!(untouched >= 16, "of 20 turns {untouched} copied nothing");
    let told = asked(&Arc::new(rows), "SELECT count(*), count(DISTINCT id), max(id) FROM rows").await;
    assert!(told.contains(" 27999 ") && told.matches(" 28000 ").count() == 2, "{told}");
}
