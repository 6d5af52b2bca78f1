"""The table of faults: what each is, how `make soak` brings it about, and which tests are its short form."""

import shutil
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from tests.faults import clocks, crowds, kills, servers, sources, versions
from tests.faults.page import MOST_GROWTH, run_page
from tests.faults.report import Run

__all__ = ["FAULTS", "Fault", "Form"]

Form: TypeAlias = Callable[[Run, float], None]
"""Brings a fault about for so many seconds, and notes in the run what held. Raises Broken, AssertionError."""

_PAGE_S: Final = 600.0


class Fault(NamedTuple):
    """A row of the table."""

    name: str
    row: str
    how: str
    long: Form
    # `file::test`, below `tests/`; `file` alone: all that is in it.
    short: tuple[str, ...]


def _watch_page(run: Run, seconds: float) -> None:
    """The page is open for ten minutes at least, from view to view: what is longer held than that is a leak."""
    if shutil.which("chromium") is None:
        run.left_out = "chromium is not installed"
        return
    report = run_page(max(seconds, _PAGE_S))
    run.memory, run.strikes = (report.heaps[0], report.heaps[-1]), ["opened"]
    run.measured["heap of the last third to that of the second"] = report.growth
    run.compare("I4", "" if report.growth <= MOST_GROWTH else f"the heap grows: {report.heaps} MiB")


