"""Keeping a machine at the pace of the world, for the person in front of it.

An idle guest's virtual time runs far faster than real time, and nobody could type to it.  The
pacer sleeps while the machine is ahead.  It only ever waits: the guest cannot tell.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable

from emu import attrs
from emu.clock import NS_PER_S

AHEAD_NS = 5_000_000  # so far it may run ahead: shorter sleeps cost more than they give
BEHIND_NS = 200_000_000  # a machine that has fallen so far behind is not made to catch up


class Pace(enum.Enum):
    """When virtual time is held to the host's."""

    AUTO = "auto"  # as long as somebody may type
    ON = "on"
    OFF = "off"


@attrs.define(eq=False)
class Pacer:
    """Holds virtual time to the host's, counted from when it first looks."""

    host_ns: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[float], None] = time.sleep
    _offset_ns: int | None = attrs.field(init=False, default=None)  # host's clock less machine's

    def pace(self, now_ns: int) -> None:
        """Sleep until the host's clock has caught up with *now_ns*.

        A machine that calls this every few milliseconds of its time is never held for longer
        than those: whoever types is heard at once.
        """
        host_ns = self.host_ns()
        if self._offset_ns is None or host_ns - now_ns - self._offset_ns > BEHIND_NS:
            self._offset_ns = host_ns - now_ns
        ahead_ns = now_ns + self._offset_ns - host_ns
        if ahead_ns > AHEAD_NS:
            self.sleep(ahead_ns / NS_PER_S)
