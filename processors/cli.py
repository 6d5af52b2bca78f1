"""The command `ark-pulse`.

A command imports what it needs when it runs: `version` answers at once, and the process of one stage holds no other.
"""

import argparse
import importlib
import json
import math
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, cast

from processors.runtime.errors import SETTING_REFUSED, PulseError, SettingsError
from processors.runtime.settings import Settings, load_settings

__all__ = ["FAILURE", "INTERRUPTED", "OK", "SETTING", "STAGES", "main"]

OK: Final = 0
FAILURE: Final = 1
SETTING: Final = SETTING_REFUSED
INTERRUPTED: Final = 130

STAGES: Final = ("collectors", "federation", "aggregators", "gateway")
"""The stages, in the order of the flow; each is one process."""

_TOPICS: Final = ("federation", "memory", "sync", "logs", "sources", "dead", "peers")

_EXIT_CODES: Final = """\
exit codes:
  0    all went well
  1    it failed; the last line says why
  2    the command line is wrong
  3    a setting cannot be used, or a port or the state directory is taken
  4    doctor or status found trouble
  130  interrupted
"""
_EXAMPLES: Final = """\
examples:
  ark-pulse up                                 start everything
  ark-pulse tail federation                    follow the summary of the mesh
  ark-pulse tail sync --json --count 10        the next ten syncs, as JSON
  redis-cli -u "$(ark-pulse bus url)" XLEN ark:metrics:federation
  ARK_HTTP_PORT=8200 ark-pulse up              a setting is an environment variable

"""
_UP_HELP: Final = """\
Start the embedded bus (unless ARK_BUS_URL is set) and the processes of the
Procfile, start again alone what ends, and end all of it at SIGTERM or Ctrl-C.

examples:
  ark-pulse up
  ARK_BUS_URL=redis://localhost:6379/1 ark-pulse up     use another Redis as the bus
  ARK_SIMULATE=always ark-pulse up                      show simulated peers

"""
_TAIL_HELP: Final = """\
Print what a stream gets, one line an entry.

  federation   summaries of the mesh       memory    summaries of the memory engines
  sync         sync events                 logs      reasoning sessions
  sources      states of the collectors    dead      rejected input
  peers        changes of the roster

examples:
  ark-pulse tail sync
  ark-pulse tail dead --from-start
  ark-pulse tail federation --json --count 1 | python -m json.tool

"""
_SEED_HELP: Final = """\
Fill REDIS_URL and the databases in ARK_BASE_PATH/data with a demo: peers, syncs,
reasoning sessions, code patterns, executions, indexed files. Every id begins with
`demo-`. Targets that hold anything else are refused.

examples:
  ark-pulse seed                    fill
  ark-pulse seed --rate 50          fill, then 50 changes a second until Ctrl-C
  ark-pulse seed --rows 1000000     a million patterns, a tenth of it of the rest
  ark-pulse seed --remove           remove the demo; whatever else is there stays

"""
_CHECK_HELP: Final = """\
Count ARK's databases and Redis directly, by SQL and SCAN, and compare every value
with what is published at that moment. Reads only; works while the system is busy.
Says as well where the polling backend is known to show something else.

examples:
  ark-pulse check
  ark-pulse check --json | python -m json.tool
  ark-pulse check --wait 60         a million patterns are swept once in a while only

"""
_DEAD_HELP: Final = """\
Look at what was rejected, and give it a second chance. A letter that is replayed is
published once, whenever the command is killed, and leaves the dead letters.

examples:
  ark-pulse dead list                                counts, then the newest letters
  ark-pulse dead list --source sync_events --json
  ark-pulse dead show 1795372800000-7
  ark-pulse dead replay 1795372800000-7
  ark-pulse dead replay --all --reason "belongs into"

"""
_CAPTURE_HELP: Final = """\
Let ark.db log which rows change, by a table and triggers of its own: a change is
then found at once and at the same cost, however large the tables are. This writes
to ARK's database, and makes each of its commits a little larger.

examples:
  ark-pulse capture install
  ark-pulse capture status
  ark-pulse capture remove          leaves the database as it was

"""
_PEER_HELP: Final = """\
Keys and signed manifests of nodes, and what the federation service keeps of them.

examples:
  ark-pulse peer keygen --out node.key
  ark-pulse peer register --key node.key --node-id ark-node-1 --every 30
  ark-pulse peer pins                  which key each node id belongs to
  ark-pulse peer unpin ark-node-1      let the next key that comes have it

"""
_STATUS_HELP: Final = """\
Show on one screen both halves, each source, the bus, the partitions, and how many
clients the gateway has. What was live and is not, or is not there, is trouble
(exit code 4); what never was live here, or is simulated, is none.

examples:
  ark-pulse status
  ark-pulse status --watch             draw it again at every change, until Ctrl-C
  ark-pulse status --json | python -m json.tool

"""
_DOCTOR_HELP: Final = """\
Print the settings and where they come from (passwords hidden), then look at
everything the system needs: each line says ok, warning or TROUBLE, and what to do.

examples:
  ark-pulse doctor
  ark-pulse doctor --json | python -m json.tool

"""


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number of at least 1")
    return int(text)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be a number above 0")
    return value


