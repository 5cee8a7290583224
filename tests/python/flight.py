#!/usr/bin/env python3
"""ADBC's Flight SQL driver asks a running `wardstream serve`: queries, parameters, the catalogue, headers, refusals."""
import datetime

import adbc_driver_flightsql
import server
from adbc_driver_flightsql import dbapi
from adbc_driver_manager import AdbcStatusCode
from checks import Checks, holds, refused, same

HEADER = adbc_driver_flightsql.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value


def connected(args, user, **more):
    how = {"username": user, "password": server.password(args, user)} | {key: value for key, value in more.items() if not key.startswith("wardstream")}
    how |= {HEADER + key.replace("_", "-"): value for key, value in more.items() if key.startswith("wardstream")}
    return dbapi.connect(f"grpc://127.0.0.1:{args.port}", db_kwargs=how, autocommit=True)


def asked(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def queries(checks, clara):
    with checks.that("ADBC: a user with a password asks"):
        (n, oldest, newest), = asked(clara, "SELECT count(*), min(known_at), max(known_at) FROM messages")
        holds(n > 100, f"{n} messages are too few to say anything")
    half = oldest + (newest - oldest) / 2
    with checks.that("ADBC: an answer as an Arrow table has the types of the relation"):
        with clara.cursor() as cursor:
            cursor.execute("SELECT known_at, facility FROM messages")
            table = cursor.fetch_arrow_table()
        same((table.num_rows, str(table.schema.field("known_at").type)), (n, "timestamp[us, tz=UTC]"))
    (wanted,), = asked(clara, f"SELECT count(*) FROM messages WHERE known_at <= '{half.isoformat()}' AND facility = 'north'")
    for one, other in (("$1", "$2"), ("?", "?")):
        with checks.that(f"ADBC: a prepared statement with parameters as {one}"):
            with clara.cursor() as cursor:
                sql = f"SELECT count(*) FROM messages WHERE known_at <= {one} AND facility = {other}"
                holds(cursor.adbc_prepare(sql) is not None, "a prepared statement does not say its parameters")
                for _ in range(2):
                    cursor.execute(sql, (half, "north"))
                    same(cursor.fetchall(), [(wanted,)])
            holds(0 < wanted < n, f"{wanted} of {n} is no part")
    with checks.that("ADBC: a million rows"):
        with clara.cursor() as cursor:
            cursor.execute("SELECT x FROM generate_series(1, 1000000) AS a(x)")
            same(sum(batch.num_rows for batch in cursor.fetch_record_batch()), 1_000_000)
    return n, half


def catalogue(checks, clara, ann):
    with checks.that("ADBC: the catalogue lists relations and their columns"):
        tables = {}
        for catalog in clara.adbc_get_objects(depth="all").read_all().to_pylist():
            for schema in catalog["catalog_db_schemas"] or []:
                if schema["db_schema_name"] == "public":
                    tables |= {table["table_name"]: [column["column_name"] for column in table["table_columns"]] for table in schema["db_schema_tables"]}
        holds({"messages", "events", "notes", "labels"} <= set(tables), f"{sorted(tables)}")
        holds({"note_id", "text", "known_at"} <= set(tables["notes"]), f"{tables['notes']}")
    with checks.that("ADBC: the schema of a relation, without the text for who may not see it"):
        names = [set(connection.adbc_get_table_schema("notes", db_schema_filter="public").names) for connection in (clara, ann)]
        same((names[0] - names[1], names[1] - names[0]), ({"text"}, set()))


def refusals(checks, args, ann):
    for sql, sqlstate in (("SELECT text FROM notes", "42501"), ("DELETE FROM notes", "25006"), ("SELECT 1 FORM x y", "42601"), ("SELECT nothing FROM notes", "42703")):
        with checks.that(f"ADBC: {sql} is refused with {sqlstate}, and the connection goes on"):
            with refused(dbapi.Error, lambda error: sqlstate in str(error)):
                asked(ann, sql)
            same(asked(ann, "SELECT 1"), [(1,)])
    with checks.that("ADBC: a wrong password is refused"):
        with refused(dbapi.Error, lambda error: error.status_code == AdbcStatusCode.UNAUTHENTICATED):
            connected(args, "ann", password="another")


def headers(checks, args, ann, n, half):
    with checks.that("ADBC: as of an earlier moment by header"):
        (wanted,), = asked(ann, "SELECT count(*) FROM messages WHERE known_at <= $1", (half,))
        holds(0 < wanted < n, f"{wanted} of {n} is no part")
        with connected(args, "ann", wardstream_as_known_at=half.astimezone(datetime.timezone.utc).isoformat()) as then:
            same(asked(then, "SELECT count(*) FROM messages"), [(wanted,)])
        same(asked(ann, "SELECT count(*) FROM messages"), [(n,)])
    with checks.that("ADBC: wardstream-statement-timeout ends a query with 57014"):
        long = "SELECT count(*) FROM generate_series(1, 100000) AS a(x) JOIN generate_series(1, 100000) AS b(y) ON a.x * 7 <> b.y"
        with connected(args, "ann", wardstream_statement_timeout="1") as hurried:
            with refused(dbapi.Error, lambda error: "57014" in str(error)):
                asked(hurried, long)


def main():
    args, checks = server.arguments(__doc__).parse_args(), Checks()
    with connected(args, "clara") as clara, connected(args, "ann") as ann:
        n, half = queries(checks, clara)
        catalogue(checks, clara, ann)
        refusals(checks, args, ann)
        headers(checks, args, ann, n, half)
    checks.end()


if __name__ == "__main__":
    main()
