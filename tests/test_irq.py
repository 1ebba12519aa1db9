"""A line carries a level from one driver to one listener."""

from __future__ import annotations

import pytest

from emu.irq import Line


@pytest.mark.parametrize("high", [False, True])
def test_it_stays_as_it_was_driven(*, high: bool) -> None:
    line = Line("INT")
    line.drive(high=high)

    assert line.level == high


def test_the_listener_is_told_each_time() -> None:
    """A level that was there before is told again: who wants edges keeps the last level."""
    line, heard = Line("INT"), []
    line.connect(heard.append)

    for high in (True, True, False):
        line.drive(high=high)

    assert heard == [True, True, False]
