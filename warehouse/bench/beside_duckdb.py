#!/usr/bin/env python3
"""The same questions over the same Parquet files, ours and DuckDB's one after the other, on two threads each, and whether the answers agree.

Questions over the tables, and those of the README's twelve that need no more than VIEWS below (the others stand on labels and measures, which DuckDB
would have to be taught first).

    python -m venv venv && venv/bin/pip install deltalake duckdb
    venv/bin/python warehouse/bench/beside_duckdb.py --wardstream PATH --warehouse FOLDER

One JSON object a question: medians of seven, and ours as a multiple of DuckDB's. Exits 1 where numbers of rows differ.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import duckdb
from deltalake import DeltaTable

QUESTIONS = pathlib.Path(__file__).with_suffix(".sql")
# What the views of these names are where nothing was replayed.
VIEWS = {
    "watermarks": "SELECT facility, max(known_at) AS watermark FROM message_rows WHERE facility <> 'wardstream' GROUP BY facility",
    "messages": "SELECT * FROM message_rows WHERE reading <= 0",
}
TABLES = {"event_rows": "events", "note_rows": "notes", "message_rows": "messages"}
ROUNDS = 7


def questions():
    for text in QUESTIONS.read_text().split(";"):
        if text.strip():
            heading, sql = text.strip().split("\n", 1)
            yield heading.removeprefix("-- "), sql


def peer(folder):
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    for name, table in TABLES.items():
        files = DeltaTable(f"{folder}/{table}").file_uris()
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({files!r})")
    for name, sql in VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {sql}")
    return connection


def timed(connection, sql):
    connection.execute(sql).fetchall()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        rows = connection.execute(sql).fetchall()
        taken.append(1e3 * (time.perf_counter() - began))
    return len(rows), statistics.median(taken)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wardstream", required=True)
    parser.add_argument("--warehouse", required=True)
    args = parser.parse_args()
    command = [args.wardstream, "--warehouse", args.warehouse, "bench", "views", "--file", str(QUESTIONS)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ours = {line["what"]: line for line in map(json.loads, told.splitlines())}
    connection, agreed = peer(args.warehouse), True
    for heading, sql in questions():
        rows, milliseconds = timed(connection, sql)
        mine = ours[heading]
        agreed &= rows == mine["rows"]
        print(json.dumps({"what": heading, "rows": rows, "ours_rows": mine["rows"], "ours_ms": mine["ms_median"], "duckdb_ms": round(milliseconds, 1),
                          "ratio": round(mine["ms_median"] / milliseconds, 2), "instruction_sets": mine["instruction_sets"]}), flush=True)
    sys.exit(0 if agreed else 1)


if __name__ == "__main__":
    main()
