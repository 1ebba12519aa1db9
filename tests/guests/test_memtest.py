"""Debian's memtest86+, unmodified, booted as the kernel it can be.

It is fetched by `tests/guests/fetch.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import guests_fetched
import pytest
from sessions import Step, session

TESTING = Step(text="Status: Testing")  # it says so again for each part of memory


@pytest.fixture
def options() -> dict[str, Any]:
    kernel = guests_fetched.path("memtest86+/memtest.bin")
    return {"kernel": str(kernel), "append": "console=ttyS0,115200", "memory": "16M"}


def test_saved_while_it_tests_and_finished_in_another_process(
    options: dict[str, Any], tmp_path: Path
) -> None:
    save = tmp_path / "testing.emu"

    before, straight = session(options, [TESTING._replace(save=str(save)), TESTING])
    (restored,) = session(save, [TESTING])

    assert restored.after(before.output) == straight
    for found in ("Pentium III", ":   16MB", "25%", "Errors: 0"):
        assert found in straight.output