_ROWS: Final = (
    Fault(
        "workers",
        "any worker killed, at every step of its commit",
        "SIGKILL of each process in turn, in an order of chance, one in three again while it starts; seeds take turns "
        "with Valkey and Redis 7.0, one server and a cluster of three, both journal modes. Each step of a commit: the "
        "short form, with a proxy that holds the request or its answer back.",
        kills.kill_workers,
        ("faults/test_commits.py", "faults/test_kills.py"),
    ),
    Fault(
        "paused",
        "paused owner comes back",
        "SIGSTOP of one of two aggregators for 1.5 s, longer than a lease, then SIGCONT, under load.",
        kills.pause_owner,
        ("faults/test_zombies.py", "contracts/test_owners.py"),
    ),
    Fault(
        "bus",
        "server killed",
        "SIGKILL of the bus, or of one node of a cluster; it comes back on its append-only file.",
        kills.kill_bus,
        (
            "faults/test_kills.py",
            "integration/test_live.py::test_a_killed_bus_comes_back_with_what_it_held",
            "gateway/test_resume.py::test_a_bus_that_was_lost_and_came_back_resets_nobody",
        ),
    ),
    Fault(
        "tail",
        "server loses its tail",
        "SIGKILL of the bus; 1 byte to 100 kB are cut from the end of its append-only file before it starts again.",
        kills.lose_tail,
        (
            "faults/test_kills.py::test_a_bus_without_its_newest_writes_gets_them_again_from_the_sources",
            "faults/test_servers.py::test_a_server_without_its_newest_writes_is_a_consistent_prefix_and_gets_the_rest_again",
        ),
    ),
    Fault(
        "wiped",
        "server wiped",
        "FLUSHALL under load.",
        kills.wipe,
        (
            "faults/test_servers.py::test_a_server_that_is_wiped_under_load_gets_everything_again_in_new_epochs",
            "gateway/test_resume.py::test_a_wiped_bus_resets_its_followers",
        ),
    ),
    Fault(
        "frozen",
        "server frozen, connections cut",
        "CLIENT PAUSE of everything for 1.5 to 4 s, and for 16 to 18 s: then all clients must be shown stale values. "
        "CLIENT KILL of all connections, one to six times.",
        servers.freeze,
        (
            "faults/test_servers.py::test_a_server_that_pauses_its_clients_for_three_seconds_costs_nothing",
            "faults/test_servers.py::test_connections_that_are_cut_again_and_again_cost_nothing",
            "faults/test_servers.py::test_a_server_that_stands_still_past_all_leases_costs_nothing",
        ),
    ),
    Fault(
        "memory",
        "memory full",
        "`maxmemory` at most 256 KiB above what is used, with noeviction, until writes were refused for a while.",
        servers.fill_memory,
        (
            "integration/test_live.py::test_a_full_bus_holds_back_and_goes_on_where_it_was",
            "contracts/test_publish.py::test_a_full_server_is_told_as_such_and_nothing_is_half_written",
            "contracts/test_commit.py::test_a_commit_succeeds_on_a_full_server",
        ),
    ),
    Fault(
        "slow",
        "slow subscriber among a thousand",
        "1, 10 or 50 clients with a receive buffer of 2 KiB that never read, beside a thousand that ask for every "
        "change; p99 of the thousand before, meanwhile and after.",
        crowds.never_read,
        (
            "gateway/test_fanout.py::test_a_client_that_never_reads_is_closed_and_forgotten",
            "gateway/test_fanout.py::test_a_client_that_never_reads_does_not_delay_its_neighbours",
            "gateway/test_fanout.py::test_a_slow_client_holds_no_more_than_one_write_of_the_gateways_memory",
            "gateway/test_group.py::test_a_slow_client_hears_how_many_frames_it_missed_and_the_newest_state",
        ),
    ),
    Fault(
        "flood",
        "flood of subscribers, Slowloris",
        "Twice as many WebSockets as ARK_MAX_CLIENTS allows at once, and fifty requests of one byte a second.",
        crowds.flood,
        (
            "gateway/test_sockets.py::test_clients_over_the_bound_are_refused_before_the_upgrade",
            "gateway/test_sockets.py::test_clients_that_come_and_go_leave_nothing_behind",
            "gateway/test_server.py::test_a_request_head_that_never_ends_is_cut_off_at_the_deadline",
        ),
    ),
    Fault(
        "gateway",
        "gateway restarted under load",
        "SIGTERM and SIGKILL of the gateway while sixty clients, one of them the Python client, follow four channels.",
        kills.restart_gateway,
        (
            "faults/test_kills.py",
            "integration/test_clients.py::test_a_gateway_that_is_restarted_leaves_no_gap_and_tells_nothing_twice",
            "gateway/test_resume.py::test_a_herd_that_comes_back_shares_its_reads",
        ),
    ),
    Fault(
        "databases",
        "database locked, replaced, corrupt, uncommitted",
        "BEGIN EXCLUSIVE for 1 to 3 s; 3,000 rows written to the file and rolled back; a copy renamed over it; a page "
        "overwritten with noise, and mended; seeds take turns with both journal modes.",
        sources.disturb_databases,
        (
            "collectors/test_database.py::test_a_locked_file_is_read_as_soon_as_it_is_free",
            "collectors/test_database.py::test_what_is_not_committed_is_not_read",
            "collectors/test_database.py::test_another_file_under_the_same_name_is_noticed",
            "collectors/test_code_reader.py::test_a_damaged_table_keeps_its_values_and_the_others_go_on",
        ),
    ),
    Fault(
        "clock",
        "clock off by an hour",
        "With libfaketime the clock of the bus, of all workers, or of the second aggregators is put an hour ahead, an "
        "hour back, or right again, while they run, and stays so; so is the clock of who writes `sync_events`.",
        clocks.step_clocks,
        (
            "faults/test_clocks.py",
            "contracts/test_commit.py::test_ids_go_on_growing_when_the_servers_clock_went_back",
            "integration/test_foreign_entries.py::test_after_an_id_of_the_far_future_everything_is_counted_once",
        ),
    ),
    Fault(
        "disk",
        "disk full",
        "The append-only file is on a tmpfs that is left 1 MiB (without the right to mount: a bound on the length of a "
        "file); in every other turn the server is killed while it is full.",
        servers.fill_disk,
        ("faults/test_servers.py::test_a_server_whose_disk_is_full_for_a_while_costs_nothing",),
    ),
    Fault(
        "versions",
        "old and new version side by side",
        "Entries of the next schema version among ours, while partitions go from our aggregators to those of an older "
        "commit of this repository and back.",
        versions.mix_versions,
        (
            "integration/test_aggregators.py::test_an_entry_of_a_newer_version_is_counted_once_by_the_first_owner_that_knows_it",
            "aggregators/test_state_formats.py",
        ),
    ),
    Fault(
        "page",
        "the page, open while much happens",
        "From view to view for ten minutes, in chromium.",
        _watch_page,
        ("faults/test_page.py",),
    ),
)

FAULTS: Final = {fault.name: fault for fault in _ROWS}
"""The rows by name, in their order."""
