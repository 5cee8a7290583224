#!/usr/bin/env python3
"""Many clients at once: how many answers each gets, how fast, with what errors, and how much memory the server takes meanwhile.

    python3 -m venv venv && venv/bin/pip install 'psycopg[binary]>=3.2'
    venv/bin/python warehouse/bench/clients.py --port PORT --user wardstream --password-file .wardstream/sql-password --server-pid PID

Each client has a connection of its own and asks six of the README's twelve questions in turn, each client from another one on, until the time is over; an
answer counts when its last row is there, and those under way at the end are waited for. One JSON object for each question and one for all of it: answers,
errors by class, answers of the client that got fewest and of the one that got most, median and 99th of a hundred in milliseconds, resident memory of the
server before and at its highest (sampled five times a second; Linux). Exits 1 where there was an error.
"""
import argparse, asyncio, collections, json, os, pathlib, re, statistics, sys, time

import psycopg

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


def questions(wanted):
    """SQL by number, as the README has it."""
    block = README.read_text().split("## Twelve questions", 1)[1].split("```sql\n", 1)[1].split("```", 1)[0]
    parts = re.split(r"^-- (\d+)\. .*\n", block, flags=re.MULTILINE)
    known = {int(number): sql.strip().rstrip(";") for number, sql in zip(parts[1::2], parts[2::2])}
    missing = [number for number in wanted if number not in known]
    if missing:
        sys.exit(f"the README has no question {missing}; it has {sorted(known)}")
    return {number: known[number] for number in wanted}


def resident_mb(pid):
    if pid is None:
        return None
    found = re.search(r"^VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else None


async def watch(pid, stop, seen):
    while pid is not None and not stop.is_set():
        seen.append(resident_mb(pid))
        await asyncio.sleep(0.2)


async def client(place, args, asked, gate, took, errors):
    """Asks until the time is over. How many answers it got."""
    answers = 0
    try:
        connection = await psycopg.AsyncConnection.connect(args.conninfo, autocommit=True)
    except psycopg.Error as error:
        errors[f"connect: {error.sqlstate or type(error).__name__}"] += 1
        await gate.wait()
        return answers
    async with connection:
        await gate.wait()
        ends = time.monotonic() + args.seconds
        numbers = list(asked)
        turn = place
        while time.monotonic() < ends:
            number = numbers[turn % len(numbers)]
            turn += 1
            began = time.perf_counter()
            try:
                await (await connection.execute(asked[number])).fetchall()
            except psycopg.Error as error:
                errors[f"question {number}: {error.sqlstate or type(error).__name__}"] += 1
                if connection.closed:
                    break
                continue
            took[number].append(1e3 * (time.perf_counter() - began))
            answers += 1
    return answers


def figures(took):
    took = sorted(took)
    if not took:
        return dict(answers=0, ms_median=None, ms_p99=None)
    return dict(answers=len(took), ms_median=round(statistics.median(took), 1), ms_p99=round(took[min(len(took) - 1, 99 * len(took) // 100)], 1))


async def main(args):
    asked = questions(args.questions)
    took, errors, seen = collections.defaultdict(list), collections.Counter(), []
    before, stop = resident_mb(args.server_pid), asyncio.Event()
    watching = asyncio.create_task(watch(args.server_pid, stop, seen))
    # All begin together, once each is connected or refused.
    waiting = asyncio.Barrier(args.clients)
    each = await asyncio.gather(*(client(place, args, asked, waiting, took, errors) for place in range(args.clients)))
    stop.set()
    await watching
    for number in asked:
        print(json.dumps(dict(what=f"question {number}", clients=args.clients, **figures(took[number]))))
    rounded = lambda megabytes: None if megabytes is None else round(megabytes)
    print(json.dumps(dict(
        what="clients at once", clients=args.clients, seconds=args.seconds, cores=os.cpu_count(), **figures([ms for all in took.values() for ms in all]),
        errors=dict(errors), answers_least=min(each), answers_most=max(each), resident_mb_before=rounded(before), resident_mb_peak=rounded(max(seen, default=None)))))
    return 1 if errors else 0


parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
parser.add_argument("--dsn", help="a connection string; stands for the next five")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=5433)
parser.add_argument("--user", default="wardstream")
parser.add_argument("--dbname", default="wardstream")
parser.add_argument("--password-file", help="a file that holds the password alone")
parser.add_argument("--clients", type=int, default=50)
parser.add_argument("--seconds", type=float, default=60)
parser.add_argument("--questions", type=lambda text: [int(number) for number in text.split(",")], default=[1, 2, 4, 5, 6, 8], help="numbers of the README's, with commas")
parser.add_argument("--server-pid", type=int, help="process whose resident memory is watched")
parsed = parser.parse_args()
password = pathlib.Path(parsed.password_file).read_text().strip() if parsed.password_file else None
named = dict(host=parsed.host, port=parsed.port, user=parsed.user, dbname=parsed.dbname, password=password)
parsed.conninfo = parsed.dsn or psycopg.conninfo.make_conninfo(**{name: value for name, value in named.items() if value is not None})
sys.exit(asyncio.run(main(parsed)))
