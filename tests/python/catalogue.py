#!/usr/bin/env python3
"""What psql and SQLAlchemy read of the catalogue of a running `wardstream serve`, and what they then ask it."""
import datetime
import os
import shutil
import subprocess
import tempfile

import server
import sqlalchemy
from checks import Checks, holds, refused, same
from sqlalchemy.engine.reflection import ObjectKind

TABLES = {"messages", "events", "notes", "labels", "encounters", "patients"}


class Psql:
    """psql as one user; what it prints, one row a line and `|` between columns."""

    def __init__(self, args, user):
        self.words = ["psql", "-X", "-A", "-t", "-q", "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=1"]
        self.words += ["-h", "127.0.0.1", "-p", str(args.port), "-U", user, "-d", "wardstream"]
        self.environment = os.environ | {"PGPASSWORD": server.password(args, user), "PGCONNECT_TIMEOUT": "20"}

    def run(self, *commands):
        asked = [word for command in commands for word in ("-c", command)]
        return subprocess.run(self.words + asked, env=self.environment, capture_output=True, text=True, timeout=60)

    def __call__(self, *commands):
        done = self.run(*commands)
        holds(done.returncode == 0 and "ERROR" not in done.stderr, f"{commands}: {done.stderr.strip()}")
        return done.stdout.splitlines()


def by_psql(checks, args):
    if shutil.which("psql") is None:
        print("not run  psql: it is not on the PATH", flush=True)
        return
    clara, ann = Psql(args, "clara"), Psql(args, "ann")
    version = subprocess.run(["psql", "--version"], check=True, capture_output=True, text=True).stdout.split()[2]
    for command in ("\\d", "\\dv"):
        with checks.that(f"psql {version}: {command} lists the relations"):
            listed = {line.split("|")[1] for line in clara(command)}
            holds(TABLES <= listed, f"{sorted(TABLES - listed)} are not among {len(listed)}")
    for command in ("\\dv+", "\\dn+", "\\l", "\\d+ notes"):
        with checks.that(f"psql {version}: {command} is answered"):
            holds(clara(command), "with nothing")
    for command in ("\\dt", "\\dp", "\\du", "\\df"):
        with checks.that(f"psql {version}: {command} is understood"):
            clara(command)
    with checks.that(f"psql {version}: \\d notes has the text for who may see it alone"):
        columns = [{line.split("|")[0] for line in psql("\\d notes")} for psql in (clara, ann)]
        same(("note_id" in columns[0], "note_id" in columns[1]), (True, True))
        same(("text" in columns[0], "text" in columns[1]), (True, False))
    with checks.that(f"psql {version}: \\copy writes what is asked, and FETCH_COUNT asks in parts"):
        n = int(ann("SELECT count(*) FROM messages")[0])
        with tempfile.NamedTemporaryFile(mode="r") as file:
            ann(f"\\copy (SELECT facility, known_at FROM messages) TO '{file.name}' WITH (FORMAT csv, HEADER)")
            same(len(file.readlines()), n + 1)
        same(len(ann("\\set FETCH_COUNT 100", "SELECT known_at FROM messages")), n)
    for words, wanted in (("SELECT text FROM notes", "42501"), ("INSERT INTO notes VALUES (1)", "25006"), ("SELECT 1 FORM x y", "42601")):
        with checks.that(f"psql {version}: {words.split(' (')[0]} is refused with {wanted}"):
            done = ann.run(words)
            holds(done.returncode != 0 and wanted in done.stderr, f"{done.stdout}{done.stderr}")


def engine(args, user, driver):
    return sqlalchemy.create_engine(sqlalchemy.URL.create(f"postgresql+{driver}", user, server.password(args, user), "127.0.0.1", args.port, "wardstream"))


def by_sqlalchemy(checks, args, driver):
    name = f"SQLAlchemy {sqlalchemy.__version__} on {driver}"
    clara, ann = engine(args, "clara", driver), engine(args, "ann", driver)
    seen = sqlalchemy.inspect(clara)
    with checks.that(f"{name}: the inspector lists the relations"):
        listed = {*seen.get_table_names(), *seen.get_view_names()}
        holds(TABLES <= listed, f"{sorted(TABLES - listed)} are not among {len(listed)}")
        same((seen.default_schema_name, "public" in seen.get_schema_names(), seen.has_table("labels")), ("public", True, True))
    with checks.that(f"{name}: the inspector reads columns, types and keys of every relation"):
        read = [ask(kind=ObjectKind.ANY) for ask in (seen.get_multi_columns, seen.get_multi_pk_constraint, seen.get_multi_foreign_keys, seen.get_multi_indexes)]
        same(sorted(name for (_, name), columns in read[0].items() if columns), sorted(listed))
        types = {column["name"]: column["type"] for column in seen.get_columns("notes")}
        same((isinstance(types["known_at"], sqlalchemy.DateTime), types["known_at"].timezone), (True, True))
        holds(isinstance(types["text"], (sqlalchemy.Text, sqlalchemy.String)), f"a text is {types['text']!r}")
    with checks.that(f"{name}: the inspector shows no text to who may not see it"):
        hers = {column["name"] for column in sqlalchemy.inspect(ann).get_columns("notes")}
        same(("note_id" in hers, "text" in hers), (True, False))
    with checks.that(f"{name}: a reflected relation and bound parameters"):
        with clara.connect() as connection:
            messages = sqlalchemy.Table("messages", sqlalchemy.MetaData(), autoload_with=connection)
            known_at, facility = messages.c.known_at, messages.c.facility
            count = sqlalchemy.select(sqlalchemy.func.count()).select_from(messages)
            oldest, newest = connection.execute(sqlalchemy.select(sqlalchemy.func.min(known_at), sqlalchemy.func.max(known_at))).one()
            half = oldest + (newest - oldest) / 2
            before = connection.scalar(count.where(known_at <= half, facility.in_(["north", "south"])))
            after = connection.scalar(sqlalchemy.text("SELECT count(*) FROM messages WHERE known_at > :half"), {"half": half})
            same(before + after, connection.scalar(count))
            holds(before > 0 and after > 0, f"{before} and {after}")
            page = sqlalchemy.select(known_at).order_by(known_at.desc()).limit(3).offset(1)
            holds(all(isinstance(at, datetime.datetime) for at in connection.scalars(page)), "instants are none")
    with checks.that(f"{name}: a refusal has its class"):
        with ann.connect() as connection, refused(sqlalchemy.exc.DBAPIError, lambda error: "25006" in (getattr(error.orig, "sqlstate", None), getattr(error.orig, "pgcode", None))):
            connection.execute(sqlalchemy.text("DELETE FROM notes"))
    for one in (clara, ann):
        one.dispose()


def main():
    args, checks = server.arguments(__doc__).parse_args(), Checks()
    by_psql(checks, args)
    for driver in ("psycopg", "psycopg2"):
        by_sqlalchemy(checks, args, driver)
    checks.end()


if __name__ == "__main__":
    main()
