"""The JSON at the end of a save: what is in it, for people, tools and checks.

    {"page_size":4096,
     "devices":[{"name","instance_id","vmsd_name","version","fields":[{"name","type","size"}...],
                 "subsections":[{"vmsd_name","version","fields"}...]}...],
     "emu":{"sections":[{"idstr","instance","id","type","version","offset","size","crc32"}...]},
     "crc32":"89abcdef"}

QEMU reads `devices` with its own tools and ignores the rest.  `emu` and `crc32` are in a stream of
our own dialect: one row for the configuration and each section, RAM's parts among them, which
follow one another without a gap; and last the checksum of all the text before its own key.
So no byte of a save is without a checksum that is not fixed to begin with.

A section of which nothing else is known is sized by this: its payload has no length of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from emu import attrs
from emu.errors import StreamError
from emu.savevm.stream import Stream, to_bytes
from emu.savevm.vmstate import Constant, Field, Section

Key = tuple[str, int]  # idstr, instance_id: QEMU's section key

PAGE_BYTES = 4096
TEXT_MOST = 16 << 20  # bytes of JSON; that of 2 GiB of RAM sent in 2,048 parts has 300,000
BEFORE = b"\x00\x06"  # EOF, VMDESCRIPTION
HEAD_BYTES = len(BEFORE) + 4  # and the text's length
CRC_KEY = b',"crc32":"'
CRC_END = b'"}'
CRC_BYTES = len(CRC_KEY) + 8 + len(CRC_END)


def name_of(key: Key) -> str:
    """A section's name in messages."""
    return f"{key[0]}/{key[1]}"


@attrs.frozen
class Row:
    """One section as it stands in the stream."""

    key: Key
    section_id: int
    kind: str
    version: int
    offset: int  # of its first byte
    size: int  # in bytes, header and footer included
    crc: int  # of all of them

    def as_json(self) -> dict[str, Any]:
        return {
            "idstr": self.key[0],
            "instance": self.key[1],
            "id": self.section_id,
            "type": self.kind,
            "version": self.version,
            "offset": self.offset,
            "size": self.size,
            "crc32": f"{self.crc:08x}",
        }


# ==== making ==============================================================================


def make(devices: Iterable[dict[str, Any]], rows: Iterable[Row] | None) -> bytes:
    """The text; *rows* are given in our own dialect."""
    told: dict[str, Any] = {"page_size": PAGE_BYTES, "devices": list(devices)}
    if rows is None:
        return dump_json(told)
    told["emu"] = {"sections": [row.as_json() for row in rows]}
    return seal(dump_json(told))


def seal(text: bytes) -> bytes:
    """Add the checksum to a description that lacks it."""
    covered = text[:-1]
    return covered + CRC_KEY + b"%08x" % zlib.crc32(covered) + CRC_END


def dump_json(told: dict[str, Any]) -> bytes:
    """*told* as it stands in a stream, but for its checksum."""
    import json

    return json.dumps(told, separators=(",", ":")).encode()


def device(section: Section, instance: int, state: Any) -> dict[str, Any]:
    """What the description says of a section of declared State."""
    values = section.encode(state)
    told = {
        "name": section.idstr,
        "instance_id": instance,
        "vmsd_name": section.idstr,
        "version": section.version,
        "fields": list(_fields(section.layout, values)),
    }
    subsections = [
        {
            "vmsd_name": each.name,
            "version": each.version,
            "fields": list(_fields(each.layout, values)),
        }
        for each in section.subsections
        if each.needed(state)
    ]
    return told | {"subsections": subsections} if subsections else told


def device_of_handler(key: Key, size: int) -> dict[str, Any]:
    """What it says of a section that a function wrote: so many bytes."""
    return {
        "name": key[0],
        "instance_id": key[1],
        "size": size,
        "fields": [{"name": "data", "size": size, "type": "buffer"}],
    }


def _fields(layout: Iterable[Field | Constant], values: Any) -> Iterator[dict[str, Any]]:
    for field in layout:
        f, data = to_bytes()
        field.put(f, values)
        f.fflush()
        yield {"name": field.name, "type": field.codec.kind, "size": len(data)}


# ==== reading =============================================================================


def read(f: Stream) -> dict[str, Any]:
    """Read a description, behind its type byte; its own checksum, where it has one, is checked."""
    import json

    size = f.get_be32()
    if size > TEXT_MOST:
        raise f.error("too long", found=size, expected=f"{TEXT_MOST} at most")
    text = f.get_buffer(size)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise f.error(f"not JSON ({error})") from None
    if not isinstance(told, dict):
        raise f.error("not a JSON object")
    if "emu" in told:
        _check_sealed(f, text)
    return told


