"""Wires: one driver, one listener, a level.

A chip's output pin drives a `Line`; the board connects the line to the input pin it is
soldered to.  A line carries levels, not events: an input that is sensitive to edges keeps
the level it last saw in its own State, so a line driven again to the level it has is no edge,
and after a restore every output may be driven anew, in any order, without anything happening.
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs


def unconnected(high: bool) -> None:  # noqa: FBT001 - a level is all that a pin receives
    """Where a line leads that nobody has connected."""


@attrs.define(eq=False)
class Line:
    """One wire.  It stays at the level it was last driven to."""

    name: str
    level: bool = False
    _listener: Callable[[bool], None] = unconnected

    def connect(self, listener: Callable[[bool], None]) -> None:
        """Solder the far end: *listener* is told the level whenever the line is driven."""
        self._listener = listener

    def drive(self, *, high: bool) -> None:
        """Put *high* or low on the wire and tell the far end."""
        self.level = high
        self._listener(high)
