#!/usr/bin/env python3
"""Others read what we write: the Delta tables, and the Parquet that `wardstream sql` answers with.

tests/clients runs this, with the packages of requirements.txt. By hand, over any local warehouse:

    python3 -m venv venv && venv/bin/pip install -r tests/python/requirements.txt
    venv/bin/python tests/python/delta_tables.py --wardstream PATH --warehouse FOLDER

Of every table delta-rs, Polars and DuckDB count the rows and what is not NULL in each column, and find the newest `known_at`, as `wardstream sql` does,
and so does a running server where `--port` says one. The package `duckdb-extension-delta` carries DuckDB's own delta extension for the version of DuckDB
that it names.

Spark is asked too where it is installed (Java 17; 500 MB), with a join, the history and the version before the last of each table as well. It needs
Delta Lake's jars in a folder, which `--jars` names:

    venv/bin/pip install pyspark==4.0.1
    for jar in delta-spark_2.13 delta-storage; do mvn dependency:copy -Dartifact=io.delta:$jar:4.0.0 -DoutputDirectory=jars; done
"""
import argparse
import datetime
import glob
import importlib.util
import io
import json
import pathlib
import subprocess
import tempfile

import deltalake
import duckdb
import polars
import psycopg
import pyarrow.compute
import pyarrow.parquet
import server
from checks import Checks, holds, same

# The relation that is the table's rows as they lie there. A hospital's messages give no predictions.
TABLES = {"messages": "message_rows", "events": "event_rows", "notes": "note_rows", "predictions": "prediction_rows"}
FILLED = ("messages", "events", "notes")
JOINED = "SELECT count(*) AS n FROM {} AS e JOIN {} AS n ON n.encounter_id = e.encounter_id"


def ours(args, sql, form="ndjson"):
    command = [args.wardstream, "--warehouse", args.warehouse, "sql", "--format", form, sql]
    done = subprocess.run(command, capture_output=True)
    holds(done.returncode == 0, done.stderr.decode())
    return done.stdout


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
    facts = deltalake.DeltaTable(path).to_pyarrow_dataset()
    newest = pyarrow.compute.max(facts.to_table(columns=["known_at"])["known_at"]).as_py()
    counts = dict.fromkeys(columns, 0)
    rows = 0
    for batch in facts.to_batches():
        rows += batch.num_rows
        for column in columns:
            counts[column] += batch.num_rows - batch.column(column).null_count
    return rows, instant(newest), list(counts.values())


def by_polars(path, columns):
    wanted = [polars.len().alias("n"), polars.col("known_at").max().alias("newest")]
    wanted += [polars.col(column).count().alias(f"n_{column}") for column in columns]
    n, newest, *counts = polars.scan_delta(path).select(wanted).collect().row(0)
    return n, instant(newest), counts


def by_duckdb(path, columns):
    connection = duckdb.connect()
    found = importlib.util.find_spec("duckdb_extension_delta").submodule_search_locations[0]
    packed, = glob.glob(f"{found}/extensions/v{duckdb.__version__}/delta.duckdb_extension")
    connection.execute(f"LOAD '{packed}'")
    # As a number: an instant would need a package more.
    n, newest, *counts = connection.execute(asked(columns, f"delta_scan('{path}')", "epoch_us(max(known_at))")).fetchone()
    began = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return n, instant(newest and began + datetime.timedelta(microseconds=newest)), counts


