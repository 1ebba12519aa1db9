"""The tables at the end of FORMAT.md, made from the chips' own declarations.

    python -m emu.tools.format_tables

writes them anew; a test holds that they are as they would be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emu import attrs
from emu.savevm.codecs import Array, Codec, Several
from emu.savevm.vmstate import Constant, Field, Saved, Section, Struct
from emu.tools.saves import SCHEMAS

FORMAT = Path(__file__).parent.parent / "savevm" / "FORMAT.md"
HEADING = "## Sections of the chips\n"

INTRODUCTION = """
Made from the declarations by `python -m emu.tools.format_tables`.
A field that a later version brought says so; `[n]` is an array, `{...}` a structure, `*` a count of 32 bits and so many.
What QEMU has and this machine does not is written as it always is there, and read and dropped: "constant".
"""


def render() -> str:
    """The heading and what follows it."""
    parts = [HEADING, INTRODUCTION]
    seen: list[Section] = []
    for idstr, saved in SCHEMAS.items():
        section = next(each for each in saved.sections if each.idstr == idstr)
        if section not in seen:
            seen.append(section)
            parts += ["\n", *(line + "\n" for line in _section(section, saved))]
    return "".join(parts)


def _section(section: Section, saved: Saved[Any]) -> Iterator[str]:
    oldest = f", {section.minimum} is read, too" if section.minimum < section.version else ""
    yield f"### {section.idstr}, version {section.version}{oldest}"
    yield ""
    yield "| field | on the wire | what it is |"
    yield "|---|---|---|"
    docs = _docs(saved.state)
    for field in section.layout:
        yield _row(field, docs)
    for subsection in section.subsections:
        yield f"| | subsection `{subsection.name}`, version {subsection.version} | |"
        for field in subsection.layout:
            yield _row(field, docs)


def _row(field: Field | Constant, docs: dict[str, str]) -> str:
    since = f", since {field.since}" if field.since > 1 else ""
    if isinstance(field, Constant):
        meaning = f"constant: {field.data.hex()}" if any(field.data) else "constant: zeros"
        return f"| {field.name} | {len(field.data)} bytes{since} | {meaning} |"
    return f"| {field.name} | {_kind(field.codec)}{since} | {docs.get(field.name, '')} |"


def _kind(codec: Codec) -> str:
    match codec:
        case Array():
            return f"{_kind(codec.of)}[{codec.count}]"
        case Several():
            return f"{_kind(codec.of)}*"
        case Struct():
            return (
                "{" + ", ".join(f"{each.name} {_kind(each.codec)}" for each in codec.fields) + "}"
            )
        case _:
            size = getattr(codec, "size", None)
            return f"{size} bytes" if codec.kind == "buffer" and size else codec.kind


def _docs(state: type[Any]) -> dict[str, str]:
    return {
        field.name: field.metadata["doc"]
        for field in attrs.fields(state)
        if "doc" in field.metadata
    }


def written(text: str) -> str:
    """*text*, FORMAT.md, with the tables as they are now."""
    before, _, _ = text.partition(HEADING)
    return before + render()


if __name__ == "__main__":
    FORMAT.write_text(written(FORMAT.read_text()))
