#!/usr/bin/env python3
"""psycopg 3 and 2 and asyncpg ask a running `wardstream serve`: queries, parameters, cursors, copies, refusals, cancelling."""
import asyncio
import csv
import datetime
import io
import threading
import time

import asyncpg
import psycopg
import psycopg2
import server
from checks import Checks, holds, refused, same

LONG = "SELECT count(*) FROM generate_series(1, 100000) AS a(x) JOIN generate_series(1, 100000) AS b(y) ON a.x * 7 <> b.y"
MANY = 'SELECT digest, known_at, facility FROM messages ORDER BY topic, "partition", "offset"'


def code(sqlstate):
    return lambda error: error.sqlstate == sqlstate


def queries(checks, clara):
    with checks.that("psycopg: a simple query"):
        n, oldest, newest = clara.execute("SELECT count(*), min(known_at), max(known_at) FROM messages").fetchone()
        holds(n > 100, f"{n} messages are too few to say anything")
        same(newest.utcoffset(), datetime.timedelta(0))
    half = oldest + (newest - oldest) / 2
    written = f"SELECT count(*) FROM messages WHERE known_at < '{half.isoformat()}' AND facility = 'north'"
    wanted = clara.execute(written).fetchone()
    for binary in (False, True):
        with checks.that(f"psycopg: a prepared query with parameters, answered in {'binary' if binary else 'text'}"):
            asked = "SELECT count(*) FROM messages WHERE known_at < %s AND facility = %s"
            for _ in range(3):
                same(clara.execute(asked, (half, "north"), prepare=True, binary=binary).fetchone(), wanted)
            holds(0 < wanted[0] < n, f"{wanted[0]} of {n} is no part")
        with checks.that(f"psycopg: values go there and back in {'binary' if binary else 'text'}"):
            values = (7, "a word, 'quoted'", half, 0.25, True, None, [1, 2, 3])
            asked = "SELECT %s::int, %s::text, %s::timestamptz, %s::float8, %s::bool, %s::text, %s::int[]"
            same(clara.execute(asked, values, binary=binary).fetchone(), values)
    with checks.that("psycopg: a cursor on the server gives all rows in parts"):
        with clara.transaction(), clara.cursor("rows") as cursor:
            cursor.execute(MANY)
            rows = []
            while part := cursor.fetchmany(50):
                holds(len(part) <= 50, f"{len(part)} rows at once")
                rows += part
        same(rows, clara.execute(MANY).fetchall())
        same(len(rows), n)
    with checks.that("psycopg: a pipeline of questions"):
        with clara.pipeline():
            cursors = [clara.execute("SELECT %s::int * 2", (number,)) for number in range(20)]
        same([cursor.fetchone()[0] for cursor in cursors], [2 * number for number in range(20)])
    return n, half


def copies(checks, clara):
    rows = clara.execute(MANY).fetchall()
    with checks.that("psycopg: COPY TO STDOUT as CSV"):
        with clara.cursor().copy(f"COPY ({MANY}) TO STDOUT WITH (FORMAT csv, HEADER)") as copy:
            head, *copied = csv.reader(io.StringIO(b"".join(copy).decode()))
        same(head, ["digest", "known_at", "facility"])
        same([(digest, datetime.datetime.fromisoformat(known_at), facility) for digest, known_at, facility in copied], rows)
    with checks.that("psycopg: COPY TO STDOUT in binary"):
        with clara.cursor().copy(f"COPY ({MANY}) TO STDOUT WITH (FORMAT binary)") as copy:
            copy.set_types(["text", "timestamptz", "text"])
            copied = list(copy.rows())
        same(copied, rows)


def refusals(checks, args, clara, ann):
    with checks.that("psycopg: a syntax error has its class and its place"):
        with refused(psycopg.errors.SyntaxError, lambda error: (error.sqlstate, error.diag.statement_position) == ("42601", "15")):
            clara.execute("SELECT 1 FORM messages")
    with checks.that("psycopg: an unknown column has its class and its place"):
        with refused(psycopg.errors.UndefinedColumn, lambda error: error.diag.statement_position == "8"):
            clara.execute("SELECT nothing FROM messages")
    for words in ("INSERT INTO messages (facility) VALUES ('north')", "DELETE FROM notes", "DROP TABLE notes", "CREATE TABLE t (a int)"):
        with checks.that(f"psycopg: {' '.join(words.split()[:2])} is refused, and the connection goes on"):
            with refused(psycopg.Error, code("25006")):
                clara.execute(words)
            same(clara.execute("SELECT 1").fetchone(), (1,))
    with checks.that("psycopg: who may see notes has their texts"):
        same(clara.execute("SELECT count(*) > 0, count(*) = count(text) FROM notes WHERE text <> ''").fetchone(), (True, True))
    for relation, column in (("notes", "text"), ("messages", "payload"), ("note_rows", "text")):
        with checks.that(f"psycopg: who may not see notes has no {relation}.{column}"):
            with refused(psycopg.errors.InsufficientPrivilege, code("42501")):
                ann.execute(f"SELECT {column} FROM {relation}")
            hers = [column.name for column in ann.execute(f"SELECT * FROM {relation} LIMIT 1").description]
            same([name for name in hers if name in server.HIDDEN], [])
            holds(column in [column.name for column in clara.execute(f"SELECT * FROM {relation} LIMIT 1").description], "nobody has it")
    with checks.that("psycopg: a wrong password is refused"):
        with refused(psycopg.OperationalError, lambda error: "password authentication failed" in str(error)):
            psycopg.connect(**server.named(args, "ann") | dict(password="another"))


