#!/usr/bin/env python3
"""Others read what we write: the Delta tables, and the Parquet that `wardstream sql` answers with.

    python -m venv venv && venv/bin/pip install deltalake polars pyarrow duckdb==1.5.5 duckdb-extension-delta==1.5.5
    venv/bin/python warehouse/bench/interop.py --wardstream PATH --warehouse FOLDER

For every table: delta-rs, Polars and DuckDB count the rows and what is not NULL in each column, and find the newest `known_at`, as our own SQL
does. The package `duckdb-extension-delta` carries DuckDB's own delta extension for the version of DuckDB that it names; without it, and where it
cannot be downloaded, DuckDB reads the table through the Arrow data set that delta-rs opens, and a line says so.

Spark is asked too where it is installed (Java 17; 500 MB), with a join, the history and the first version of each table as well. It needs Delta
Lake's jars in a folder, which `--jars` names:

    venv/bin/pip install pyspark==4.0.1
    for jar in delta-spark_2.13 delta-storage; do mvn dependency:copy -Dartifact=io.delta:$jar:4.0.0 -DoutputDirectory=jars; done

Exits 1 where any of them differs or cannot read.
"""
import argparse, datetime, glob, importlib.util, io, json, subprocess, sys, tempfile

TABLES = {"messages": "message_rows", "events": "event_rows", "notes": "note_rows", "predictions": "prediction_rows"}
JOINED = "SELECT count(*) AS n FROM {} AS e JOIN {} AS n ON n.encounter_id = e.encounter_id"


def ours(args, sql, form="ndjson"):
    command = [args.wardstream, "--warehouse", args.warehouse, "sql", "--format", form, sql]
    return subprocess.run(command, check=True, capture_output=True).stdout


def instant(value):
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if value and value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    return value and value.astimezone(datetime.timezone.utc).isoformat()


def asked(columns, source, newest="max(known_at)", quote='"'):
    """One row: the number of rows, the newest instant, and of each column how many are not NULL."""
    counts = ", ".join(f"count({quote}{column}{quote}) AS {quote}n_{column}{quote}" for column in columns)
    return f"SELECT count(*) AS n, {newest} AS newest, {counts} FROM {source}"


def by_delta_rs(path, columns):
    from deltalake import DeltaTable
    import pyarrow.compute as pc
    facts = DeltaTable(path).to_pyarrow_dataset()
    newest = pc.max(facts.to_table(columns=["known_at"])["known_at"]).as_py()
    counts = dict.fromkeys(columns, 0)
    rows = 0
    for batch in facts.to_batches():
        rows += batch.num_rows
        for column in columns:
            counts[column] += batch.num_rows - batch.column(column).null_count
    return rows, instant(newest), list(counts.values())


def by_polars(path, columns):
    import polars as pl
    wanted = [pl.len().alias("n"), pl.col("known_at").max().alias("newest"), *(pl.col(column).count().alias(f"n_{column}") for column in columns)]
    n, newest, *counts = pl.scan_delta(path).select(wanted).collect().row(0)
    return n, instant(newest), counts


class DuckDb:
    """DuckDB with its own delta extension, or else through what delta-rs opens."""

    def __init__(self):
        import duckdb
        self.connection = duckdb.connect()
        self.extension = False
        found = importlib.util.find_spec("duckdb_extension_delta")
        packed = glob.glob(f"{found.submodule_search_locations[0]}/extensions/v{duckdb.__version__}/delta.duckdb_extension") if found else []
        try:
            self.connection.execute(f"LOAD '{packed[0]}'" if packed else "INSTALL delta; LOAD delta;")
            self.extension = True
        except duckdb.Error as error:
            print(json.dumps({"duckdb_delta_extension": str(error).splitlines()[0][:120]}))
        self.name = f"duckdb {duckdb.__version__} ({'its extension' if self.extension else 'arrow'})"

    def __call__(self, path, columns):
        if self.extension:
            source = f"delta_scan('{path}')"
        else:
            from deltalake import DeltaTable
            facts, source = DeltaTable(path).to_pyarrow_dataset(), "facts"  # DuckDB finds the data set by its variable's name
        # As a number: an instant would need a package more.
        n, newest, *counts = self.connection.execute(asked(columns, source, "epoch_us(max(known_at))")).fetchone()
        began = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return n, instant(newest and began + datetime.timedelta(microseconds=newest)), counts


