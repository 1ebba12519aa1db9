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
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def held(stop: Callable[[], None]) -> Iterator[None]:
    """Call *stop* at Ctrl-C, and raise KeyboardInterrupt at the end.

    Only where Ctrl-C would raise it anyway: a handler of the user's own is left alone.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            signal.default_int_handler(number, frame)
        pressed = True
        stop()

    signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:
            raise KeyboardInterrupt