def cancelling(checks, clara):
    with checks.that("psycopg: a cancelled query ends with 57014, and the connection goes on"):
        began = time.monotonic()
        timer = threading.Timer(0.5, clara.cancel_safe)
        timer.start()
        with refused(psycopg.errors.QueryCanceled, code("57014")):
            clara.execute(LONG)
        timer.join()
        holds(0.4 < time.monotonic() - began < 20, f"it took {time.monotonic() - began:.1f} s")
        same(clara.execute("SELECT 1").fetchone(), (1,))
    with checks.that("psycopg: statement_timeout ends a query with 57014"):
        with clara.transaction(force_rollback=True):
            clara.execute("SET LOCAL statement_timeout = '500ms'")
            with refused(psycopg.errors.QueryCanceled, code("57014")):
                with clara.transaction():
                    clara.execute(LONG)


def moments(checks, args, half):
    before = "SELECT count(*) FROM messages WHERE known_at <= %s"
    with checks.that("psycopg: as of an earlier moment, by the connection's options and by SET"):
        with psycopg.connect(**server.named(args, "ann"), autocommit=True) as ann:
            wanted = ann.execute(before, (half,)).fetchone()
            now = ann.execute("SELECT count(*) FROM messages").fetchone()
            ann.execute(f"SET wardstream.as_known_at = '{half.isoformat()}'")
            same(ann.execute("SELECT count(*) FROM messages").fetchone(), wanted)
            ann.execute("RESET wardstream.as_known_at")
            same(ann.execute("SELECT count(*) FROM messages").fetchone(), now)
        holds(0 < wanted[0] < now[0], f"{wanted[0]} of {now[0]} is no part")
        options = f"-c wardstream.as_known_at={half.isoformat()}"
        with psycopg.connect(**server.named(args, "ann"), options=options) as ann:
            same(ann.execute("SELECT count(*) FROM messages").fetchone(), wanted)


def by_psycopg2(checks, args, n):
    ann = psycopg2.connect(**server.named(args, "ann"))
    with checks.that("psycopg 2: parameters, and a cursor on the server"):
        with ann, ann.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM messages WHERE facility = ANY(%s)", (["north", "south"],))
            same(cursor.fetchone(), (n,))
        with ann, ann.cursor("rows") as cursor:
            cursor.itersize = 50
            cursor.execute(MANY)
            same(sum(1 for _ in cursor), n)
    with checks.that("psycopg 2: refusals have their class"):
        for words, sqlstate in (("DELETE FROM notes", "25006"), ("SELECT text FROM notes", "42501"), ("SELECT 1 / 0", "22012")):
            with ann, ann.cursor() as cursor:
                with refused(psycopg2.Error, lambda error: error.pgcode == sqlstate):
                    cursor.execute(words)
                ann.rollback()
    ann.close()


async def by_asyncpg(checks, args, n, half):
    how = dict(host="127.0.0.1", port=args.port, user="ann", password=server.password(args, "ann"), database="wardstream", timeout=20)
    async with asyncpg.create_pool(**how, min_size=2, max_size=4) as pool:
        with checks.that("asyncpg: a pool's connections ask at once"):
            same(await asyncio.gather(*(pool.fetchval("SELECT $1::int + count(*) FROM messages", number) for number in range(8))), [n + number for number in range(8)])
        async with pool.acquire() as ann:
            with checks.that("asyncpg: a prepared statement, lists and a cursor"):
                statement = await ann.prepare("SELECT count(*) FROM messages WHERE facility = ANY($1) AND known_at <= $2")
                holds(0 < await statement.fetchval(["north", "south"], half) < n, "no part of the messages")
                async with ann.transaction():
                    same(len([row async for row in ann.cursor(MANY, prefetch=50)]), n)
            with checks.that("asyncpg: an instant as parameter of labels_at"):
                holds(await ann.fetchval("SELECT count(*) FROM labels_at($1)", half) > 0, "no labels")
            with checks.that("asyncpg: COPY of a query"):
                into = io.BytesIO()
                await ann.copy_from_query("SELECT facility, known_at FROM messages", output=into, format="csv")
                same(len(into.getvalue().splitlines()), n)
            with checks.that("asyncpg: COPY of a query with parameters"):
                into, asked = io.BytesIO(), "FROM messages WHERE facility = $1 AND known_at <= $2"
                await ann.copy_from_query(f"SELECT facility {asked}", "north", half, output=into, format="csv")
                copied = len(into.getvalue().splitlines())
                holds(copied > 0, "no messages")
                same(copied, await ann.fetchval(f"SELECT count(*) {asked}", "north", half))
            with checks.that("asyncpg: a refusal has its class"):
                with refused(asyncpg.PostgresError, code("42501")):
                    await ann.fetch("SELECT text FROM notes")


def main():
    args, checks = server.arguments(__doc__).parse_args(), Checks()
    with psycopg.connect(**server.named(args, "clara"), autocommit=True) as clara, psycopg.connect(**server.named(args, "ann"), autocommit=True) as ann:
        n, half = queries(checks, clara)
        copies(checks, clara)
        refusals(checks, args, clara, ann)
        cancelling(checks, clara)
    moments(checks, args, half)
    by_psycopg2(checks, args, n)
    asyncio.run(by_asyncpg(checks, args, n, half))
    checks.end()


if __name__ == "__main__":
    main()
