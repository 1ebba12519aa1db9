"""What hangs fails, wherever it hangs."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from watchdog import watched

import emu

SOON_S = 0.05


@pytest.fixture(autouse=True)
def _as_it_was():
    """The watch over this very test goes on afterwards."""
    handler = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) is handler
    left_s, _ = signal.getitimer(signal.ITIMER_REAL)
    assert left_s > SOON_S


def test_in_a_guest_that_never_says_it() -> None:
    """Also where everything that is raised on the way is looked at."""
    with (
        emu.Machine("ticks", memory="1M") as vm,
        pytest.raises(pytest.fail.Exception, match=r"a guest: still under way after 0\.05 s"),
        watched("a guest", SOON_S),
    ):
        vm.run(until=emu.serial("never"))


def test_in_a_process_that_does_not_end() -> None:
    program = [sys.executable, "-c", "import signal; signal.pause()"]
    child = subprocess.Popen(program)
    with pytest.raises(pytest.fail.Exception), watched("a process", SOON_S):
        child.wait()
    child.kill()
    child.wait()


def test_what_ends_is_let_alone() -> None:
    """The clock is stopped, or rather set for the test that this is, as `_as_it_was` sees."""
    with watched("nothing", SOON_S):
        pass
