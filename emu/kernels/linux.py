"""Linux: a bzImage, entered by the 32-bit boot protocol.

    file                                     memory
    ------------------------------------     -------------------------------------------------
    0      boot sector       -> 1F1-         boot_params, the "zero page": the header, and more
    200    setup, real mode     not used     command line
    (setup_sects + 1) * 512
           protected mode    ->              100000h, and entered there
                                             initrd: as high as it may be

    boot_params  what is put there
    -----------  ----------------------------------------------------------------------------
    002          ext_mem_k       KiB above 1 MiB, 64 MiB - 1 KiB at most
    1E0          alt_mem_k       KiB above 1 MiB
    1E8 2D0      e820            how many entries; each: start, size, type
    1F1-         the file's setup header, with these written to it:
      210          type_of_loader  FF: one that has no number
      218 21C      ramdisk         address, size
      228          cmd_line_ptr

    ESI = boot_params, EBP = EDI = EBX = 0

All else of boot_params is zero: no screen, no EFI, no disks that a BIOS would know of.

A relocatable kernel moves itself, before it unpacks, to the first multiple of
kernel_alignment that is not below pref_address; from there on it needs init_size bytes.

Not modelled: zImages, which are loaded low; protocols before 2.02, in which the command line was found
otherwise; kernels of 64 bits, as no processor here is; setup_data.

Source: Linux, Documentation/x86/boot.rst ("The Real-Mode Kernel Header", "Details of Header
Fields", "32-bit Boot Protocol") and zero-page.rst.
"""

from __future__ import annotations

import struct

from emu.errors import ConfigError
from emu.kernels.placement import GDT, Piece, Placement, Room, memory_map
from emu.memory import MIB

SECTOR_BYTES = 512
PARAGRAPH_BYTES = 16
ZERO_PAGE_BYTES = 4096

EXT_MEM_K = 0x002
ALT_MEM_K = 0x1E0
E820_ENTRIES = 0x1E8
HEADER = 0x1F1
SETUP_SECTS = 0x1F1
SYSSIZE = 0x1F4
BOOT_FLAG = 0x1FE
JUMP_DISTANCE = 0x201  # of the jump over the header, which so tells where that ends
HEADER_MAGIC = 0x202
VERSION = 0x206
TYPE_OF_LOADER = 0x210
LOADFLAGS = 0x211
CODE32_START = 0x214
RAMDISK_IMAGE = 0x218
RAMDISK_SIZE = 0x21C
CMD_LINE_PTR = 0x228
INITRD_ADDR_MAX = 0x22C
KERNEL_ALIGNMENT = 0x230
RELOCATABLE_KERNEL = 0x234
XLOADFLAGS = 0x236
CMDLINE_SIZE = 0x238
PREF_ADDRESS = 0x258
INIT_SIZE = 0x260
HEADER_LEAST = 0x268  # a file must be so long to have all of these
E820_TABLE = 0x2D0

BOOT_FLAG_VALUE = b"\x55\xaa"
MAGIC = b"HdrS"
LOADED_HIGH = 1 << 0
XLF_KERNEL_64 = 1 << 0
NO_NUMBER = 0xFF
DEFAULT_SETUP_SECTS = 4  # what 0 means
DEFAULT_INITRD_ADDR_MAX = 0x37FF_FFFF
DEFAULT_CMDLINE_SIZE = 255
EXT_MEM_K_MOST = 63 * 1024

E820_ENTRY = struct.Struct("<QQI")


def is_linux(kernel: bytes) -> bool:
    """True for a file with Linux's setup header."""
    return (
        kernel[BOOT_FLAG:HEADER_MAGIC][:2] == BOOT_FLAG_VALUE
        and kernel[HEADER_MAGIC : HEADER_MAGIC + 4] == MAGIC
    )


