"""Errors of the runtime.

PulseError
├── SettingsError     a setting cannot be used; names the setting
├── BusError          the bus cannot be used as it is configured
│   ├── BusDown       it does not answer
│   └── BusUnfinished it is being restored or reset, or that was interrupted
└── AlreadyRunning    another `ark-pulse up` works in this state directory
"""

from typing import Final

__all__ = ["SETTING_REFUSED", "AlreadyRunning", "BusDown", "BusError", "BusUnfinished", "PulseError", "SettingsError"]

SETTING_REFUSED: Final = 3
"""Exit code of a process that cannot use a setting: starting it again would not help."""


class PulseError(Exception):
    """Something that the operator can mend; its text says what."""

    exit_code = 1


class SettingsError(PulseError):
    """A setting cannot be used. `setting` is its name."""

    exit_code = SETTING_REFUSED

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting} {problem}")
        self.setting = setting


class BusError(PulseError):
    """The bus cannot be used as it is configured."""


class BusDown(BusError):
    """The bus does not answer."""


class BusUnfinished(BusError):
    """It is being restored or reset, or that was interrupted: it holds no more than a part."""

    # Nothing but the command mends it: `up` ends, instead of trying for ever.
    exit_code = SETTING_REFUSED

    def __init__(self) -> None:
        command = "`ark-pulse bus restore` or `bus reset`"
        super().__init__(f"{command} is at work on this bus, or did not end: run the same command again")


class AlreadyRunning(PulseError):
    """Another `ark-pulse up` works in this state directory. `pid` is its process id, None if it could not be read."""

    exit_code = SETTING_REFUSED

    def __init__(self, state_dir: str, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"ARK_STATE_DIR {state_dir} is in use by {who}")
        self.pid = pid
