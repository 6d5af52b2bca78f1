"""Several processes of one stage that share its port: the kernel spreads the connections over them."""

import asyncio
import os

from processors.runtime.children import Program
from processors.runtime.errors import SETTING_REFUSED
from processors.runtime.logging import configure_logging
from processors.runtime.settings import Settings
from processors.runtime.supervisor import Supervisor, child_environment, on_signals, with_metrics_ports

__all__ = ["run_workers"]


def run_workers(stage: str, count: int, settings: Settings) -> int:
    """Run `count` processes of `stage` until SIGTERM or SIGINT; one that ends is started again.

    Returns the exit code: 0, or 3 if they cannot use a setting. Must be called in the main thread.
    Raises PortTaken, SettingsError: if a port for their metrics cannot be listened on.
    """
    configure_logging(stage, settings)
    environment = child_environment(os.environ, None)
    argv = ("ark-pulse", "run", stage, "--share-port")
    programs = [Program(name=f"{stage}-{number + 1}", argv=argv, environment=environment) for number in range(count)]
    return asyncio.run(_main(Supervisor(with_metrics_ports(programs, settings))))


async def _main(supervisor: Supervisor) -> int:
    stop, hurry = on_signals()
    try:
        await supervisor.keep_running(stop)
    finally:
        await supervisor.end_all(hurry)
    return 0 if supervisor.refused is None else SETTING_REFUSED
