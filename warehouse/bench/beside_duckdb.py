#!/usr/bin/env python3
"""The daily views, the README's twelve questions and those of `beside_duckdb.sql`, ours and DuckDB's one after the other over the same Parquet files, on
two threads each, and whether the answers agree value by value.

DuckDB is asked by the very SQL of `warehouse/views` and `warehouse/tasks`, read when this runs. A question is one statement: each view it stands on is a CTE
of it, computed once within the statement where ours keeps it and planned where it stands where ours does. What DuckDB spells otherwise is in `SPELLED`
and `OF_VIEWS`, what it lacks in `beside_duckdb_functions.sql`. It keeps nothing between questions, so that each of its figures is for all that the
answer stands on; of ours `first` is that (a warehouse just opened), and `warm` is with what is kept.

    python -m venv venv && venv/bin/pip install deltalake duckdb pyarrow
    venv/bin/python warehouse/bench/beside_duckdb.py --wardstream PATH --warehouse FOLDER [--only NAME ...]

One JSON object a question: milliseconds of the first time and the median of up to seven more, ours as a multiple of DuckDB's, and how many rows stand in one
of the two answers alone. What DuckDB is not asked has one that says why. Exits 1 where an answer differs. Tasks are the five that are built in. DuckDB may take
four fifths of the machine's memory, ours what `warehouse.memory_limit_mb` allows.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

import duckdb
import pyarrow
from deltalake import DeltaTable

BENCH = pathlib.Path(__file__).parent
ROOM = BENCH.parent
ROUNDS = 7
# A question is asked again until this many seconds are over.
LONG = 20
TABLES = {"event_rows": "events", "note_rows": "notes", "message_rows": "messages", "prediction_rows": "predictions"}
# What is configured, or stands in the tables' logs: no Parquet file says it, and both get it for nothing.
STATED = ["task_definitions", "task_facts", "task_steps", "department_kinds", "fold_weights", "split_periods", "table_positions"]
# Views beside the daily ones: what these stand on, and what else is asked of records and of notes' metadata.
MORE = ["duplicates", "note_versions", "note_places", "prompt_notes", "claims", "outcomes", "examples"]
UNASKED = {"areas under curves are no expression of SQL's aggregates": ("performance", "subgroup_performance", "drift", "6.", "7.", "8.")}

# What DuckDB spells otherwise, in whatever view.
SPELLED = [
    (r"--[^\n]*", ""),
    (r"FROM (\w+|\((?:[^()]|\([^()]*\))*\)) AS (\w+) RIGHT ANTI JOIN (\w+) AS (\w+) ON", r"FROM \3 AS \4 ANTI JOIN \1 AS \2 ON"),
    (r"LEFT (ANTI|SEMI) JOIN", r"\1 JOIN"),
    (r"\b(first|last)_value\((?=(?:[^()]|\((?:[^()]|\([^()]*\))*\))* ORDER BY)", r"\1("),
    (r"CAST\(([\w.]*(?:_at|\btime)) AS BIGINT\)", r"epoch_us(\1)"),
    (r"(?<![\w'])(at|overlaps)(?![\w'])", r'"\1"'),
    (r"first_value\((CASE [^()]*)\) IGNORE NULLS", r"first_value(\1 IGNORE NULLS)"),
]
# Merges followed to their end. Ours also cuts circles; where there is one, the answers differ.
ROOTS = """latest AS (SELECT prior, arg_max(survivor, (merged_at, survivor)) AS survivor FROM edges WHERE prior <> survivor GROUP BY prior),
walked AS (
    SELECT prior, survivor FROM latest UNION SELECT w.prior, l.survivor FROM walked AS w JOIN latest AS l ON l.prior = w.survivor
)
SELECT w.prior AS %s, w.survivor AS survivor_id FROM walked AS w ANTI JOIN latest AS l ON l.prior = w.survivor"""
# Charlson's index by a join with the code set's prefixes: few codes are different.
CHARLSON = """icd AS MATERIALIZED (SELECT encounter_id, system, code FROM diagnoses WHERE system IN ('ICD9CM', 'ICD10CM')),
meant AS (
    SELECT u.system, u.code, COALESCE(bit_or(p.bits), 0) AS bits
    FROM (SELECT DISTINCT system, code, upper(regexp_replace(code, '[^0-9A-Za-z]', '', 'g')) AS bare FROM icd) AS u
    LEFT JOIN charlson_prefixes AS p ON p.system = u.system AND starts_with(u.bare, p.prefix)
    WHERE u.bare <> '' GROUP BY u.system, u.code
),
coded AS (
    SELECT i.encounter_id, charlson_index(bit_or(m.bits)) AS charlson_index
    FROM icd AS i JOIN meant AS m ON m.system = i.system AND m.code = i.code GROUP BY i.encounter_id
),
claimed AS ("""
# And what it has no function for at all, in these: from where in the text, and what stands there instead.
OF_VIEWS = {
    "survivors": [(r"^\s*WITH ", "WITH RECURSIVE "), (r"resolved AS \(.*", ROOTS % "patient_id")],
    "merged_stays": [(r"^\s*WITH ", "WITH RECURSIVE "), (r"resolved AS \(.*", ROOTS % "encounter_id")],
    "outcomes": [(r"coded AS \(.*?claimed AS \(", CHARLSON)],
}


def spelled(name, sql):
    for pattern, instead in SPELLED:
        sql = re.sub(pattern, instead, sql)
    for pattern, instead in OF_VIEWS.get(name, []):
        sql, found = re.subn(pattern, lambda _, instead=instead: instead, sql, count=1, flags=re.DOTALL)
        if not found:
            sys.exit(f"the SQL of {name} has changed: nothing in it is {pattern}; say in OF_VIEWS how DuckDB is to be asked")
    return sql.strip()


def tasks():
    """By name, in the order of the built-in ones: the file, and its query."""
    listed = re.search(r"built_in! \{(.*?)\}", (ROOM / "src/tasks.rs").read_text()).group(1)
    folder = ROOM / "tasks"
    return {name: (tomllib.loads((folder / f"{name}.toml").read_text()), (folder / f"{name}.sql").read_text()) for name in re.findall(r'"(\w+)"', listed)}


def asked_of(name, task, view):
    """A task's rows of the view of asked stays, as `tasks/query.rs` puts them: no built-in query gives a stay twice."""
    effects = {rule["reason"]: rule.get("effect", "excluded") for rule in task["rules"] if rule.get("effect") != "counted"}
    because = " ".join(f"WHEN {reason} THEN " + (f"'{reason}'" if effect == "excluded" else "NULL") for reason, effect in effects.items())
    waits = " ".join(f"WHEN {reason} THEN {effect == 'pending'}" for reason, effect in effects.items())
    outcomes = (f"(SELECT encounter_id, CASE WHEN isfinite(CAST(outcome AS DOUBLE)) THEN CAST(outcome AS DOUBLE) END AS outcome, outcome_at, "
                f"CASE {because} ELSE NULL END AS excluded_because, CASE {waits} ELSE false END AS waits, 1 AS copies FROM {name}_outcomes)")
    stated = {"$outcomes": outcomes, "$task": f"'{name}'", "$kind": f"'{task['note']}'", "$clock": f"'{task['clock']}'",
              "$horizon": f"INTERVAL '{task['horizon_days']} days'", "$classes": str(task["target"].get("classes", "NULL"))}
    for mark, instead in stated.items():
        view = view.replace(mark, instead)
    return view


def views():
    """By name, in the order in which they build on each other: whether ours keeps it, and its SQL for DuckDB."""
    known, ordered = tasks(), {}
    for name, kept in re.findall(r'^    "(\w+)" (\w+)(?:\("\w+"\))?,$', (ROOM / "src/views.rs").read_text(), re.MULTILINE):
        sql = spelled(name, (ROOM / "views" / f"{name}.sql").read_text())
        if name == "asked_stays":
            for task, (stated, query) in known.items():
                horizon = f"INTERVAL '{stated['horizon_days']} days'"
                ordered[f"{task}_outcomes"] = (True, spelled(task, query.replace("$horizon", horizon)))
            marks = [f"SELECT '{task}' AS task, '{rule['reason']}' AS reason, count(*) FILTER (WHERE {rule['reason']}) AS holds FROM {task}_outcomes"
                     for task, (stated, _) in known.items() for rule in stated["rules"]]
            ordered["task_marks"] = (False, " UNION ALL ".join(marks))
            sql = " UNION ALL ".join(f"({asked_of(task, stated, sql)})" for task, (stated, _) in known.items())
        ordered[name] = (kept != "Planned", sql)
    return ordered


def read_by(sql, among):
    own = set(re.findall(r"\b(\w+) AS (?:MATERIALIZED )?\(", sql))
    return [name for name in re.findall(r"\b(?:FROM|JOIN) (\w+)", sql) if name in among and name not in own]


def statement(sql, known):
    """The question as one statement, with the views it stands on."""
    needed, waiting = set(), read_by(sql, known)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += read_by(known[name][1], known)
    parts = [f"{name} AS {'' if kept else 'NOT '}MATERIALIZED ({text})" for name, (kept, text) in known.items() if name in needed]
    return f"WITH {', '.join(parts)} {sql}" if parts else sql


def charlson(connection):
    lines = [line.split("\t") for line in (ROOM / "codes/charlson-quan-2005-1.tsv").read_text().splitlines() if not line.startswith("#")]
    place = {line[0]: bit for bit, line in enumerate(lines)}
    milder = {"mild_liver": "severe_liver", "diabetes": "diabetes_complicated", "cancer": "metastatic"}
    connection.execute("CREATE TABLE charlson_prefixes (system VARCHAR, prefix VARCHAR, bits BIGINT)")
    rows = [(system, prefix, 1 << bit) for bit, line in enumerate(lines) for system, column in (("ICD10CM", 2), ("ICD9CM", 3)) for prefix in line[column].split()]
    connection.executemany("INSERT INTO charlson_prefixes VALUES (?, ?, ?)", rows)
    weights = [f"{weight} * ((bits >> {place[name]}) & 1)" + (f" * (1 - ((bits >> {place[milder[name]]}) & 1))" if name in milder else "")
               for name, weight, *_ in lines]
    connection.execute(f"CREATE MACRO charlson_index(bits) AS {' + '.join(weights)}")


class Peer:
    """DuckDB over the warehouse's files."""

    def __init__(self, ours, folder):
        self.connection = connection = duckdb.connect(config={"threads": 2})
        for setting in ("TimeZone = 'UTC'", "integer_division = true", "default_null_order = 'nulls_last_on_asc_first_on_desc'"):
            connection.execute(f"SET {setting}")
        for name, table in TABLES.items():
            table = DeltaTable(f"{folder}/{table}")
            if files := table.file_uris():
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({files!r})")
            else:
                connection.register("nothing", pyarrow.schema(table.schema().to_arrow()).empty_table())
                connection.execute(f"CREATE TABLE {name} AS SELECT * FROM nothing")
        for name in STATED:
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet('{ours.answer(f'SELECT * FROM {name}')}')")
        connection.execute((BENCH / "beside_duckdb_functions.sql").read_text())
        charlson(connection)

    def timed(self, sql):
        """Milliseconds of the first time and the median of those after."""
        taken, began = [], time.perf_counter()
        while len(taken) < 2 or (len(taken) <= ROUNDS and time.perf_counter() - began < LONG):
            asked = time.perf_counter()
            self.connection.sql(sql).to_arrow_table()
            taken.append(1e3 * (time.perf_counter() - asked))
        return taken[0], statistics.median(taken[1:])

    def differing(self, sql, answer):
        """Rows of this answer, and how many rows stand in one of the two answers alone."""
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE theirs AS {sql}")
        both = []
        for side in ("theirs", f"read_parquet('{answer}')"):
            described = self.connection.execute(f"DESCRIBE SELECT * FROM {side}").fetchall()
            both.append("SELECT " + ", ".join(told(name, kind) for name, kind, *_ in described) + f" FROM {side}")
        counted = " UNION ALL ".join(f"({one} EXCEPT ALL {other})" for one, other in (both, both[::-1]))
        return self.connection.execute(f"SELECT (SELECT count(*) FROM theirs), (SELECT count(*) FROM ({counted}))").fetchall()[0]


def told(name, kind):
    """A value as both sides tell it: numbers to nine digits behind the point, everything else as its text."""
    is_number = kind.split("(")[0] in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UBIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
    return f'round(CAST("{name}" AS DOUBLE), 9) AS "{name}"' if is_number else f'CAST("{name}" AS VARCHAR) AS "{name}"'


class Ours:
    def __init__(self, program, folder, scratch):
        self.program, self.folder, self.scratch = program, folder, scratch

    def run(self, *words):
        return subprocess.run([self.program, *words, "--warehouse", self.folder], check=True, capture_output=True, text=True).stdout

    def timed(self, heading, sql):
        file = self.scratch / "question.sql"
        file.write_text(f"-- {heading}\n{sql}")
        return json.loads(self.run("bench", "views", "--file", str(file)))

    def answer(self, sql):
        file = self.scratch / "answer.parquet"
        file.unlink(missing_ok=True)
        self.run("sql", sql, "--format", "parquet", "--out", str(file))
        return file


def questions():
    """Heading and SQL, without a semicolon."""
    daily = re.search(r"DAILY: .*?= \[(.*?)\];", (ROOM.parent / "deploy/wardstream/src/commands/bench/views.rs").read_text(), re.DOTALL).group(1)
    yield from ((name, f"SELECT * FROM {name}") for name in re.findall(r'"(\w+)"', daily) + MORE)
    twelve = (ROOM / "README.md").read_text().split("## Twelve questions", 1)[1].split("```sql", 1)[1].split("```", 1)[0]
    for text in (twelve + (BENCH / "beside_duckdb.sql").read_text()).split(";"):
        if text.strip():
            heading, sql = text.strip().split("\n", 1)
            yield heading.removeprefix("-- "), sql


def theirs(sql, known):
    """The question in DuckDB's words. Of an earlier moment are the same views over the rows that were known by then."""
    def then(found):
        cut = {name: (False, f"SELECT * FROM memory.main.{name} WHERE known_at <= '{found.group(2)}'") for name in TABLES}
        return f"({statement(f'SELECT * FROM {found.group(1)}', cut | known)})"
    return re.sub(r"\b(\w+)_at\('([^']*)'\)", then, statement(re.sub(r"\bAS right\b", 'AS "right"', sql), known))


def compare(peer, ours, heading, sql, known):
    """One question of both. With LIMIT either may give others of those that are alike, so that answers are held to each other without."""
    asked = theirs(sql, known)
    first, warm = peer.timed(asked)
    mine = ours.timed(heading, sql)
    whole = re.sub(r" LIMIT \d+$", "", sql.strip())
    rows, differing = peer.differing(theirs(whole, known), ours.answer(whole))
    return {"what": heading, "rows": mine["rows"], "ours_first_ms": mine["ms_first"], "ours_warm_ms": mine["ms_median"], "duckdb_first_ms": round(first, 1),
            "duckdb_ms": round(warm, 1), "first_ratio": round(mine["ms_first"] / first, 2), "warm_ratio": round(mine["ms_median"] / warm, 2),
            "compared_rows": rows, "differing_rows": differing, "instruction_sets": mine["instruction_sets"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--wardstream", required=True)
    parser.add_argument("--warehouse", required=True)
    parser.add_argument("--only", nargs="*", default=[], help="questions whose headings begin so")
    args = parser.parse_args()
    known, agreed = views(), True
    with tempfile.TemporaryDirectory() as scratch:
        ours = Ours(args.wardstream, args.warehouse, pathlib.Path(scratch))
        peer = Peer(ours, args.warehouse)
        for heading, sql in questions():
            if args.only and not heading.startswith(tuple(args.only)):
                continue
            why = next((why for why, headings in UNASKED.items() if heading.startswith(headings)), None)
            figure = {"what": heading, "not_asked": why} if why else compare(peer, ours, heading, sql, known)
            agreed &= not figure.get("differing_rows")
            print(json.dumps(figure), flush=True)
    sys.exit(0 if agreed else 1)


if __name__ == "__main__":
    main()
