#!/usr/bin/env python3
"""Holds an export against the `meds` package's schemas and against ACES, ACES against our own reader of its configurations, and measures both
on the same files.

    python -m venv venv && venv/bin/pip install meds==0.4.1 es-aces==0.7.3
    venv/bin/python warehouse/bench/meds_check.py --wardstream PATH --warehouse URL [--as-known-at T] [--measure]
    venv/bin/python warehouse/bench/meds_check.py --wardstream PATH --hard

Exits 1 where a file breaks the standard, or a cohort or a label differs.
"""
import argparse, collections, json, os, pathlib, resource, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
TASKS = {
    "readmission": ("discharged_at", "l.label"),
    "mortality": ("admitted_at", "l.label"),
    "length_of_stay": ("admitted_at", "l.label"),
}


def hard_stays():
    """Messages about stays that begin and end, or are followed by another, in one instant; of a death that no disposition tells; of an end stated to lie before
    the beginning, within another stay; of a stay that is a fraction of a second short of its days; and of stays of one person that lie within one another, or
    begin, or end, in one instant."""
    told = []

    def say(trigger, sent, patient, visit="", came="", left="", disposition="", died=""):
        lines = [f"MSH|^~\\&|A|F|E|H|{sent}||ADT^{trigger}|C{len(told)}|P|2.5.1", f"EVN|{trigger}|{sent}",
                 f"PID|1||{patient}^^^F^MR||TEST^X||19500101|F" + (21 * "|" + f"{died}|Y" if died else "")]
        if visit:
            lines.append(f"PV1|1|I|MED^1^A|||||||MED|||||||||{visit}" + 17 * "|" + disposition + 8 * "|" + f"{came}|{left}")
        told.append("\r".join(lines) + "\r")

    for patient, visit, came, left, disposition, died in [
        ("once", "once", "20240110000000", "20240110000000", "01", ""), ("once", "later", "20240501080000", "20240505120000", "20", ""),
        ("unsaid", "unsaid", "20240110080000", "20240115120000", "", "20240115110700"),
        ("moved", "two", "20240204080000", "20240206080000", "01", ""), ("moved", "three", "20240206080000", "20240209080000", "01", ""),
        ("moved", "last", "20240209080000", "20240210080000", "20", ""),
        ("turned", "right", "20240110080000", "20240115080000", "20", ""), ("turned", "wrong", "20240120080000", "20240112080000", "01", ""),
        ("short", "short", "20240110080000.700", "20240113080000.200", "01", ""),
        ("within", "outer", "20240110080000", "20240120080000", "01", ""), ("within", "inner", "20240112080000", "20240114080000", "20", ""),
        ("begun", "begun-short", "20240201080000", "20240203080000", "20", ""), ("begun", "begun-long", "20240201080000", "20240209080000", "01", ""),
        ("ended", "ended-long", "20240301080000", "20240310080000", "20", ""), ("ended", "ended-short", "20240308080000", "20240310080000", "01", ""),
        ("ended", "back", "20240320080000", "20240324080000", "01", ""),
    ]:
        say("A01", came[:14], patient, visit, came)
        say("A03", max(came, left)[:14], patient, visit, came, left, disposition, died)
    say("A08", "20250601000000", "nobody")
    return "".join(told)


