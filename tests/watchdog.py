"""A test that would hang fails.

The host's clock ends what none of the machine's could: a guest that is waited for and never speaks, a
process that does not end.  Nobody looks at it unless that happens.
"""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

PATIENCE_S = 1800  # many times what the longest takes that is no soak, on a busy machine too
AGAIN_S = 30  # later, in case that what cleans up hangs too
GRACE_S = 120  # for Python to be asked at all; then the process is ended, wherever it hangs


@contextmanager
def watched(what: str, seconds: float = PATIENCE_S) -> Iterator[None]:
    """Fail the test that *what* is a part of, once it has gone on for so many *seconds*.

    What is raised is no Exception, so that nobody on the way takes it for a guest's or a host's.
    """

    def bark(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"{what}: still under way after {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    left_s, every_s = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    faulthandler.dump_traceback_later(seconds + GRACE_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, left_s, every_s)
        signal.signal(signal.SIGALRM, before)
