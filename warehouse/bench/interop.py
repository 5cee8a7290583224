#!/usr/bin/env python3
"""Others read what we write: the Delta tables, and the Parquet that `wardstream sql` answers with.

    python -m venv venv && venv/bin/pip install deltalake duckdb polars pyarrow
    venv/bin/python warehouse/bench/interop.py --wardstream PATH --warehouse FOLDER

For every table: delta-rs, Polars and DuckDB count the rows and find the newest `known_at`, as our own SQL does. Where DuckDB's delta
extension cannot be loaded (it is downloaded), DuckDB reads the table through the Arrow data set that delta-rs opens, and the line says so.
Exits 1 where any of them differs or cannot read.
"""
import argparse, datetime, io, json, subprocess, sys, tempfile

TABLES = {"messages": "message_rows", "events": "event_rows", "notes": "note_rows", "predictions": "prediction_rows"}
ASKED = "SELECT count(*) AS n, max(known_at) AS newest FROM {}"


def ours(args, sql, form="ndjson"):
    command = [args.wardstream, "--warehouse", args.warehouse, "sql", "--format", form, sql]
    return subprocess.run(command, check=True, capture_output=True).stdout


def instant(value):
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value and value.astimezone(datetime.timezone.utc).isoformat()


def by_delta_rs(path):
    from deltalake import DeltaTable
    import pyarrow.compute as pc
    column = DeltaTable(path).to_pyarrow_dataset().to_table(columns=["known_at"])["known_at"]
    return len(column), pc.max(column).as_py()


def by_polars(path):
    import polars as pl
    row = pl.scan_delta(path).select(pl.len().alias("n"), pl.col("known_at").max().alias("newest")).collect()
    return row["n"][0], row["newest"][0]


def by_duckdb(path, how):
    import duckdb
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    if how == "extension":
        connection.execute("INSTALL delta; LOAD delta;")
        return connection.execute(ASKED.format(f"delta_scan('{path}')")).fetchone()
    from deltalake import DeltaTable
    facts = DeltaTable(path).to_pyarrow_dataset()
    return connection.execute(ASKED.format("facts")).fetchone()


def duckdb_door():
    import duckdb
    try:
        duckdb.connect().execute("INSTALL delta; LOAD delta;")
        return "extension"
    except duckdb.Error as error:
        print(json.dumps({"duckdb_delta_extension": str(error).splitlines()[0][:120]}))
        return "arrow"


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wardstream", required=True)
    parser.add_argument("--warehouse", required=True, help="a local folder")
    args = parser.parse_args()
    door, agreed = duckdb_door(), True
    for table, relation in TABLES.items():
        path = f"{args.warehouse}/{table}"
        mine = json.loads(ours(args, ASKED.format(relation)))
        wanted = (mine["n"], instant(mine["newest"]))
        readers = {"delta-rs": by_delta_rs, "polars": by_polars, f"duckdb ({door})": lambda path: by_duckdb(path, door)}
        line = {"table": table, "wardstream": wanted[0]}
        for name, read in readers.items():
            n, newest = read(path)
            line[name] = n
            agreed &= (n, instant(newest)) == wanted
        print(json.dumps(line))
    answer = parquet_answer(args)
    print(json.dumps(answer))
    sys.exit(0 if agreed and answer["agree"] else 1)


if __name__ == "__main__":
    main()
