"""fw_cfg: how QEMU hands firmware its configuration, and how this machine does.

Numbered items of bytes, some of which have names, are read one at a time: byte by byte through
a port, or straight to memory by DMA.  SeaBIOS takes from it the memory map, the option ROMs and
the boot menu; the linuxboot ROM takes the kernel.

    port      size   read                     write
    --------  -----  -----------------------  -------------------------------------------
    510h      16     nothing answers          selector: the item, from its first byte on
    511h      8      the item's next byte     ignored
    514h      32     "QEMU", byte by byte     DMA address, its high half, big-endian
    518h      32     " CFG", byte by byte     its low half; starts the operation

    selector  item
    --------  ------------------------------------------------------------------------
    0000      "QEMU"
    0001      feature bits, 32 bits little-endian: bit 0 these ports, bit 1 DMA
    0003-18   as `Item` says, numbers little-endian
    0019      directory: be32 count, each: be32 size, be16 selector, be16 0, char name[56]
    0020 on   the named items ("files"), sorted by name
    4000      this bit once asked to write, and changes nothing
    8000      this bit is for items of one architecture

    DMA address --> be32 control    bit 0 error, 1 read, 2 skip, 3 select, 4 write;
                    be32 length     bits 16-31 the item to select
                    be64 address

The operation takes no time: when the write to 518h is over, control is 0, or 1 for an error.
Past its end an item reads as zeros, as does an item that is not there.

A guest may write those files that the board says it may: the drives of our ROM.  Such a file gets
longer where it is written past its end, up to 64 MiB.  To write anything else is an error.

The contents are saved too, by `Contents`, an object with a State and a section of its own: a
machine restored where the files of the host are gone has them still, and one restored from a
stream of QEMU's, which has no such section, keeps those it was built with.

Where this differs from the document: there a write past an item's end is an error.

Source: QEMU, docs/specs/fw_cfg.rst ("Guest-side Hardware Interface", "Guest-side DMA
Interface"); the selectors 03-18 as in Linux's include/uapi/linux/qemu_fw_cfg.h.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from emu import attrs
from emu.errors import ConfigError
from emu.isa import Slot
from emu.savevm import vmstate
from emu.savevm.codecs import Bool
from emu.savevm.vmstate import Field, Saved, Section, Subsection, blob, flag, queue, reg, text

PORT_SELECTOR = 0x510
PORT_DATA = 0x511
PORT_DMA_HIGH = 0x514
PORT_DMA_LOW = 0x518

SIGNATURE = b"QEMU"
DMA_SIGNATURE = b"QEMU CFG"
ID_TRADITIONAL = 1 << 0
ID_DMA = 1 << 1

SELECTOR_WRITE = 1 << 14

CONTROL_ERROR = 1 << 0
CONTROL_READ = 1 << 1
CONTROL_SKIP = 1 << 2
CONTROL_SELECT = 1 << 3
CONTROL_WRITE = 1 << 4
CONTROL_SELECTOR_SHIFT = 16

DMA_STRUCTURE_BYTES = 16

FILE_FIRST = 0x20
FILES_MOST = 0x4000 - FILE_FIRST
NAME_BYTES_MOST = 55  # and a NUL
DATA_BYTES_MOST = 64 << 20
ENTRIES_MOST = 1 << 16  # no more than there are selectors

ZEROS = bytes(1 << 20)


class Item(enum.IntEnum):
    """The items whose selectors are fixed."""

    SIGNATURE = 0x00
    ID = 0x01
    UUID = 0x02
    RAM_SIZE = 0x03  # 64 bits
    NOGRAPHIC = 0x04  # 16 bits
    NB_CPUS = 0x05  # 16 bits
    MACHINE_ID = 0x06
    KERNEL_ADDR = 0x07  # 32 bits, as all addresses and sizes that follow
    KERNEL_SIZE = 0x08
    KERNEL_CMDLINE = 0x09
    INITRD_ADDR = 0x0A
    INITRD_SIZE = 0x0B
    BOOT_DEVICE = 0x0C  # 16 bits
    NUMA = 0x0D
    BOOT_MENU = 0x0E  # 16 bits
    MAX_CPUS = 0x0F  # 16 bits
    KERNEL_ENTRY = 0x10
    KERNEL_DATA = 0x11
    INITRD_DATA = 0x12
    CMDLINE_ADDR = 0x13
    CMDLINE_SIZE = 0x14
    CMDLINE_DATA = 0x15
    SETUP_ADDR = 0x16
    SETUP_SIZE = 0x17
    SETUP_DATA = 0x18
    FILE_DIR = 0x19


OURS = (Item.SIGNATURE, Item.ID, Item.FILE_DIR)  # what this file makes itself


# ==== the contents ========================================================================


@attrs.define
class Entry:
    """One item."""

    selector: int = reg(bits=16, doc="its number")
    name: str = text(most=NAME_BYTES_MOST, doc="its name in the directory; none: it is not there")
    data: bytes | bytearray = blob(most=DATA_BYTES_MOST, doc="what it holds")


@attrs.define
class ContentsState:
    """Everything that there is to be read."""

    entries: list[Entry] = queue(Entry, most=ENTRIES_MOST, doc="the items, in no special order")
    written: bool = flag(doc="a guest has written to a file")


@attrs.define(eq=False)
class Contents:
    """The items, and the directory that follows from them; a guest may write files by name."""

    state: ContentsState = attrs.field(factory=ContentsState)
    writable: frozenset[str] = frozenset()
    _items: dict[int, bytes | bytearray] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.settle()

    def item(self, selector: int) -> bytes | bytearray:
        """What *selector* leads to; nothing where there is no such item."""
        return self._items.get(selector & ~SELECTOR_WRITE, b"")

    def written_to(self, selector: int) -> Entry | None:
        """The file that *selector* leads to, if a guest may write it."""
        generic = selector & ~SELECTOR_WRITE
        found = [entry for entry in self.state.entries if entry.selector == generic]
        return found[-1] if found and found[-1].name in self.writable else None

    def write(self, entry: Entry, offset: int, data: bytes) -> None:
        """Put *data* at *offset* of *entry*, which is one of ours."""
        self.state.written = True
        if isinstance(entry.data, bytes):
            entry.data = bytearray(entry.data)  # so that a write costs what it writes
            self._items[entry.selector] = entry.data
        size = len(entry.data)
        if offset > size:
            entry.data += bytes(offset - size)
        entry.data[offset : offset + len(data)] = data
        if len(entry.data) != size:
            self.settle()  # the directory has its size

    def settle(self) -> None:
        """Make what can be read follow the state."""
        files = [entry for entry in self.state.entries if entry.name]
        self._items = {entry.selector: entry.data for entry in self.state.entries}
        self._items[Item.SIGNATURE] = SIGNATURE
        self._items[Item.ID] = (ID_TRADITIONAL | ID_DMA).to_bytes(4, "little")
        self._items[Item.FILE_DIR] = b"".join(
            [len(files).to_bytes(4, "big"), *(directory_entry(file) for file in files)]
        )


def directory_entry(file: Entry) -> bytes:
    """How the directory shows *file*."""
    size, selector = len(file.data).to_bytes(4, "big"), file.selector.to_bytes(2, "big")
    return size + selector + bytes(2) + file.name.encode().ljust(NAME_BYTES_MOST + 1, b"\0")


def contents_of(
    items: Mapping[int, bytes], files: Mapping[str, bytes], writable: frozenset[str] = frozenset()
) -> Contents:
    """Contents of *items* by selector and *files* by name; a guest may write those of *writable*.

    Raises ConfigError for a selector that is not free to choose, and for a name or data
    that does not fit.
    """
    for selector in items:
        generic = selector & ~0x8000
        if selector in OURS or not 0 <= selector < 1 << 16 or selector & SELECTOR_WRITE:
            raise ConfigError(f"fw_cfg item {selector:#x}: not a selector that can be given data")
        if selector == generic and selector >= FILE_FIRST:
            raise ConfigError(f"fw_cfg item {selector:#x}: selectors from 0x20 on are for files")
    for name in files:
        if not name.isascii() or not name.isprintable() or not 0 < len(name) <= NAME_BYTES_MOST:
            raise ConfigError(f"fw_cfg file {name!r}: expected 1 to 55 ASCII characters")
    if len(files) > FILES_MOST:
        raise ConfigError(f"fw_cfg: {len(files)} files, {FILES_MOST} at most")
    named = [(FILE_FIRST + place, name) for place, name in enumerate(sorted(files))]
    entries = [(selector, "", data) for selector, data in sorted(items.items())]
    entries += [(selector, name, files[name]) for selector, name in named]
    for selector, name, data in entries:
        if len(data) > DATA_BYTES_MOST:
            raise ConfigError(
                f"fw_cfg {name or hex(selector)}: {len(data)} bytes, {DATA_BYTES_MOST} at most"
            )
    return Contents(ContentsState([Entry(*entry) for entry in entries]), writable)


def machine_items(memory_bytes: int, *, processors: int = 1) -> dict[int, bytes]:
    """The items that firmware expects of every machine."""
    return {
        Item.RAM_SIZE: memory_bytes.to_bytes(8, "little"),
        Item.NOGRAPHIC: bytes(2),
        Item.NB_CPUS: processors.to_bytes(2, "little"),
        Item.BOOT_MENU: bytes(2),
        Item.MAX_CPUS: processors.to_bytes(2, "little"),
    }


# ==== the interface =======================================================================


@attrs.define
class State:
    """What a saved machine must remember about the registers."""

    cur_entry: int = reg(bits=16, doc="the selector as written")
    cur_offset: int = reg(bits=32, doc="the next byte of the item")
    dma_addr: int = reg(bits=64, doc="the DMA address written so far; 0 after an operation")


@attrs.define(eq=False)
class FwCfg:
    """The registers.  DMA goes through *read_memory* and *write_memory*, which take any address."""

    contents: Contents
    read_memory: Callable[[int, int], bytes]  # address, size
    write_memory: Callable[[int, bytes], None]  # address, data
    state: State = attrs.field(init=False, factory=State)

    # --- ports ----------------------------------------------------------------------------

    def write_selector(self, _port: int, value: int) -> None:
        self._select(value)

    def read_data(self, _port: int) -> int:
        data = self._take(1)
        return data[0] if data else 0

    def read_dma(self, port: int) -> int:
        """The signature that shows that there is DMA."""
        return DMA_SIGNATURE[port - PORT_DMA_HIGH]

    def write_dma_high(self, _port: int, value: int) -> None:
        self.state.dma_addr = swapped(value) << 32 | self.state.dma_addr & 0xFFFF_FFFF

    def write_dma_low(self, _port: int, value: int) -> None:
        address = self.state.dma_addr & ~0xFFFF_FFFF | swapped(value)
        self.state.dma_addr = 0
        self._operate(address)

    def reset(self) -> None:
        self.state = State()

    def settle(self) -> None:
        """There is no output to follow the state."""

    # --- the current item -----------------------------------------------------------------

    def _select(self, selector: int) -> None:
        self.state.cur_entry = selector
        self.state.cur_offset = 0

    def _take(self, length: int) -> bytes:
        """The next *length* bytes, or as many as are left; the offset moves past them."""
        item, offset = self.contents.item(self.state.cur_entry), self.state.cur_offset
        data = bytes(item[offset : offset + length])
        self.state.cur_offset += len(data)
        return data

    def _skip(self, length: int) -> None:
        """Move on by *length* bytes, to the end at the most, unless it can be written past that."""
        offset, size = self.state.cur_offset, len(self.contents.item(self.state.cur_entry))
        if self.contents.written_to(self.state.cur_entry) is not None:
            size = DATA_BYTES_MOST
        self.state.cur_offset = max(offset, min(offset + length, size))

    def _put(self, address: int, length: int) -> bool:
        """Write *length* bytes of memory to the item, if that may be; the offset moves past them."""
        entry, offset = self.contents.written_to(self.state.cur_entry), self.state.cur_offset
        if entry is None or offset + length > DATA_BYTES_MOST:
            return False
        self.contents.write(entry, offset, self.read_memory(address, length))
        self.state.cur_offset += length
        return True

    # --- DMA ------------------------------------------------------------------------------

    def _operate(self, structure: int) -> None:
        """Do what the structure at address *structure* says, and put the result there."""
        access = self.read_memory(structure, DMA_STRUCTURE_BYTES)
        control = int.from_bytes(access[0:4], "big")
        length = int.from_bytes(access[4:8], "big")
        address = int.from_bytes(access[8:16], "big")
        result = 0
        if control & CONTROL_SELECT:
            self._select(control >> CONTROL_SELECTOR_SHIFT)
        if control & CONTROL_READ:
            data = self._take(length)
            self.write_memory(address, data)
            self._write_zeros(address + len(data), length - len(data))
        elif control & CONTROL_WRITE:
            result = 0 if self._put(address, length) else CONTROL_ERROR
        elif control & CONTROL_SKIP:
            self._skip(length)
        self.write_memory(structure, result.to_bytes(4, "big"))

    def _write_zeros(self, address: int, length: int) -> None:
        """As a guest may ask for 4 GiB of them, a piece at a time."""
        for done in range(0, length, len(ZEROS)):
            self.write_memory(address + done, ZEROS[: length - done])


def swapped(value: int) -> int:
    """The 32 bits of *value* with the order of their bytes turned round."""
    return int.from_bytes(value.to_bytes(4, "little"), "big")


# ==== the stream, and plugging it in ======================================================


def _never(_state: State) -> bool:
    return False


def _is_written(state: ContentsState) -> bool:
    return state.written


SAVED = Saved(
    State,
    (
        Section(
            "fw_cfg",
            2,
            (vmstate.u16("cur_entry"), vmstate.u32("cur_offset")),
            subsections=(
                Subsection("fw_cfg/dma", 0, (vmstate.u64("dma_addr", since=0),)),
                # QEMU's ACPI tables, if it has some: their sizes.
                Subsection("fw_cfg/acpi_mr", 1, (vmstate.Constant("sizes", bytes(3 * 8)),), _never),
            ),
        ),
    ),
)

SAVED_CONTENTS = Saved(
    ContentsState,
    (
        Section(
            "emu/fw_cfg",
            1,
            vmstate.fields_of(ContentsState, without=["written"]),
            subsections=(
                Subsection("emu/fw_cfg/written", 1, (Field("written", Bool()),), _is_written),
            ),
        ),
    ),
)


def attach(
    slot: Slot,
    items: Mapping[int, bytes],
    files: Mapping[str, bytes],
    read_memory: Callable[[int, int], bytes],
    write_memory: Callable[[int, bytes], None],
    *,
    writable: frozenset[str] = frozenset(),
) -> FwCfg:
    """Plug the interface into *slot*, with *items* by selector and *files* by name to be read.

    The guest may write the files of *writable*, where there are such.
    ``read_memory(address, size)`` and ``write_memory(address, data)`` reach physical memory;
    they take any address from 0, also beyond 64 bits.  Raises ConfigError for contents that do not fit.
    """
    contents = contents_of(items, files, writable)
    card = FwCfg(contents, read_memory, write_memory)
    slot.register_ioport_write(PORT_SELECTOR, 1, 2, card.write_selector)
    slot.register_ioport_read(PORT_DATA, 1, 1, card.read_data)
    slot.register_ioport_read(PORT_DMA_HIGH, len(DMA_SIGNATURE), 1, card.read_dma)
    slot.register_ioport_write(PORT_DMA_HIGH, 1, 4, card.write_dma_high)
    slot.register_ioport_write(PORT_DMA_LOW, 1, 4, card.write_dma_low)
    slot.register_reset(card.reset)
    slot.register_state(SAVED, card)
    slot.register_state(SAVED_CONTENTS, contents)
    return card
