"""Physical memory: RAM at a fixed host address, the ROM, and the holes between them.

    0         RAM, in one piece from 0: A0000-BFFFF and the shadow of the ROM, E0000-FFFFF, included
    ram.size  nothing: reads all ones, swallows writes
    4G - rom  the ROM, as the processor finds it at reset

The RAM has one owner, `Ram`.  Its host address never changes, as the translated code refers to it; a
load puts new contents under the same address (`Ram.replace`).  It is backed by a file in
memory, whose holes tell at once which pages nobody has ever written.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

from emu import attrs
from emu.errors import ConfigError, HostError

PAGE_BYTES = 4096
MIB = 1 << 20
FOUR_GIB = 1 << 32
RAM_MOST = 2048 * MIB  # the holes and the ROM need their place below 4 GiB
ROM_MOST = 16 * MIB
SHADOW_BYTES = 128 * 1024  # the ROM's end, copied to RAM below 1 MiB at reset: E0000-FFFFF
ALL_ONES = 0xFF

ZERO_PAGE = bytes(PAGE_BYTES)

SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SIZE_DIGITS_MOST = 18

Invalidate = Callable[[int, int], None]  # physical address, length


class _File:
    """A file of zero bytes that lives in memory, or as near to it as the host has."""

    def __init__(self, size: int) -> None:
        if sys.platform == "linux":
            self.fd = os.memfd_create("emu-ram", os.MFD_CLOEXEC)
        else:
            import tempfile

            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        os.truncate(self.fd, size)

    def close(self) -> None:
        """Give it back, as happens anyway when nobody has it any more."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


