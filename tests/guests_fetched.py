"""Where the guests are that `tests/guests/fetch.py` fetches; they are not ours to commit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CACHE = Path(__file__).parent / "guests" / "cache"


def path(name: str) -> Path:
    """The fetched file *name*; the test is skipped where it is not there, or fails if it has to be."""
    file = CACHE / name
    if not file.exists():
        reason = f"{name} is not there: python tests/guests/fetch.py fetches it"
        if os.environ.get("EMU_REQUIRE_GUESTS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return file
