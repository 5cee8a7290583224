"""How a check reaches the server that tests/clients started: its addresses, and two users. `clara` may see the texts of notes, `ann` may not."""
import argparse
import pathlib

# What a role without notes has in no relation.
HIDDEN = ("text", "payload", "key", "headers")


def arguments(words):
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--port", type=int, required=True, help="of the server")
    parser.add_argument("--passwords", type=pathlib.Path, required=True, help="the folder that has a file with the password of each user")
    return parser


def password(args, user):
    return (args.passwords / user).read_text().strip()


def named(args, user):
    """What clients of libpq want to know."""
    return dict(host="127.0.0.1", port=args.port, user=user, password=password(args, user), dbname="wardstream", connect_timeout=20)
