"""What all tests find."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest
from watchdog import watched

# A shell has its background jobs ignore Ctrl-C and Ctrl-\, and so would all that is started from here:
# where that is so, what a test sends itself would never arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """A test that would hang fails; a soak takes as long as it takes."""
    if item.get_closest_marker("soak") is not None:
        return (yield)
    with watched(item.nodeid):
        return (yield)
