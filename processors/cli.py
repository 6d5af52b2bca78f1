"""The command `ark-pulse`.

A command imports what it needs when it runs: `version` answers at once, and the process of one stage holds no other.
What `--help` tells of a command is the docstring of what runs it.
"""

import argparse
import importlib
import inspect
import json
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final, TypeAlias, cast

from processors.arguments import add_bus_actions, add_dead_actions, add_peer_actions, add_token_actions, positive
from processors.runtime.errors import PulseError
from processors.runtime.settings import Settings, bus_url, load_settings

__all__ = ["FAILURE", "INTERRUPTED", "OK", "STAGES", "main"]

OK: Final = 0
FAILURE: Final = 1
INTERRUPTED: Final = 130

STAGES: Final = ("collectors", "federation", "aggregators", "gateway")
"""The stages, in the order of the flow; each is one process."""

_TOPICS: Final = ("federation", "memory", "sync", "logs", "sources", "dead", "peers")


_EXIT_CODES: Final = """\
exit codes:
  0    all went well
  1    it failed; the last line says why
  2    the command line is wrong
  3    a setting cannot be used, or a port, the state directory or the bus is taken
  4    doctor or status found trouble
  130  interrupted
"""

_Command: TypeAlias = Callable[..., int | None]
"""Runs a command with its options and the settings. Returns the exit code; None: all went well."""


