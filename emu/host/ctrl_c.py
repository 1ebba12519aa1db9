"""Ctrl-C while a guest runs.

Python raises KeyboardInterrupt between any two of its own steps.  While guest code runs, these are
the engine's callbacks; and what is raised on the way into one, before its first `try`, ctypes
prints and drops, with the guest's access half done.  So Ctrl-C is held until the run has come to a
block's start, where the machine is whole.  Pressed a second time, for a card that hangs, it does
not wait.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def held(stop: Callable[[], None]) -> Iterator[None]:
    """Call *stop* at Ctrl-C, and raise KeyboardInterrupt at the end.

    Only where Ctrl-C would raise it anyway: a handler of the user's own is left alone.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            signal.default_int_handler(number, frame)
        pressed = True
        stop()

    if not _take(press):
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:
            raise KeyboardInterrupt


def _take(handler: Callable[[int, FrameType | None], None]) -> bool:
    """Have *handler* called at Ctrl-C; False where it would not raise KeyboardInterrupt here."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    try:
        signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread, which alone has signals
        return False
    return True
