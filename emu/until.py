"""What a run may be told to stop at, and why it stopped.

    vm.run(until=emu.serial("login: "))              the guest has sent this on its serial port
    vm.run(until=emu.after("2s"))                    so much virtual time has passed
    vm.run(until=emu.clock(1_500_000_000))           the clock is there, in nanoseconds from power-on
    vm.run(until=[emu.serial("> "), emu.after("2s")])   whichever comes first

Each is met at a sampling point, the first at or after: a block's start, where a save may be made.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Sequence

from emu import attrs
from emu.clock import NEVER
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
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)(ns|us|ms|s|m)?", time.strip())
    if match is None:
        raise ConfigError(f"time {time!r}: expected such as 2s, 10ms, 500us, 1m or nanoseconds")
    number, unit = match.groups()
    whole, _, fraction = number.partition(".")
    scale = _UNITS_NS[unit or "ns"]
    return int(whole) * scale + int(fraction or 0) * scale // int("1" + "0" * len(fraction))


def parse(text: str) -> Condition:
    """The condition that the command line's ``--until`` names: serial:TEXT or clock:NS.

    TEXT may be any bytes: those that are no UTF-8 come from the shell as Python has them there.
    """
    kind, _, rest = text.partition(":")
    match kind:
        case "serial":
            return serial(os.fsencode(rest))
        case "clock":
            return clock(rest)
        case _:
            raise ConfigError(f"until {text!r}: expected serial:TEXT or clock:NS")


class Reason(enum.Enum):
    """Why a run came back."""

    UNTIL = "what it was to run until"
    STOPPED = "a stop was asked for"
    HALTED = "the guest has halted for good: HLT with interrupts off"
    IDLE = "the guest waits for input, and none can come"
    EXIT = "the guest ended itself, through the debug-exit port"
    SHUTDOWN = "a triple fault, and no reboot wanted"


@attrs.frozen
class Stopped:
    """How a run ended."""

    reason: Reason
    condition: Condition | None = None  # UNTIL: which it was
    value: int | None = None  # EXIT: what the guest wrote


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


@attrs.define
class Goals:
    """The conditions of one run, which began at *began_ns*."""

    conditions: Sequence[Condition]
    began_ns: int
    _watches: list[tuple[Condition, Watch]] = attrs.field(init=False, factory=list)
    _times: list[tuple[int, Condition]] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        for condition in self.conditions:
            match condition:
                case SerialText():
                    self._watches.append((condition, Watch(condition.text)))
                case After():
                    self._times.append((self.began_ns + condition.ns, condition))
                case AtClock():
                    self._times.append((condition.ns, condition))

    @property
    def next_ns(self) -> int:
        """The earliest time that the run is to end at; NEVER where there is none."""
        return min((time_ns for time_ns, _ in self._times), default=NEVER)

    def see(self, data: bytes) -> bool:
        """Take note of what the guest has sent; True where it was waited for."""
        for _, watch in self._watches:
            watch.see(data)
        return any(watch.found for _, watch in self._watches)

    def met(self, now_ns: int) -> Condition | None:
        """The first condition that is met."""
        for condition, watch in self._watches:
            if watch.found:
                return condition
        for time_ns, timed in self._times:
            if now_ns >= time_ns:
                return timed
        return None
