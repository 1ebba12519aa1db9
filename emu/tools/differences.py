"""What two saves differ in, told to people and to programs.

    7 fields in 4 sections, 1 page; B is 10.000 ms later

    i8254/0
        counters[0].edge_ns      42.806546 ms -> 52.806697 ms   +10.000 ms
    ...
    pc.ram page 7: 2 bytes
        00007dee  03 -> 04

A value is shown as its declaration and its name tell: an instant in milliseconds, and how far apart
the two are; a register in hex, as many digits as it has; a count in decimal; bytes in hex.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from emu import attrs
from emu.clock import NEVER
from emu.savevm.compare import Comparison, FieldDifference, PageDifference
from emu.savevm.inspect import as_json, plain, shown
from emu.tools import disassembly
from emu.tools.disassembly import CodeDifference, Decoder, Instruction

PAGES_SHOWN = 16
RUNS_SHOWN = 8  # of a page
BYTES_SHOWN = 16  # of a run, or of a value
INSTRUCTIONS_SHOWN = 12
RANGES_SHOWN = 8  # of pages that are not shown
RUNS_TOLD = 64  # of a page, to programs
BYTES_TOLD = 64  # of a run

COUNTS = ("_bytes", "_s")  # how the names of numbers end that are no registers


def lines(found: Comparison) -> Iterator[str]:
    """For people; nothing where nothing differs."""
    if found:
        yield _summary(found)
    for section, fields in itertools.groupby(found.fields, key=lambda each: each.section):
        yield from ("", plain(section), *map(_field_line, fields))
    for name, sections in (("A", found.only_a), ("B", found.only_b)):
        if sections:
            yield from ("", f"only in {name}")
            yield from (f"    {plain(section)}" for section in sections)
    if found.pages:
        yield from _page_lines(found)


def _summary(found: Comparison) -> str:
    sections = len({each.section for each in found.fields})
    pages = sum(map(len, found.pages.values()))
    only = len(found.only_a) + len(found.only_b)
    parts = [f"{_count(len(found.fields), 'field')} in {_count(sections, 'section')}"]
    if only:
        parts.append(f"{_count(only, 'section')} in one of them only")
    parts.append(_count(pages, "page"))
    later = later_ns(found)
    if later:
        order = "later" if later > 0 else "earlier"
        return f"{', '.join(parts)}; B is {_span(abs(later)).lstrip('+')} {order}"
    return ", ".join(parts)


def later_ns(found: Comparison) -> int | None:
    """How much later *b* is by its clock than *a*; None where their clocks are the same."""
    for each in found.fields:
        if each.declared is not None and each.declared.metadata.get("is_now"):
            return int(each.b) - int(each.a)
    return None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# ==== fields ==============================================================================


def _field_line(each: FieldDifference) -> str:
    line = f"    {plain(each.field):<28} {_value(each.declared, each.a)} -> {_value(each.declared, each.b)}"
    if is_time(each.declared) and NEVER not in {each.a, each.b} and None not in {each.a, each.b}:
        return f"{line}   {_span(each.b - each.a)}"
    return line


def is_time(declared: attrs.Attribute | None) -> bool:
    """Tell whether the field holds nanoseconds."""
    return declared is not None and f"_{declared.name}".endswith("_ns")


def _value(declared: attrs.Attribute | None, value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bytes():
            return _bytes(value)
        case int() if declared is not None and not isinstance(value, bool):
            return _number(declared, value)
        case _:
            return shown(as_json(value))


def _number(declared: attrs.Attribute, value: int) -> str:
    if is_time(declared):
        if value == NEVER:
            return "never"
        ms, ns = divmod(abs(value), 1_000_000)
        return f"{'-' if value < 0 else ''}{ms:,}.{ns:06} ms"
    if declared.name.endswith(COUNTS) or declared.metadata["codec"].kind.startswith("int"):
        return f"{value:,}"
    return f"{value:#0{2 + _digits(declared)}x}"


def _digits(declared: attrs.Attribute) -> int:
    """How many hexadecimal digits a register has."""
    most = declared.metadata["most"]  # a list has it for each element
    return (int(most[0] if isinstance(most, list) else most).bit_length() + 3) // 4


def _bytes(value: bytes) -> str:
    text = value[:BYTES_SHOWN].hex(" ") if value else "no bytes"
    return text if len(value) <= BYTES_SHOWN else f"{text}... ({len(value)} bytes)"


def _span(ns: int) -> str:
    """A difference of time, signed, to three digits behind the point."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size * (10 if unit == "s" else 1):
            return f"{ns / size:+,.3f} {unit}"
    return f"{ns:+} ns"


# ==== pages ===============================================================================