@attrs.define(eq=False)
class Ram:
    """*size* bytes of RAM under the *name* that the save has for it."""

    name: str
    size: int
    _file: _File = attrs.field(init=False)
    _mapping: mmap.mmap = attrs.field(init=False)
    address: int = attrs.field(init=False)  # in the host's memory; it never changes
    _bytes: memoryview = attrs.field(init=False)
    _last_seen: dict[int, bytes] = attrs.field(init=False, factory=dict)  # for dirty()

    def __attrs_post_init__(self) -> None:
        if self.size <= 0 or self.size % PAGE_BYTES or self.size > RAM_MOST:
            raise ConfigError(
                f"{self.name}: {self.size} bytes, expected a multiple of 4 KiB up to 2 GiB"
            )
        try:
            self._get()
        except OSError as error:
            raise HostError(f"{self.name}: {self.size} bytes: {error.strerror}") from error

    def _get(self) -> None:
        """Get the memory from the host."""
        self._file = _File(self.size)
        if sys.platform == "linux":
            # Python's mapping of a file keeps the file: so this one is of none, and is mapped over.
            self._mapping = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            self._mapping = mmap.mmap(self._file.fd, self.size)
        array = (ctypes.c_ubyte * self.size).from_buffer(self._mapping)
        self.address = ctypes.addressof(array)
        self._bytes = memoryview(array).cast("B")
        if sys.platform == "linux":
            _map_over(self.address, self.size, self._file.fd)

    def close(self) -> None:
        """Give the memory back; nobody may be running on it."""
        self._bytes.release()
        if sys.platform == "linux":
            # The address is given back when nobody refers to it; what is there now, so that
            # machines that come and go do not pile up until Python looks for garbage.
            with contextlib.suppress(OSError):
                nothing = _File(self.size)
                _map_over(self.address, self.size, nothing.fd)
        self._file.close()

    # --- bytes ----------------------------------------------------------------------------

    def read(self, address: int, length: int) -> bytes:
        return bytes(self._bytes[address : address + length])

    def write(self, address: int, data: bytes) -> None:
        self._bytes[address : address + len(data)] = data

    # --- pages ----------------------------------------------------------------------------

    @property
    def pages(self) -> int:
        return self.size // PAGE_BYTES

    def page(self, number: int) -> bytes:
        """The contents of page *number*."""
        return self.read(number * PAGE_BYTES, PAGE_BYTES)

    def written(self) -> Iterator[range]:
        """Runs of pages that may hold something; all others were never written and are zero."""
        position = 0
        while position < self.size:
            try:
                start = os.lseek(self._file.fd, position, os.SEEK_DATA)
            except OSError:  # ENXIO: holes from here to the end
                return
            position = min(os.lseek(self._file.fd, start, os.SEEK_HOLE), self.size)
            yield range(start // PAGE_BYTES, -(-position // PAGE_BYTES))

    def hashes(self) -> dict[int, bytes]:
        """The BLAKE2b of each page that is not all zero, by page number."""
        found = {}
        for run in self.written():
            for number in run:
                start = number * PAGE_BYTES
                page = self._bytes[start : start + PAGE_BYTES]
                if page != ZERO_PAGE:
                    found[number] = page_hash(page)
        return found

    def dirty(self) -> list[int]:
        """The pages whose contents have changed since the last call; at first, all not zero."""
        seen = self.hashes()
        before, self._last_seen = self._last_seen, seen
        return sorted(
            number
            for number in before.keys() | seen.keys()
            if before.get(number) != seen.get(number)
        )

    # --- new contents ---------------------------------------------------------------------

    def another(self) -> Ram:
        """RAM of the same name and size, all zero, to load into."""
        return Ram(self.name, self.size)

    def replace(self, other: Ram) -> None:
        """Take over the contents of *other*, at this RAM's address; *other* is used up.

        Where the host can, the pages change hands and nothing is copied.
        """
        if sys.platform == "linux":
            _map_over(self.address, self.size, other._file.fd)
            self._file, other._file = other._file, self._file
        else:
            self._bytes[:] = other._bytes
        other.close()


class Block(Protocol):
    """What saving and loading want of a piece of RAM: `Ram`, or what takes the place of one."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def pages(self) -> int: ...

    def read(self, address: int, length: int) -> bytes: ...

    def page(self, number: int) -> bytes: ...

    def written(self) -> Iterator[range]: ...

    def another(self) -> Ram: ...

    def replace(self, other: Ram) -> None: ...


def _map_over(address: int, size: int, fd: int) -> None:
    """Map *fd* at *address* in place of what is mapped there."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    map_fixed = 0x10
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if libc.mmap(address, size, protection, mmap.MAP_SHARED | map_fixed, fd, 0) != address:
        raise OSError(ctypes.get_errno(), "mmap over the machine's RAM")


def page_hash(page: bytes | memoryview) -> bytes:
    """The BLAKE2b-128 of one page: what digests and comparisons of RAM are made of."""
    import hashlib

    return hashlib.blake2b(page, digest_size=16).digest()


def parse_size(size: int | str) -> int:
    """Bytes, from a number of them or text as ``-m`` takes it: ``16M``, ``1G``, plain is MiB."""
    if isinstance(size, int):
        return size
    digits, suffix = size, "M"
    if size and size[-1].upper() in SUFFIXES:
        digits, suffix = size[:-1], size[-1].upper()
    if not digits.isdecimal() or len(digits) > SIZE_DIGITS_MOST:
        raise ConfigError(f"memory {size!r}: expected a size such as 16M or 1G")
    return int(digits) * SUFFIXES[suffix]


class Physical(Protocol):
    """What a page walk wants of physical memory: `Memory`, or a saved machine's."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


@attrs.define(eq=False)
class Memory:
    """The physical address space: what a user, DMA and interrupt delivery see of it.

    `read` and `write` never fail: as on the bus, what is not there reads all ones.
    Whoever translates code sets `invalidate`, and is told of each write.
    """

    ram: Ram
    rom: Ram
    invalidate: Invalidate = attrs.field(init=False, default=lambda _address, _length: None)

    def __attrs_post_init__(self) -> None:
        if self.ram.size < MIB:
            raise ConfigError(f"{self.ram.size} bytes of RAM, expected 1 MiB at least")
        if self.rom.size > ROM_MOST:
            raise ConfigError(f"a ROM of {self.rom.size} bytes, expected 16 MiB at most")

    @property
    def rom_base(self) -> int:
        """Where the ROM begins; it ends at 4 GiB."""
        return FOUR_GIB - self.rom.size

    def fill_shadow(self) -> None:
        """Copy the end of the ROM to RAM, up to 1 MiB: what a reset does."""
        length = min(self.rom.size, SHADOW_BYTES)
        self.write(MIB - length, self.rom.read(self.rom.size - length, length))

    def read(self, address: int, length: int) -> bytes:
        """*length* bytes from physical *address* on."""
        if address + length <= self.ram.size:  # nearly always
            return self.ram.read(address, length)
        data = bytearray([ALL_ONES]) * length
        for region, base in ((self.ram, 0), (self.rom, self.rom_base)):
            start, end = max(address, base), min(address + length, base + region.size)
            if start < end:
                data[start - address : end - address] = region.read(start - base, end - start)
        return bytes(data)

    def write(self, address: int, data: bytes) -> None:
        """Put *data* at physical *address*; translated code of what it overwrites is dropped."""
        end = min(address + len(data), self.ram.size)
        if address < end:
            self.ram.write(address, data[: end - address])
            self.invalidate(address, end - address)

    def __getitem__(self, place: int | slice) -> int | bytes:
        """``memory[a]`` is a byte, ``memory[a:b]`` bytes; both ends of a slice are needed."""
        if isinstance(place, slice):
            if place.step is not None or place.start is None or place.stop is None:
                raise ValueError("a slice of memory has a start, a stop and no step")
            return self.read(place.start, max(0, place.stop - place.start))
        return self.read(place, 1)[0]
