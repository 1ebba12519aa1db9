"""What a run may be told to stop at.

    vm.run(until=emu.serial("login: "))              the guest has sent this on its serial port
    vm.run(until=emu.after("2s"))                    so much virtual time has passed
    vm.run(until=emu.clock(1_500_000_000))           the clock is there, in nanoseconds from power-on
    vm.run(until=[emu.serial("> "), emu.after("2s")])   whichever comes first

Each is met at a sampling point, the first at or after: a block's start, where a save may be made.
"""

from __future__ import annotations

import re

import attrs

from emu.errors import ConfigError

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}


@attrs.frozen
class SerialText:
    """The guest has sent *text* on its serial port since the run began."""

    text: bytes

    def __str__(self) -> str:
        return f"serial:{self.text.decode(errors='backslashreplace')}"


@attrs.frozen
class After:
    """*ns* of virtual time have passed since the run began."""

    ns: int

    def __str__(self) -> str:
        return f"after {self.ns / 1e9:g}s"


@attrs.frozen
class AtClock:
    """The machine's clock, which began with power-on, is at *ns*."""

    ns: int

    def __str__(self) -> str:
        return f"clock:{self.ns}"


Condition = SerialText | After | AtClock


def serial(text: str | bytes) -> SerialText:
    """Until the guest has sent *text* on its serial port."""
    data = text.encode() if isinstance(text, str) else text
    if not data:
        raise ConfigError("until serial: no text to wait for")
    return SerialText(data)


def after(time: str | int) -> After:
    """Until *time* has passed: "2s", "10ms", "500us", "1m", or nanoseconds."""
    return After(parse_time(time))


def clock(time: str | int) -> AtClock:
    """Until the clock is at *time*, counted from power-on."""
    return AtClock(parse_time(time))


def parse_time(time: str | int) -> int:
    """Nanoseconds, from a number of them or from text with a unit; ConfigError for other text."""
    if isinstance(time, int):
        return time
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m)?", time.strip())
    if match is None:
        raise ConfigError(f"time {time!r}: expected such as 2s, 10ms, 500us, 1m or nanoseconds")
    number, unit = match.groups()
    whole, _, fraction = number.partition(".")
    scale = _UNITS_NS[unit or "ns"]
    return int(whole) * scale + int(fraction or 0) * scale // int("1" + "0" * len(fraction))


def parse(text: str) -> Condition:
    """The condition that the command line's ``--until`` names: serial:TEXT or clock:NS."""
    kind, _, rest = text.partition(":")
    match kind:
        case "serial":
            return serial(rest)
        case "clock":
            return clock(rest)
        case _:
            raise ConfigError(f"until {text!r}: expected serial:TEXT or clock:NS")


@attrs.define
class Watch:
    """Looks for a text in what goes by, however it is cut up."""

    text: bytes
    found: bool = False
    _tail: bytes = b""

    def see(self, data: bytes) -> None:
        seen = self._tail + data
        self.found = self.found or self.text in seen
        self._tail = seen[max(0, len(seen) - len(self.text) + 1) :]