@attrs.define(eq=False)
class _Code:
    """The code of both saves, decoded when it is first asked for."""

    found: Comparison
    may_be_code: bool = attrs.field(init=False, default=False)  # and nothing can decode it
    _decoders: tuple[Decoder | None, ...] | None = attrs.field(init=False, default=None)

    def differences(self, page: PageDifference) -> list[CodeDifference]:
        if self._decoders is None:
            sides = (self.found.a, self.found.b)
            self._decoders = tuple(map(disassembly.decoder_of, sides))
        a, b = self._decoders
        if a is not None and b is not None:
            return list(disassembly.code_differences(page, a, b))
        if not disassembly.available():
            sides = (self.found.a, self.found.b)
            self.may_be_code |= any(disassembly.may_be_code(page, each) for each in sides)
        return []


def _page_lines(found: Comparison) -> Iterator[str]:
    code = _Code(found)
    for page in itertools.islice(found.page_differences(), PAGES_SHOWN):
        yield from _lines_of(page, code.differences(page))
    if code.may_be_code:
        yield from ("", f"({disassembly.HOW_TO_GET_IT})")
    left = sum(map(len, found.pages.values())) - PAGES_SHOWN
    if left > 0:
        yield from ("", f"and {_count(left, 'page')} more")
        ranges = list(itertools.islice(_ranges(found, PAGES_SHOWN), RANGES_SHOWN + 1))
        for block, first, last in ranges[:RANGES_SHOWN]:
            yield f"    {plain(block)} page{'s' if last > first else ''} {_range(first, last)}"
        if len(ranges) > RANGES_SHOWN:
            yield "    ..."


def _ranges(found: Comparison, skip: int) -> Iterator[tuple[str, int, int]]:
    """Pages in a row, but for the first *skip* pages."""
    for block, numbers in found.pages.items():
        first = last = None
        for number in numbers[skip:]:
            if last is not None and first is not None and number != last + 1:
                yield block, first, last
                first = None
            first, last = number if first is None else first, number
        if last is not None and first is not None:
            yield block, first, last
        skip = max(0, skip - len(numbers))


def _range(first: int, last: int) -> str:
    return f"{first:,} to {last:,}" if last > first else f"{first:,}"


def _lines_of(page: PageDifference, code: list[CodeDifference]) -> Iterator[str]:
    runs = list(page.runs())
    changed = sum(len(run.a) for run in runs)
    yield ""
    yield f"{plain(page.block)} page {page.number:,}: {_count(changed, 'byte')}"
    for run in runs[:RUNS_SHOWN]:
        yield f"    {run.offset:08x}  {_bytes(run.a)} -> {_bytes(run.b)}"
    if len(runs) > RUNS_SHOWN:
        yield f"    and {_count(len(runs) - RUNS_SHOWN, 'place')} more"
    for each in code:
        for side, instructions in (("A", each.a), ("B", each.b)):
            yield f"    code at {each.start:08x}, {side}"
            yield from map(_instruction_line, instructions[:INSTRUCTIONS_SHOWN])
            if len(instructions) > INSTRUCTIONS_SHOWN:
                more = len(instructions) - INSTRUCTIONS_SHOWN
                yield f"        and {_count(more, 'instruction')} more"


def _instruction_line(each: Instruction) -> str:
    return f"        {each.offset:0{each.bits // 4}x}  {each.data.hex(' '):<23} {each.text}"


# ==== for programs ========================================================================


def json_text(found: Comparison) -> Iterator[str]:
    """All of it as JSON, in pieces, as there may be very many pages."""
    head = {
        "same": not found,
        "later_ns": later_ns(found) or 0,
        "fields": [_field_json(each) for each in found.fields],
        "only_a": found.only_a,
        "only_b": found.only_b,
    }
    yield json.dumps(head, indent=2)[:-2] + ',\n  "pages": ['
    code = _Code(found)
    for index, page in enumerate(found.page_differences()):
        told = _page_json(page, code.differences(page))
        yield f"{',' if index else ''}\n    {json.dumps(told)}"
    yield "\n  ]\n}"


def _field_json(each: FieldDifference) -> dict[str, Any]:
    declared = each.declared
    return {
        "section": each.section,
        "field": each.field,
        "a": as_json(each.a),
        "b": as_json(each.b),
        "what": None if declared is None else declared.metadata.get("doc"),
    }


def _page_json(page: PageDifference, code: list[CodeDifference]) -> dict[str, Any]:
    runs = list(page.runs())
    return {
        "block": page.block,
        "page": page.number,
        "bytes_changed": sum(len(run.a) for run in runs),
        "first": runs[0].offset,
        "runs": [
            {
                "offset": run.offset,
                "length": len(run.a),
                "a": run.a[:BYTES_TOLD].hex(),
                "b": run.b[:BYTES_TOLD].hex(),
            }
            for run in runs[:RUNS_TOLD]
        ],
        "code": [
            {"start": each.start, "end": each.end, "a": _code_json(each.a), "b": _code_json(each.b)}
            for each in code
        ],
    }


def _code_json(instructions: list[Instruction]) -> list[dict[str, Any]]:
    return [
        {"eip": each.offset, "bytes": each.data.hex(), "text": each.text} for each in instructions
    ]
