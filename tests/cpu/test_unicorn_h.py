"""Unicorn's numbers are those of its own package."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cpu import binding, unicorn_h

NAMES = [name for name in vars(unicorn_h) if name.startswith("UC_")]


@pytest.mark.parametrize("name", NAMES)
def test_each(name: str) -> None:
    from unicorn import unicorn_const, x86_const

    theirs = x86_const if name.startswith(("UC_X86_", "UC_CPU_")) else unicorn_const

    assert getattr(unicorn_h, name) == getattr(theirs, name)


def test_none_is_there_for_nothing() -> None:
    """Each is used by one of the modules beside it."""
    sources = "".join(path.read_text() for path in Path(binding.__file__).parent.glob("*.py"))

    assert [name for name in NAMES if f"unicorn_h.{name}" not in sources] == []