def _parser() -> argparse.ArgumentParser:
    """Push every change of an ARK network to its operators.

    examples:
      ark-pulse up                                 start everything
      ark-pulse tail federation                    follow the summary of the mesh
      ark-pulse tail sync --json --count 10        the next ten syncs, as JSON
      redis-cli -u "$(ark-pulse bus url)" XLEN ark:metrics:federation
      ARK_HTTP_PORT=8200 ark-pulse up              a setting is an environment variable
    """

    def text_of(run: Callable[..., object]) -> tuple[str, str]:
        """The first line of its docstring, and its help: the rest, and the exit codes."""
        summary, _, text = (inspect.getdoc(run) or "").partition("\n\n")
        return summary, f"{text}\n\n{_EXIT_CODES}"

    def command(name: str, run: _Command, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        summary, text = text_of(run)
        added = commands.add_parser(
            name,
            help=summary[:1].lower() + summary[1:].rstrip("."),
            description=text,
            formatter_class=layout,
            parents=parents,
        )
        added.set_defaults(run=run)
        return added

    summary, text = text_of(_parser)
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ark-pulse", description=summary, epilog=text, formatter_class=layout)
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="one JSON object")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    up = command("up", _up)
    up.add_argument("--procfile", type=Path, help="processes to run (default: the Procfile of this checkout)")
    run = command("run", _run)
    run.add_argument("stage", choices=STAGES)
    run.add_argument("--workers", type=positive, default=1, metavar="N", help="so many processes (gateway only)")
    run.add_argument("--share-port", action="store_true", help=argparse.SUPPRESS)
    add_bus_actions(command("bus", _bus))
    tail = command("tail", _tail)
    tail.add_argument("topic", choices=_TOPICS)
    tail.add_argument("--json", action="store_true", help="one JSON object a line")
    tail.add_argument("--from-start", action="store_true", help="begin with what the stream holds")
    tail.add_argument("--count", type=positive, metavar="N", help="end after N entries")
    seed = command("seed", _seed)
    seed.add_argument("--rate", type=positive, metavar="N", help="go on with N changes a second")
    seed.add_argument("--rows", type=positive, metavar="N", help="N patterns, and a tenth of it of the rest")
    seed.add_argument("--force", action="store_true", help="fill targets that hold other things too")
    seed.add_argument("--remove", action="store_true", help="remove what seed made; other options do not count")
    check = command("check", _check, as_json)
    check.add_argument("--wait", type=positive, default=3, metavar="S", help="seconds a value may take (default: 3)")
    add_dead_actions(command("dead", _dead), as_json)
    command("capture", _capture).add_argument("action", choices=("install", "remove", "status"))
    add_peer_actions(command("peer", _peer), as_json)
    add_token_actions(command("token", _token), as_json)
    status = command("status", _status, as_json)
    status.add_argument("--watch", action="store_true", help="again at every change, and every five seconds")
    command("partitions", _partitions, as_json)
    command("doctor", _doctor, as_json)
    removing = command("uninstall", _uninstall)
    removing.add_argument("--yes", action="store_true", help="do it; without this it is only said")
    removing.add_argument("--state", action="store_true", help="remove our files in ARK_STATE_DIR, too")
    version = command("version", _version)
    version.add_argument("--json", action="store_true", help="one JSON object, with Python and the platform")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` are those of the process if None. Returns its exit code.

    Raises SystemExit: with 2 if the arguments are wrong, with 0 after --help.
    """
    options = _parser().parse_args(arguments)
    try:
        run: _Command = options.run
        # The version needs no setting.
        return (run(options) if run is _version else run(options, load_settings())) or OK
    except PulseError as error:
        print(f"ark-pulse: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _version(options: argparse.Namespace) -> None:
    """Tell the version.

    Print the version.
    """
    version = metadata.version("ark-pulse")
    if options.json:
        version = json.dumps({"version": version, "python": platform.python_version(), "platform": platform.platform()})
    print(version)


def _up(options: argparse.Namespace, settings: Settings) -> int:
    """Start everything.

    Start the embedded bus (unless ARK_BUS_URL is set) and the processes of the
    Procfile, start again alone what ends, and end all of it at SIGTERM or Ctrl-C.

    examples:
      ark-pulse up
      ARK_BUS_URL=redis://localhost:6379/1 ark-pulse up     use another Redis as the bus
      ARK_SIMULATE=always ark-pulse up                      show simulated peers
    """
    from processors.runtime.up import DEFAULT_PROCFILE, up

    return up(settings, options.procfile or DEFAULT_PROCFILE)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    """Run one stage, on a bus that runs already.

    Run one stage until SIGTERM. Several processes of the gateway share its port; each has
    the bounds on clients for itself. Of the other stages start it several times instead.
    """
    if options.workers > 1:
        from processors.runtime.workers import run_workers

        if options.stage != "gateway":
            raise PulseError("only the gateway has workers; start other stages several times instead")
        return run_workers(options.stage, options.workers, settings)
    from processors.runtime.process import Service, run_process

    stage = importlib.import_module(f"processors.{options.stage}.service")
    serve = partial(stage.serve, share_port=True) if options.share_port else stage.serve
    return run_process(options.stage, cast("Service", serve), settings)


def _bus(options: argparse.Namespace, settings: Settings) -> None:
    """Back up, restore, reset or repartition the bus, or tell its address.

    A backup is exact while everything runs. For the rest stop everything first (one that
    was killed counts for 15 s); without `ark-pulse up` the embedded bus is run meanwhile.
    After a restore the collectors tell again what the sources still have.

    examples:
      ark-pulse bus url
      ark-pulse bus backup before-upgrade
      ark-pulse bus restore --force before-upgrade
      ark-pulse bus repartition 32         then start with ARK_PARTITIONS=32
      ark-pulse bus reset --yes            begin anew; keys of node ids stay
    """
    if options.action == "url":
        print(bus_url(settings))
        return
    from processors.aggregators.resharding import reshard
    from processors.collectors import overlap, sync_events
    from processors.tools import backup

    match options.action:
        case "backup":
            backup.backup(settings, options.file, force=options.force)
        case "restore":
            backup.restore(settings, options.file, force=options.force)
        case "reset":
            backup.reset(settings, pins=options.pins)
        case "repartition":
            places = {sync_events.COLLECTOR: overlap.place_of}
            backup.repartition(settings, options.count, partial(reshard, places=places))


def _tail(options: argparse.Namespace, settings: Settings) -> None:
    """Follow a stream.

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
    from processors.client.lines import as_json, as_text
    from processors.client.tail import tail

    form = as_json if options.json else as_text
    tail(settings, options.topic, form, from_start=options.from_start, count=options.count)


def _seed(options: argparse.Namespace, settings: Settings) -> None:
    """Fill ARK's Redis and databases with a demo.

    Fill REDIS_URL and the databases in ARK_BASE_PATH/data with a demo: peers, syncs,
    reasoning sessions, code patterns, executions, indexed files. Every id begins with
    `demo-`. Targets that hold anything else are refused.

    examples:
      ark-pulse seed                    fill
      ark-pulse seed --rate 50          fill, then 50 changes a second until Ctrl-C
      ark-pulse seed --rows 1000000     a million patterns, a tenth of it of the rest
      ark-pulse seed --remove           remove the demo; whatever else is there stays
    """
    from processors.tools.seed import seed, unseed

    if options.remove:
        unseed(settings)
    else:
        seed(settings, rows=options.rows, rate=options.rate, force=options.force)


def _check(options: argparse.Namespace, settings: Settings) -> int:
    """Compare what is published with a direct count.

    Count ARK's databases and Redis directly, by SQL and SCAN, and compare every value
    with what is published at that moment. Reads only; works while the system is busy.
    Says as well where the polling backend is known to show something else.

    examples:
      ark-pulse check
      ark-pulse check --json | python -m json.tool
      ark-pulse check --wait 60         a million patterns are swept once in a while only
    """
    from processors.tools.check import check

    return check(settings, json_text=options.json, wait_s=options.wait)


def _dead(options: argparse.Namespace, settings: Settings) -> int:
    """Look at rejected input, or replay it.

    Look at what was rejected, and give it a second chance. A letter that is replayed is
    published once, whenever the command is killed, and leaves the dead letters.

    examples:
      ark-pulse dead list                                counts, then the newest letters
      ark-pulse dead list --source sync_events --json
      ark-pulse dead show 1795372800000-7
      ark-pulse dead replay 1795372800000-7
      ark-pulse dead replay --all --reason "belongs into"
    """
    from processors.collectors import sync_events
    from processors.tools import dead
    from processors.tools.letters import Choice

    readers = {sync_events.COLLECTOR: sync_events.read_item}
    if options.action == "show":
        dead.show(settings, options.id, as_json=options.json)
    elif options.action == "list":
        choice = Choice(options.source, options.reason)
        dead.list_letters(settings, choice, count=options.count, as_json=options.json)
    elif not dead.replay(settings, readers, options.id, Choice(options.source, options.reason)):
        return FAILURE
    return OK


def _capture(options: argparse.Namespace, settings: Settings) -> None:
    """Let ark.db log its changes, or no longer.

    Let ark.db log which rows change, by a table and triggers of its own: a change is
    then found at once and at the same cost, however large the tables are. This writes
    to ARK's database, and makes each of its commits a little larger.

    examples:
      ark-pulse capture install
      ark-pulse capture status
      ark-pulse capture remove          leaves the database as it was
    """
    from processors.tools.capture import capture

    capture(settings, options.action)


def _peer(options: argparse.Namespace, settings: Settings) -> None:
    """Keys and manifests of nodes.

    Keys and signed manifests of nodes, and what the federation service keeps of them.

    examples:
      ark-pulse peer keygen --out node.key
      ark-pulse peer register --key node.key --node-id ark-node-1 --every 30
      ark-pulse peer pins                  which key each node id belongs to
      ark-pulse peer unpin ark-node-1      let the next key that comes have it
    """
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


def _token(options: argparse.Namespace, settings: Settings) -> None:
    """Make, list and take back access tokens.

    Make, list and take back access tokens, in the file that ARK_TOKENS_FILE names. A
    viewer reads; an operator may change things, too. A gateway that runs reads the file
    again within a second, and ends the connections of whose token is not there any more.

    examples:
      export ARK_TOKENS_FILE=/etc/ark-pulse/tokens
      ark-pulse token new --role viewer --name anna --expires 30d
      ark-pulse token list
      ark-pulse token revoke anna
    """
    from processors.gateway.tokens import parse_tokens
    from processors.tools import token

    if options.action == "new":
        token.new(settings, parse_tokens, options.role, options.name, options.expires)
    elif options.action == "list":
        token.list_tokens(settings, parse_tokens, as_json=options.json)
    else:
        token.revoke(settings, parse_tokens, options.name)


def _status(options: argparse.Namespace, settings: Settings) -> int:
    """See the sources, the bus and the clients.

    Show on one screen both halves, each source, the bus, the partitions, and how many
    clients the gateway has. What was live and is not, or is not there, is trouble
    (exit code 4); what never was live here, or is simulated, is none.

    examples:
      ark-pulse status
      ark-pulse status --watch             draw it again at every change, until Ctrl-C
      ark-pulse status --json | python -m json.tool
    """
    from processors.tools.status import status

    return status(settings, json_text=options.json, watch=options.watch)


def _partitions(options: argparse.Namespace, settings: Settings) -> None:
    """See who works each partition.

    For each partition its owner (machine/process/random part), the epoch, number and
    position of its newest commit, the entries that wait (counted up to 100) and for
    how long the oldest of them has, and how many commits of old owners were refused.

    examples:
      ark-pulse partitions
      ark-pulse partitions --json | python -m json.tool
    """
    from processors.tools.partitions import partitions

    partitions(settings, json_text=options.json)


def _doctor(options: argparse.Namespace, settings: Settings) -> int:
    """Look for trouble.

    Print the settings and where they come from (passwords hidden), then look at
    everything the system needs: each line says ok, warning or TROUBLE, and what to do.

    examples:
      ark-pulse doctor
      ark-pulse doctor --json | python -m json.tool
    """
    from processors.runtime.doctor import doctor

    return doctor(settings, as_json=options.json)


def _uninstall(options: argparse.Namespace, settings: Settings) -> int:
    """Take away what ARK Pulse left behind.

    Stop everything first, and run it with the settings that everything ran with. It
    empties the bus, sets notify-keyspace-events of REDIS_URL back to what it was, and
    removes the change log of ark.db. Nothing of ARK's is touched. Without --yes it only
    says what it would do.

    examples:
      ark-pulse uninstall
      ark-pulse uninstall --yes
      ark-pulse uninstall --yes --state    the node's id and the embedded bus, too
    """
    from processors.tools.uninstall import uninstall

    return OK if uninstall(settings, yes=options.yes, state=options.state) else FAILURE


if __name__ == "__main__":
    sys.exit(main())
