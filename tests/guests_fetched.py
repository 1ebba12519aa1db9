"""Where the guests are that `tests/guests/fetch.py` fetches; they are not ours to commit."""

from __future__ import annotations

from pathlib import Path

from programs import missing

CACHE = Path(__file__).parent / "guests" / "cache"


def path(name: str) -> Path:
    """The fetched file *name*; the test is skipped where it is not there, or fails if it has to be."""
    file = CACHE / name
    if not file.exists():
        missing(f"{name} is not there: python tests/guests/fetch.py fetches it")
    return file
