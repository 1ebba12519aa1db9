"""Keeping a machine at the pace of the world, for the person in front of it.

An idle guest's virtual time runs far faster than real time, and nobody could type to it.  The
pacer sleeps while the machine is ahead.  It only ever waits: the guest cannot tell.
"""

from __future__ import annotations

import select
import time

import attrs

from emu.host.ends import HostEnd

AHEAD_NS = (
    5_000_000  # let it run ahead so far before sleeping: a sleep shorter than this is imprecise
)
BEHIND_NS = 200_000_000  # a machine that has fallen so far behind is not made to catch up


@attrs.define(eq=False)
class Pacer:
    """Holds virtual time to the host's, counted from when it first looks."""

    end: HostEnd  # whose input is worth waking up for
    _offset_ns: int | None = None  # the host's clock less the machine's, when they were even

    def pace(self, now_ns: int) -> None:
        """Wait until the host's clock has caught up with *now_ns*, or something is typed."""
        host_ns = time.monotonic_ns()
        if self._offset_ns is None:
            self._offset_ns = host_ns - now_ns
        ahead_ns = now_ns + self._offset_ns - host_ns
        if ahead_ns < -BEHIND_NS:
            self._offset_ns = host_ns - now_ns
        elif ahead_ns > AHEAD_NS:
            descriptor = self.end.fileno()
            inputs = [] if descriptor is None else [descriptor]
            select.select(inputs, [], [], ahead_ns / 1e9)
            if time.monotonic_ns() - host_ns < ahead_ns:  # woken early: time passes from here
                self._offset_ns = time.monotonic_ns() - now_ns
