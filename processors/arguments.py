"""The arguments of the commands that have actions, and what their values must be."""

import argparse
import contextlib
import math
from pathlib import Path

from processors.runtime.settings import duration_ms
from schemas.streams import MAX_PARTITIONS

__all__ = ["add_bus_actions", "add_dead_actions", "add_peer_actions", "add_token_actions", "positive"]


def positive(text: str) -> int:
    """A number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number of at least 1")
    return int(text)


def _partition_count(text: str) -> int:
    if (count := positive(text)) > MAX_PARTITIONS:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_PARTITIONS}")
    return count


def _amount(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError("must be a number above 0")


def _lifetime_ms(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_bus_actions(bus: argparse.ArgumentParser) -> None:
    """Those of `bus`."""
    actions = bus.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("url", help="print its address, with its password")
    backup = actions.add_parser("backup", help="write all of it into a file, while everything runs")
    backup.add_argument("file", type=Path, metavar="FILE")
    backup.add_argument("--force", action="store_true", help="replace the file if it is there")
    restore = actions.add_parser("restore", help="put a backup on a bus that holds nothing")
    restore.add_argument("file", type=Path, metavar="FILE", help="written by backup")
    restore.add_argument("--force", action="store_true", help="replace what the bus holds")
    reset = actions.add_parser("reset", help="remove what it holds")
    reset.add_argument("--yes", action="store_true", required=True, help="without it nothing is removed")
    reset.add_argument("--pins", action="store_true", help="forget which key each node id belongs to, too")
    repartition = actions.add_parser("repartition", help="give it another number of partitions")
    repartition.add_argument("count", type=_partition_count, metavar="N", help=f"1 to {MAX_PARTITIONS}")


def add_dead_actions(dead: argparse.ArgumentParser, as_json: argparse.ArgumentParser) -> None:
    """Those of `dead`; `as_json` has --json."""
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--source", metavar="S", help="only what S rejected, a collector or `aggregator`")
    chosen.add_argument("--reason", metavar="TEXT", help="only reasons with TEXT in them")
    actions = dead.add_subparsers(dest="action", required=True, metavar="action")
    help_of_list = "count by source and reason, and list the newest"
    listed = actions.add_parser("list", help=help_of_list, parents=[chosen, as_json])
    listed.add_argument("--count", type=positive, default=20, metavar="N", help="list N letters (default: 20)")
    actions.add_parser("show", help="show all of a letter", parents=[as_json]).add_argument("id", metavar="ID")
    replay = actions.add_parser("replay", help="publish the input of a letter again", parents=[chosen])
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("id", metavar="ID", nargs="?")
    which.add_argument("--all", action="store_true", help="all, or those of --source and --reason")


def add_peer_actions(peer: argparse.ArgumentParser, as_json: argparse.ArgumentParser) -> None:
    """Those of `peer`; `as_json` has --json."""
    actions = peer.add_subparsers(dest="action", required=True, metavar="action")
    keygen = actions.add_parser("keygen", help="make the key of a node")
    keygen.add_argument("--out", type=Path, metavar="FILE", help="a new file (default: standard output)")
    register = actions.add_parser("register", help="send the signed manifest of a node")
    register.add_argument("--key", type=Path, metavar="FILE", required=True, help="made by keygen")
    register.add_argument("--node-id", metavar="ID", required=True)
    register.add_argument("--url", help="federation service (default: FEDERATION_HOST and FEDERATION_PORT)")
    register.add_argument("--hostname", metavar="NAME")
    register.add_argument("--tier", help="the tier it claims")
    register.add_argument("--latency", type=_amount, metavar="MS")
    register.add_argument("--every", type=_amount, metavar="S", help="send it again every S seconds")
    actions.add_parser("pins", help="list the keys that node ids belong to", parents=[as_json])
    actions.add_parser("unpin", help="forget the key of a node id").add_argument("node_id", metavar="ID")


def add_token_actions(token: argparse.ArgumentParser, as_json: argparse.ArgumentParser) -> None:
    """Those of `token`; `as_json` has --json."""
    actions = token.add_subparsers(dest="action", required=True, metavar="action")
    made = actions.add_parser("new", help="make a token, and print it once")
    made.add_argument("--role", choices=("viewer", "operator"), required=True)
    made.add_argument("--name", required=True, metavar="N", help="whose it is, one word")
    made.add_argument("--expires", type=_lifetime_ms, metavar="30d", help="after 90s, 5m, 1h or 30d (default: never)")
    actions.add_parser("list", help="list whose tokens there are", parents=[as_json])
    actions.add_parser("revoke", help="take a token back").add_argument("name", metavar="NAME")
