"""A line on the terminal while something takes long: how far it has come.

    verifying big.emu: 43 %

It is there only if standard error is a terminal and the work takes longer than a moment, and it
is gone when the work ends, however it ends.  On a pipe or in a file there is nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from emu import attrs
from emu.memory import MIB
from emu.savevm.stream import Progress

MOMENT_S = 0.7  # nobody wonders before that
AGAIN_S = 0.1  # so often it changes, at the most
COLUMNS = 80  # of a terminal that does not say how wide it is


@attrs.define(eq=False)
class Line:
    """The line about one piece of work: *what* is done, and the *total* of bytes, if it is known."""

    what: str
    total: int | None = None
    make_room: Callable[[], None] = lambda: None  # called before the line is first there
    host_s: Callable[[], float] = time.monotonic
    _due_s: float = attrs.field(init=False)
    _shown: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._due_s = self.host_s() + MOMENT_S

    def tell(self, done: int) -> None:
        """So many bytes have been done."""
        now_s = self.host_s()
        if now_s < self._due_s:
            return
        self._due_s = now_s + AGAIN_S
        if not self._shown:
            self.make_room()
        self._shown = True
        _write(f"\r{self._text(done)[: _columns() - 1]}\x1b[K")

    def erase(self) -> None:
        if self._shown:
            _write("\r\x1b[K")
        self._shown = False

    def _text(self, done: int) -> str:
        what = "".join(each if each.isprintable() else "?" for each in self.what)
        if self.total:
            return f"{what}: {min(100, 100 * done // self.total)} %"
        return f"{what}: {done // MIB:,} MiB"


def _write(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal has gone
        sys.stderr.write(text)
        sys.stderr.flush()


def _columns() -> int:
    """How wide the terminal is."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    except OSError:
        return COLUMNS


@contextlib.contextmanager
def shown(
    what: str, total: int | None = None, make_room: Callable[[], None] = lambda: None
) -> Iterator[Progress]:
    """Show how far *what* has come; the body tells the function that it is given."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    line = Line(what, total, make_room)
    try:
        yield line.tell
    finally:
        line.erase()