def by_server(args):
    """As `clara` asks the running server, which must have seen what was committed since it began."""
    def read(path, columns):
        with psycopg.connect(**server.named(args, "clara"), autocommit=True) as connection:
            n, newest, *counts = connection.execute(asked(columns, TABLES[pathlib.Path(path).name])).fetchone()
        return n, instant(newest), counts
    return read


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
        self.name = f"Spark {pyspark.__version__}"

    def rows(self, sql):
        return [row.asDict() for row in self.session.sql(sql).collect()]

    def __call__(self, path, columns):
        newest = "date_format(max(known_at), \"yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX\")"
        n, newest, *counts = self.rows(asked(columns, f"delta.`{path}`", newest, "`"))[0].values()
        return n, instant(newest), counts

    def beyond(self, checks, args):
        """A join as our SQL answers it; each table's history, which ends at the version that delta-rs knows; and an earlier version of it."""
        folder = args.warehouse
        with checks.that(f"{self.name}: events joined with notes"):
            joined = self.rows(JOINED.format(f"delta.`{folder}/events`", f"delta.`{folder}/notes`"))[0]["n"]
            same(joined, json.loads(ours(args, JOINED.format("event_rows", "note_rows")))["n"])
        for table in TABLES:
            with checks.that(f"{self.name}: {table}, its history and the version before the last"):
                path = f"{folder}/{table}"
                newest = deltalake.DeltaTable(path).version()
                same(max(row["version"] for row in self.rows(f"DESCRIBE HISTORY delta.`{path}`")), newest)
                earlier = max(newest - 1, 0)
                n = self.rows(f"SELECT count(*) AS n FROM delta.`{path}` VERSION AS OF {earlier}")[0]["n"]
                same(n, deltalake.DeltaTable(path, version=earlier).to_pyarrow_dataset().count_rows())


def tables(checks, args, readers):
    for table, relation in TABLES.items():
        path = f"{args.warehouse}/{table}"
        columns = [json.loads(line)["column_name"] for line in ours(args, f"DESCRIBE {relation}").splitlines()]
        n, newest, *counts = json.loads(ours(args, asked(columns, relation))).values()
        for name, read in readers.items():
            with checks.that(f"{name}: {table}, {n} rows{args.stage}"):
                holds(n > 0 or table not in FILLED, "there are no rows to read")
                rows, latest, found = read(path, columns)
                same((rows, latest), (n, instant(newest)))
                same([(column, one) for column, one, other in zip(columns, found, counts, strict=True) if one != other], [])


def parquet_answer(checks, args):
    """One answer as Parquet, read by pyarrow, Polars and DuckDB alike."""
    sql = "SELECT encounter_id, admitted_at, discharged_at, disposition FROM encounters ORDER BY admitted_at, encounter_id"
    data = ours(args, sql, "parquet")
    wanted = [json.loads(line)["encounter_id"] for line in ours(args, sql).splitlines()]

    def read_by_duckdb():
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            file.write(data)
            file.flush()
            return [row[0] for row in duckdb.connect().execute(f"SELECT encounter_id FROM '{file.name}'").fetchall()]

    for name, read in {
        "pyarrow": lambda: pyarrow.parquet.read_table(io.BytesIO(data))["encounter_id"].to_pylist(),
        "Polars": lambda: polars.read_parquet(io.BytesIO(data))["encounter_id"].to_list(),
        "DuckDB": read_by_duckdb,
    }.items():
        with checks.that(f"{name}: an answer as Parquet, {len(wanted)} rows{args.stage}"):
            holds(wanted, "there are no rows to read")
            same(read(), wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wardstream", required=True, help="the binary")
    parser.add_argument("--warehouse", required=True, help="a local folder")
    parser.add_argument("--stage", default="", help="what was done to the tables before, in words for what is told of a check")
    parser.add_argument("--port", type=int, help="of a running server on these tables")
    parser.add_argument("--passwords", type=pathlib.Path, help="the folder with the passwords of the server's users")
    parser.add_argument("--jars", default="jars", help="the folder of Delta Lake's jars, for Spark")
    args, checks = parser.parse_args(), Checks()
    args.stage = args.stage and f" ({args.stage})"
    spark = Spark(args.jars) if importlib.util.find_spec("pyspark") else None
    readers = {f"delta-rs {deltalake.__version__}": by_delta_rs, f"Polars {polars.__version__}": by_polars, f"DuckDB {duckdb.__version__}": by_duckdb}
    readers |= {"the server": by_server(args)} if args.port else {}
    readers |= {spark.name: spark} if spark else {}
    tables(checks, args, readers)
    parquet_answer(checks, args)
    if spark:
        spark.beyond(checks, args)
    checks.end()


if __name__ == "__main__":
    main()
