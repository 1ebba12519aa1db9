"""Loading a save into a machine, all or nothing.

    reader = Reader(f)                      whose stream it is, and of which machine
    head = read_head(reader, saved)         ours: its first section, to build the machine from
    load(reader, registry)                  the rest, into that machine

`load` reads and checks the whole stream, checksums included, before it changes anything but the
cards that have load functions of their own; where it is refused these get back what they had.
RAM is needed twice meanwhile, and nothing else of any size.
"""

from __future__ import annotations

from typing import TypeVar

from emu.savevm.description import name_of
from emu.savevm.loading import Loading
from emu.savevm.pages import IDSTR as RAM
from emu.savevm.pages import read_blocks
from emu.savevm.registry import Registry
from emu.savevm.sections import Dialect, Foreign, Kind, Reader
from emu.savevm.stream import from_bytes
from emu.savevm.vmstate import Saved

S = TypeVar("S")

PEEK_BYTES = 4096  # more than any list of RAM blocks takes


def read_head(reader: Reader, saved: Saved[S]) -> S:
    """The State in the one section that a save of ours begins with.

    It is checked, field by field; *reader* keeps it for `load`.  The stream's checksums come
    last, so a machine that is built from it is to be thrown away where `load` refuses.
    """
    frame = reader.next()
    f = reader.f
    (section,) = saved.sections
    key = (section.idstr, 0)
    if frame is None or frame.kind is not Kind.FULL or frame.key != key:
        found = repr(name_of(frame.key)) if frame else "the end"
        raise f.error("not the first section of a save", found=found, expected=repr(name_of(key)))
    values = section.get(f, frame.version)
    reader.head = (frame, values)
    return saved.decode(f, {section.idstr: values})


def peek_ram(reader: Reader) -> dict[str, int]:
    """The RAM blocks of a save of QEMU's, which begins with them, and their sizes.

    Nothing is read that `load` would miss.  Empty where the save begins with something else.
    """
    f = from_bytes(reader.f.peek_buffer(PEEK_BYTES))
    if f.peek_byte() != Kind.START:
        return {}
    f.section, f.field = name_of((RAM, 0)), "header"
    f.get_buffer(5)
    idstr, _instance, version = f.get_name(), f.get_be32(), f.get_be32()
    if idstr != RAM:
        return {}
    f.field = "blocks"
    return read_blocks(f, version)


def load(reader: Reader, registry: Registry, foreign: Foreign | None = None) -> None:
    """Load what *reader* reads into the machine of *registry*; StreamError where it is refused.

    *foreign* says what may be different about a save in QEMU's dialect.
    """
    f = reader.f
    ours = reader.dialect is Dialect.EMU
    foreign = Foreign() if foreign is None or ours else foreign
    loading = Loading(registry, reader.dialect, foreign)
    try:
        if reader.head is not None:
            frame, values = reader.head
            loading.entry(f, frame.key, frame.version)
            loading.adopt(f, frame.key, values, frame.offset)
        for frame in reader:
            key = foreign.aliases.get(frame.key, frame.key)
            ignored = foreign.ignored.get(key[0])
            if ignored is not None and key not in registry.entries:
                ignored.get(f, frame.version)
            else:
                loading.read(f, key, frame.version, staged=frame.kind is not Kind.FULL)
        loading.check_complete()
    except BaseException:
        loading.roll_back()
        raise
    loading.commit()