def _check_sealed(f: Stream, text: bytes) -> None:
    covered, seal_found = text[:-CRC_BYTES], text[-CRC_BYTES:]
    expected = CRC_KEY + b"%08x" % zlib.crc32(covered) + CRC_END
    if seal_found != expected:
        raise f.error(
            "its own checksum is wrong",
            found=ascii(seal_found.decode("latin-1")),
            expected=repr(expected.decode()),
        )


def rows_of(told: dict[str, Any]) -> list[Any]:
    """The rows as they were read, not to be trusted; empty where there are none."""
    ours = told.get("emu")
    rows = ours.get("sections") if isinstance(ours, dict) else None
    return rows if isinstance(rows, list) else []


def row_at(told: dict[str, Any], index: int) -> dict[str, Any]:
    """One of the rows; empty where there is no such."""
    rows = rows_of(told)
    row = rows[index] if index < len(rows) else None
    return row if isinstance(row, dict) else {}


def find(tail: bytes) -> dict[str, Any]:
    """The description that *tail*, the end of a stream, ends with; empty where there is none.

    It is sought backwards, by the bytes that come before it and a length that fits.
    """
    import json

    start = len(tail)
    while (start := tail.rfind(BEFORE, 0, start)) >= 0:
        begin = start + len(BEFORE) + 4
        if tail[begin - 4 : begin] == max(0, len(tail) - begin).to_bytes(4, "big"):
            try:
                told = json.loads(tail[begin:])
            except (ValueError, RecursionError):
                continue
            return told if isinstance(told, dict) else {}
    return {}


def check(told: dict[str, Any], rows: Sequence[Row]) -> None:
    """StreamError unless the description has exactly *rows*, those of what was read."""
    found = rows_of(told)
    if not found:
        raise StreamError("no table of the sections", field="description")
    for index, row in enumerate(rows):
        expected = row.as_json()
        mine = found[index] if index < len(found) else None
        if mine != expected:
            raise _difference(row, expected, mine)
    if len(found) > len(rows):
        raise StreamError(
            "the description has more sections than the stream",
            field="description",
            found=len(found),
            expected=len(rows),
        )


def _difference(row: Row, expected: dict[str, Any], mine: Any) -> StreamError:
    """The error for a section of which the description says something else."""
    told = mine if isinstance(mine, dict) else {}
    field = next((each for each in expected if told.get(each) != expected[each]), None)
    if field == "crc32":
        problem = "the section is damaged: its checksum is wrong"
    else:
        problem = "the section is not as the description has it"
    return StreamError(
        problem,
        section=name_of(row.key),
        field=field,
        offset=row.offset,
        found=_brief(expected.get(field or "")),
        expected=_brief(told.get(field or "")),
    )


def _brief(value: Any) -> str:
    """*value* of a stream on one line, and not a long one."""
    text = ascii(value)
    return text if len(text) <= 64 else text[:61] + "..."


# ==== sizing ==============================================================================


def device_at(told: dict[str, Any], key: Key) -> dict[str, Any]:
    """What the description says of a section; empty where that is nothing."""
    devices = told.get("devices")
    for each in devices if isinstance(devices, list) else []:
        if isinstance(each, dict) and (each.get("name"), each.get("instance_id")) == key:
            return each
    return {}


def take_apart(device_told: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The fields of a payload as the description has them, numbers as such and others in hex.

    What cannot be told apart is the field "data".
    """
    values: dict[str, Any] = {}
    offset = 0
    try:
        for each in device_told["fields"]:
            name, kind, size = str(each["name"]), str(each["type"]), int(each["size"])
            if "index" in each:
                name += f"[{int(each['index'])}]"
            count = int(each.get("array_len", 1))
            for index in range(count):
                piece = data[offset : offset + size]
                offset += len(piece)
                if len(piece) != size or not size:
                    raise ValueError(name)  # noqa: TRY301 - as any other nonsense in there
                signed = kind.startswith("int")
                number = signed or kind.startswith("uint")
                values[f"{name}[{index}]" if count > 1 else name] = (
                    int.from_bytes(piece, "big", signed=signed) if number else piece.hex()
                )
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError):
        return {"data": data.hex()}
    if offset < len(data):
        values["subsections"] = data[offset:].hex()
    return values


def payload_size(device_told: dict[str, Any]) -> int | None:
    """The bytes in a payload, as its fields add up; None where they make no sense."""
    try:
        size = _size_of(device_told)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return size if size >= 0 else None


def _size_of(told: dict[str, Any]) -> int:
    """The bytes of a device, or of a subsection within its frame."""
    size = sum(int(each["size"]) * int(each.get("array_len", 1)) for each in told["fields"])
    for each in told.get("subsections", []):
        size += 1 + 1 + len(each["vmsd_name"]) + 4 + _size_of(each)
    return size
