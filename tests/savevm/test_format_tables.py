"""FORMAT.md's tables of fields are those of the declarations."""

from __future__ import annotations

from emu.tools import format_tables
from emu.tools.saves import SCHEMAS


def test_the_tables_are_as_declared() -> None:
    """After a change of a State, `python -m emu.tools.format_tables` writes them anew."""
    text = format_tables.FORMAT.read_text()

    assert format_tables.written(text) == text


def test_every_section_has_its_table() -> None:
    text = format_tables.FORMAT.read_text()

    for idstr in SCHEMAS:
        assert f"### {idstr}, version" in text