def ours(args, task):
    """(subject, index time in microseconds, label) of every labelled stay."""
    moment, label = TASKS[task]
    sql = (f"SELECT meds_subject(l.patient_id) AS subject_id, CAST(arrow_cast(e.{moment}, 'Timestamp(µs, \"UTC\")') AS BIGINT) AS at, "
           f"{label} AS label FROM labels AS l JOIN encounters AS e ON e.encounter_id = l.encounter_id "
           f"WHERE l.task = '{task}' AND l.label IS NOT NULL")
    command = [args.wardstream, "--warehouse", args.warehouse, "sql", "--format", "ndjson", *args.at, sql]
    rows = [json.loads(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()]
    return sorted((row["subject_id"], row["at"], row["label"]) for row in rows)


def aces(folder, task):
    """The same by ACES, shard by shard."""
    from aces import config, predicates, query
    from omegaconf import DictConfig
    import polars as pl
    cfg = config.TaskExtractorConfig.load(config_path=HERE.parent / "meds/aces" / f"{task}.yaml")
    found = []
    for shard in sorted((folder / "data").glob("*/*.parquet")):
        frame = predicates.get_predicates_df(cfg=cfg, data_config=DictConfig({"path": str(shard), "standard": "meds"}))
        result = query.query(cfg=cfg, predicates_df=frame)
        if result.is_empty():
            continue
        days = ["within_3_days", "within_4_days", "within_6_days"] if task == "length_of_stay" else []
        counted = result.rechunk().select("subject_id", pl.col("index_timestamp").dt.timestamp("us").alias("at"), "label",
                                          *[pl.col("stay.end_summary").struct.field(within) for within in days])
        for subject, at, label, *within in counted.rows():
            found.append((subject, at, [count > 0 for count in [*within, 1]].index(True) if days else int(label > 0)))
    return sorted(found)


def read(args, folder, task):
    """(subject, index time in microseconds, whether ACES's one label is above 0) by our own reader of the same configuration."""
    command = [cohorts(args), str(folder), "--aces", str(HERE.parent / "meds/aces" / f"{task}.yaml")]
    rows = [json.loads(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()]
    return sorted((row["subject_id"], row["at"], row["label"]) for row in rows)


def cohorts(args):
    """The program that lies beside the other."""
    return str(pathlib.Path(args.wardstream).with_name("cohorts"))


def check_schemas(folder):
    """Every file against the standard's own schemas; subjects whole, sorted and in one shard."""
    import meds, pyarrow.parquet as pq, pyarrow.compute as pc
    seen, events, codes = {}, 0, set()
    for shard in sorted((folder / "data").glob("*/*.parquet")):
        table = pq.read_table(shard)
        meds.DataSchema.validate(table)
        last = None
        for subject, at in zip(table["subject_id"].to_pylist(), table["time"].to_pylist()):
            if last is None or subject != last[0]:
                assert subject not in seen, f"subject in two places: {shard}"
                seen[subject] = shard.parent.name
            elif last[1] is not None:
                assert at is not None and at >= last[1], f"not sorted by time: {shard}"
            last = (subject, at)
        events += table.num_rows
        codes |= set(pc.unique(table["code"]).to_pylist())
    splits = pq.read_table(folder / meds.subject_splits_filepath)
    meds.SubjectSplitSchema.validate(splits)
    assert dict(zip(splits["subject_id"].to_pylist(), splits["split"].to_pylist())) == seen, "splits and shards differ"
    described = pq.read_table(folder / meds.code_metadata_filepath)
    meds.CodeMetadataSchema.validate(described)
    assert set(described["code"].to_pylist()) == codes, "codes.parquet does not hold exactly the codes there are"
    meds.DatasetMetadataSchema.validate(json.loads((folder / meds.dataset_metadata_filepath).read_text()))
    labels = 0
    for file in sorted((folder / "task_labels").glob("*/*.parquet")):
        table = pq.read_table(file)
        meds.LabelSchema.validate(table)
        assert set(table["subject_id"].to_pylist()) <= set(seen), "a label of nobody"
        labels += table.num_rows
    return {"subjects": len(seen), "events": events, "codes": len(codes), "labels": labels}


def peak_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")), 0.0)


def measured(command):
    """Seconds of the wall clock and the most memory resident, of a process of its own."""
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command}: {child.stderr.read()}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def measure(args, folder):
    """The readmission cohort, by ACES and by our reader of the same configuration, over the same files in one run."""
    this = [sys.executable, __file__, "--cohort", str(folder)]
    mine = [cohorts(args), str(folder)]
    for name, command in [("aces", this), ("cohorts", mine)]:
        best = min((measured(command) for _ in range(args.repeat)), key=lambda pair: pair[0])
        yield name, best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wardstream")
    parser.add_argument("--warehouse")
    parser.add_argument("--as-known-at")
    parser.add_argument("--hard", action="store_true", help="of a warehouse of hard stays, which is made for it")
    parser.add_argument("--export", type=pathlib.Path, help="an export that lies there already")
    parser.add_argument("--cohort", type=pathlib.Path, help="only runs ACES for the readmission cohort of this export")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    import logging
    logging.disable(logging.WARNING)
    if args.cohort:
        print(len(aces(args.cohort, "readmission")))
        return
    args.at = ["--as-known-at", args.as_known_at] if args.as_known_at else []
    with tempfile.TemporaryDirectory() as scratch:
        if args.hard:
            args.warehouse, stays = f"{scratch}/warehouse", pathlib.Path(scratch) / "stays.hl7"
            stays.write_text(hard_stays(), newline="")
            subprocess.run([args.wardstream, "--warehouse", args.warehouse, "backfill", "--facility", "F", str(stays)], check=True, stdout=subprocess.DEVNULL)
        folder = args.export or pathlib.Path(scratch) / "meds"
        if not args.export:
            subprocess.run([args.wardstream, "--warehouse", args.warehouse, "export", "meds", str(folder), *args.at], check=True, stdout=subprocess.DEVNULL)
        if args.measure:
            figures = dict(measure(args, folder))
            print(json.dumps({name: {"seconds": round(s, 2), "peak_mb": round(mb)} for name, (s, mb) in figures.items()}))
            return
        print(json.dumps({"schemas": check_schemas(folder)}))
        differing = 0
        for task in TASKS:
            mine, theirs = ours(args, task), aces(folder, task)
            # Stays that begin in one instant are rows alike, each of which counts.
            only_mine, only_theirs = (collections.Counter(these) - collections.Counter(those) for these, those in [(mine, theirs), (theirs, mine)])
            counted = sorted((subject, at, label == 0 if task == "length_of_stay" else label > 0) for subject, at, label in theirs)
            alike = read(args, folder, task) == counted
            differing += only_mine.total() + only_theirs.total() + (not alike)
            print(json.dumps({"task": task, "wardstream": len(mine), "aces": len(theirs), "positive": sum(label > 0 for _, _, label in mine),
                              "only_wardstream": only_mine.total(), "only_aces": only_theirs.total(), "read_alike": alike}))
        sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