def _add_peer_actions(peer: argparse.ArgumentParser) -> None:
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
    pins = actions.add_parser("pins", help="list the keys that node ids belong to")
    pins.add_argument("--json", action="store_true", help="one JSON object")
    unpin = actions.add_parser("unpin", help="forget the key of a node id")
    unpin.add_argument("node_id", metavar="ID")


def _add_dead_actions(dead: argparse.ArgumentParser) -> None:
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--source", metavar="S", help="only what S rejected, a collector or `aggregator`")
    chosen.add_argument("--reason", metavar="TEXT", help="only reasons with TEXT in them")
    actions = dead.add_subparsers(dest="action", required=True, metavar="action")
    listed = actions.add_parser("list", help="count by source and reason, and list the newest", parents=[chosen])
    listed.add_argument("--count", type=_positive, default=20, metavar="N", help="list N letters (default: 20)")
    listed.add_argument("--json", action="store_true", help="one JSON object")
    show = actions.add_parser("show", help="show all of a letter")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true", help="one JSON object")
    replay = actions.add_parser("replay", help="publish the input of a letter again", parents=[chosen])
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("id", metavar="ID", nargs="?")
    which.add_argument("--all", action="store_true", help="all, or those of --source and --reason")


def _parser() -> argparse.ArgumentParser:
    def command(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=text + _EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    parser = argparse.ArgumentParser(
        prog="ark-pulse",
        description="Push every change of an ARK network to its operators.",
        epilog=_EXAMPLES + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    up = command("up", "start everything", _UP_HELP)
    up.add_argument("--procfile", type=Path, help="processes to run (default: the Procfile of this checkout)")
    run = command("run", "run one stage, on a bus that runs already", "Run one stage until SIGTERM.\n\n")
    run.add_argument("stage", choices=STAGES)
    bus = command("bus", "tell the address of the bus", "Print the address of the bus, with its password.\n\n")
    bus.add_argument("what", choices=("url",))
    tail = command("tail", "follow a stream", _TAIL_HELP)
    tail.add_argument("topic", choices=_TOPICS)
    tail.add_argument("--json", action="store_true", help="one JSON object a line")
    tail.add_argument("--from-start", action="store_true", help="begin with what the stream holds")
    tail.add_argument("--count", type=_positive, metavar="N", help="end after N entries")
    seed = command("seed", "fill ARK's Redis and databases with a demo", _SEED_HELP)
    seed.add_argument("--rate", type=_positive, metavar="N", help="go on with N changes a second")
    seed.add_argument("--rows", type=_positive, metavar="N", help="N patterns, and a tenth of it of the rest")
    seed.add_argument("--force", action="store_true", help="fill targets that hold other things too")
    seed.add_argument("--remove", action="store_true", help="remove what seed made; other options do not count")
    check = command("check", "compare what is published with a direct count", _CHECK_HELP)
    check.add_argument("--json", action="store_true", help="one JSON object")
    check.add_argument("--wait", type=_positive, default=3, metavar="S", help="seconds a value may take (default: 3)")
    _add_dead_actions(command("dead", "look at rejected input, or replay it", _DEAD_HELP))
    capture = command("capture", "let ark.db log its changes, or no longer", _CAPTURE_HELP)
    capture.add_argument("action", choices=("install", "remove", "status"))
    _add_peer_actions(command("peer", "keys and manifests of nodes", _PEER_HELP))
    status = command("status", "see the sources, the bus and the clients", _STATUS_HELP)
    status.add_argument("--json", action="store_true", help="one JSON object")
    status.add_argument("--watch", action="store_true", help="again at every change, and every five seconds")
    doctor = command("doctor", "look for trouble", _DOCTOR_HELP)
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    version = command("version", "tell the version", "Print the version.\n\n")
    version.add_argument("--json", action="store_true", help="one JSON object, with Python and the platform")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` are those of the process if None. Returns its exit code.

    Raises SystemExit: with 2 if the arguments are wrong, with 0 after --help.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "version":
            return _version(options)
        return _COMMANDS[options.command](options, load_settings())
    except PulseError as error:
        print(f"ark-pulse: {error}", file=sys.stderr)
        return _exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _exit_code(error: PulseError) -> int:
    from processors.runtime.errors import AlreadyRunning
    from processors.runtime.probes import PortTaken

    return SETTING if isinstance(error, (SettingsError, PortTaken, AlreadyRunning)) else FAILURE


def _version(options: argparse.Namespace) -> int:
    version = metadata.version("ark-pulse")
    if options.json:
        version = json.dumps({"version": version, "python": platform.python_version(), "platform": platform.platform()})
    print(version)
    return OK


def _up(options: argparse.Namespace, settings: Settings) -> int:
    from processors.runtime.up import DEFAULT_PROCFILE, up

    return up(settings, options.procfile or DEFAULT_PROCFILE)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    from processors.runtime.process import Service, run_process

    stage = importlib.import_module(f"processors.{options.stage}.service")
    return run_process(options.stage, cast("Service", stage.serve), settings)


def _bus(_: argparse.Namespace, settings: Settings) -> int:
    from processors.runtime.settings import bus_url

    print(bus_url(settings))
    return OK


def _tail(options: argparse.Namespace, settings: Settings) -> int:
    from processors.client.lines import as_json, as_text
    from processors.client.tail import tail
    from processors.runtime.settings import bus_url

    tail(
        bus_url(settings),
        options.topic,
        settings.ark_partitions,
        as_json if options.json else as_text,
        from_start=options.from_start,
        count=options.count,
    )
    return OK


def _seed(options: argparse.Namespace, settings: Settings) -> int:
    from processors.tools.seed import seed, unseed

    if options.remove:
        unseed(settings)
    else:
        seed(settings, rows=options.rows, rate=options.rate, force=options.force)
    return OK


def _check(options: argparse.Namespace, settings: Settings) -> int:
    from processors.tools.check import check

    return check(settings, json_text=options.json, wait_s=options.wait)


def _dead(options: argparse.Namespace, settings: Settings) -> int:
    from processors.collectors import sync_events
    from processors.tools import dead
    from processors.tools.letters import Choice

    if options.action == "show":
        dead.show(settings, options.id, as_json=options.json)
        return OK
    choice = Choice(options.source, options.reason)
    if options.action == "list":
        dead.list_letters(settings, choice, count=options.count, as_json=options.json)
        return OK
    readers = {sync_events.COLLECTOR: sync_events.read_item}
    return OK if dead.replay(settings, readers, options.id, choice) else FAILURE


def _capture(options: argparse.Namespace, settings: Settings) -> int:
    from processors.tools.capture import capture

    capture(settings, options.action)
    return OK


def _peer(options: argparse.Namespace, settings: Settings) -> int:
    from processors.tools import peer

    if options.action == "keygen":
        peer.keygen(options.out)
    elif options.action == "register":
        claims = peer.Claims(options.node_id, options.hostname, options.tier, options.latency)
        peer.register(settings, options.url, options.key, claims, options.every)
    elif options.action == "pins":
        peer.pins(settings, as_json=options.json)
    else:
        peer.unpin(settings, options.node_id)
    return OK


def _status(options: argparse.Namespace, settings: Settings) -> int:
    from processors.tools.status import status

    return status(settings, json_text=options.json, watch=options.watch)


def _doctor(options: argparse.Namespace, settings: Settings) -> int:
    from processors.runtime.doctor import doctor

    return doctor(settings, as_json=options.json)


_COMMANDS: Final = {
    "up": _up,
    "run": _run,
    "bus": _bus,
    "tail": _tail,
    "seed": _seed,
    "check": _check,
    "dead": _dead,
    "capture": _capture,
    "peer": _peer,
    "status": _status,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