class Spark:
    """Spark with Delta Lake's own reader."""

    def __init__(self, jars):
        import pyspark
        from pyspark.sql import SparkSession
        settings = {
            "spark.jars": ",".join(sorted(glob.glob(f"{jars}/*.jar"))),
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "2",
            "spark.driver.memory": "4g",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        builder = SparkSession.builder.master("local[2]")
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")
        self.name = f"spark {pyspark.__version__}"

    def rows(self, sql):
        return [row.asDict() for row in self.session.sql(sql).collect()]

    def __call__(self, path, columns):
        newest = "date_format(max(known_at), \"yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX\")"
        n, newest, *counts = self.rows(asked(columns, f"delta.`{path}`", newest, "`"))[0].values()
        return n, instant(newest), counts

    def beyond(self, args):
        """A join as our SQL answers it; each table's history, which ends at the version that delta-rs knows; and an earlier version of it."""
        from deltalake import DeltaTable
        folder = args.warehouse
        joined = self.rows(JOINED.format(f"delta.`{folder}/events`", f"delta.`{folder}/notes`"))[0]["n"]
        said = {"events joined with notes": joined}
        agree = joined == json.loads(ours(args, JOINED.format("event_rows", "note_rows")))["n"]
        for table in TABLES:
            path = f"{folder}/{table}"
            versions = [row["version"] for row in self.rows(f"DESCRIBE HISTORY delta.`{path}`")]
            newest = DeltaTable(path).version()
            earlier = max(newest - 1, 0)
            n = self.rows(f"SELECT count(*) AS n FROM delta.`{path}` VERSION AS OF {earlier}")[0]["n"]
            agree &= max(versions) == newest and n == DeltaTable(path, version=earlier).to_pyarrow_dataset().count_rows()
            said[table] = {"versions": len(versions), "version": earlier, "rows": n}
        return {self.name: said, "agree": agree}


def parquet_answer(args):
    """One answer as Parquet, read by pyarrow, Polars and DuckDB alike."""
    import duckdb, polars as pl, pyarrow.parquet as pq
    sql = "SELECT encounter_id, admitted_at, discharged_at, disposition FROM encounters ORDER BY admitted_at, encounter_id"
    data = ours(args, sql, "parquet")
    table = pq.read_table(io.BytesIO(data))
    frame = pl.read_parquet(io.BytesIO(data))
    lines = [json.loads(line) for line in ours(args, sql).splitlines()]
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(data)
        file.flush()
        counted = duckdb.connect().execute(f"SELECT count(*) FROM '{file.name}'").fetchone()[0]
    same = [row["encounter_id"] for row in lines] == table["encounter_id"].to_pylist() == frame["encounter_id"].to_list()
    return {"sql --format parquet": table.num_rows, "agree": same and counted == len(lines) and frame.height == len(lines)}


def spark_if_there(jars):
    if importlib.util.find_spec("pyspark") is None:
        print(json.dumps({"spark": "not installed: not asked"}))
        return None
    return Spark(jars)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wardstream", required=True)
    parser.add_argument("--warehouse", required=True, help="a local folder")
    parser.add_argument("--jars", default="jars", help="the folder of Delta Lake's jars, for Spark")
    args = parser.parse_args()
    spark, duck = spark_if_there(args.jars), DuckDb()
    readers = {"delta-rs": by_delta_rs, "polars": by_polars, duck.name: duck} | ({spark.name: spark} if spark else {})
    agreed = True
    for table, relation in TABLES.items():
        path = f"{args.warehouse}/{table}"
        columns = [json.loads(line)["column_name"] for line in ours(args, f"DESCRIBE {relation}").splitlines()]
        n, newest, *counts = json.loads(ours(args, asked(columns, relation))).values()
        wanted = (n, instant(newest), counts)
        line = {"table": table, "columns": len(columns), "wardstream": n}
        for name, read in readers.items():
            found = read(path, columns)
            line[name] = found[0]
            agreed &= found == wanted
            if found != wanted:
                line[f"{name} differs"] = {"newest": [found[1], wanted[1]], "columns": [c for c, a, b in zip(columns, found[2], counts) if a != b]}
        print(json.dumps(line))
    answers = [parquet_answer(args)] + ([spark.beyond(args)] if spark else [])
    for answer in answers:
        print(json.dumps(answer))
    sys.exit(0 if agreed and all(answer["agree"] for answer in answers) else 1)


if __name__ == "__main__":
    main()