def place(kernel: bytes, initrd: bytes, command_line: str, memory_bytes: int) -> Placement:
    """The placement of *kernel*, for which `is_linux`, in so much RAM.

    Raises ConfigError for a kernel that is damaged or not for this machine, and for what does
    not fit.
    """
    if len(kernel) < HEADER_LEAST:
        raise ConfigError("Linux kernel: the file ends within its header")
    version = _field(kernel, VERSION, 2)
    _check(kernel, version)
    code = _protected_mode_code(kernel, version)
    start = _field(kernel, CODE32_START, 4)
    room = Room(memory_bytes)
    room.claim("Linux kernel", start, max(start + len(code), _end_at_run(kernel, version, start)))
    pieces = [Piece(start, code)]

    parameters = bytearray(ZERO_PAGE_BYTES)
    header_end = HEADER_MAGIC + kernel[JUMP_DISTANCE]
    parameters[HEADER:header_end] = kernel[HEADER:header_end]
    _put(parameters, TYPE_OF_LOADER, 1, NO_NUMBER)
    extended_kib = (memory_bytes - MIB) // 1024
    _put(parameters, EXT_MEM_K, 2, min(extended_kib, EXT_MEM_K_MOST))
    _put(parameters, ALT_MEM_K, 4, extended_kib)
    regions = memory_map(memory_bytes)
    _put(parameters, E820_ENTRIES, 1, len(regions))
    for number, region in enumerate(regions):
        entry = region.start, region.end - region.start, region.type
        E820_ENTRY.pack_into(parameters, E820_TABLE + number * E820_ENTRY.size, *entry)

    zero_page = room.find("Linux boot parameters", ZERO_PAGE_BYTES)
    words = _command_line(command_line, kernel, version)
    at = room.find("command line", len(words))
    pieces.append(Piece(at, words))
    _put(parameters, CMD_LINE_PTR, 4, at)
    if initrd:
        most = _field(kernel, INITRD_ADDR_MAX, 4) if version >= 0x203 else DEFAULT_INITRD_ADDR_MAX
        at = room.find_last("initrd", len(initrd), below=most + 1)
        pieces.append(Piece(at, initrd))
        _put(parameters, RAMDISK_IMAGE, 4, at)
        _put(parameters, RAMDISK_SIZE, 4, len(initrd))
    pieces.append(Piece(zero_page, bytes(parameters)))
    gdt = room.find("GDT", len(GDT))
    pieces.append(Piece(gdt, GDT))
    return Placement(pieces, gdt, entry=start, esi=zero_page, command_line=command_line)


def _check(kernel: bytes, version: int) -> None:
    if version < 0x202:
        raise ConfigError(
            f"Linux kernel: boot protocol {version >> 8}.{version & 0xFF:02}, expected 2.02 or later"
        )
    if not kernel[LOADFLAGS] & LOADED_HIGH:
        raise ConfigError("Linux kernel: a zImage, expected a bzImage")
    if version >= 0x20C and _field(kernel, XLOADFLAGS, 2) & XLF_KERNEL_64:
        raise ConfigError("Linux kernel: for processors of 64 bits, and this machine's has 32")


def _protected_mode_code(kernel: bytes, version: int) -> bytes:
    """What is behind the sectors of the setup; ConfigError where its end is missing."""
    start = ((kernel[SETUP_SECTS] or DEFAULT_SETUP_SECTS) + 1) * SECTOR_BYTES
    least = start + 1
    if version >= 0x204:  # SYSSIZE is in paragraphs, and not every kernel's last one is full
        least = start + max(1, _field(kernel, SYSSIZE, 4) * PARAGRAPH_BYTES - PARAGRAPH_BYTES + 1)
    if len(kernel) < least:
        raise ConfigError(f"Linux kernel: cut short: {len(kernel)} bytes, expected {least} or more")
    return kernel[start:]


def _end_at_run(kernel: bytes, version: int, start: int) -> int:
    """Where the memory ends that the kernel needs before it has looked for any."""
    if version < 0x20A:
        return start
    runs_at = start
    if kernel[RELOCATABLE_KERNEL]:
        alignment = _field(kernel, KERNEL_ALIGNMENT, 4) or 1
        runs_at = -(-max(start, _field(kernel, PREF_ADDRESS, 8)) // alignment) * alignment
    return runs_at + _field(kernel, INIT_SIZE, 4)


def _command_line(text: str, kernel: bytes, version: int) -> bytes:
    words = text.encode()
    most = _field(kernel, CMDLINE_SIZE, 4) if version >= 0x206 else DEFAULT_CMDLINE_SIZE
    if len(words) > most:
        raise ConfigError(f"command line: {len(words)} bytes, and the kernel takes {most}")
    return words + b"\0"


def _field(kernel: bytes, offset: int, size: int) -> int:
    return int.from_bytes(kernel[offset : offset + size], "little")


def _put(parameters: bytearray, offset: int, size: int, value: int) -> None:
    parameters[offset : offset + size] = value.to_bytes(size, "little")
