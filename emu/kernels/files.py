"""What a user names, and the placement that comes of it: files are read, their kind recognised.

    place_kernel("vmlinuz", "initrd.img", "console=ttyS0", memory_bytes)
    place_kernel("kernel.elf", "first.mod with words,second.mod", "debug", memory_bytes)
    place_flat([("flat.bin", 0x100000)], None, memory_bytes)

A Multiboot kernel takes several modules: the initrd is a list then, as QEMU has it, with commas
between files and the module's words behind each; a comma in a name is written twice.  What the
kernel reads of itself and of each module is the file's name, without its folder, and the words:
so two people who keep the same files in other places have the same machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from emu import images
from emu.errors import ConfigError
from emu.images import Source
from emu.kernels import elf32, flat, linux, multiboot
from emu.kernels.multiboot import Module
from emu.kernels.placement import Placement

UNNAMED = "kernel", "initrd"  # what bytes are called, where a file has a name


def place(
    kernel: Source | None,
    initrd: Source | None,
    command_line: str,
    flat_images: Sequence[tuple[Source, int]],
    entry: int | None,
    memory_bytes: int,
) -> Placement:
    """The placement of whichever of these a user has given: a kernel, or flat images.

    Raises ConfigError where they do not go together, and as the one that is placed does.
    """
    if kernel is None and (initrd is not None or command_line):
        raise ConfigError("an initrd and a command line are for a kernel, and there is none")
    if not flat_images and entry is not None:
        raise ConfigError("an entry is for flat images, and there is none")
    if kernel is None:
        return place_flat(flat_images, entry, memory_bytes)
    if flat_images:
        raise ConfigError("a kernel and flat images exclude each other")
    return place_kernel(kernel, initrd, command_line, memory_bytes)


def place_kernel(
    kernel: Source, initrd: Source | None, command_line: str, memory_bytes: int
) -> Placement:
    """The placement of the Linux or Multiboot kernel that *kernel* names, or is.

    Raises HostError for a file that cannot be read, ConfigError for one that is no kernel, is
    damaged, or does not fit in so much RAM.
    """
    name, data = _read(kernel, UNNAMED[0], memory_bytes)
    if "\0" in command_line:
        raise ConfigError("command line: no zero byte can be in it")
    if linux.is_linux(data):
        _, files = _read(initrd, UNNAMED[1], memory_bytes) if initrd is not None else ("", b"")
        return _named(name, lambda: linux.place(data, files, command_line, memory_bytes))
    if multiboot.header_at(data) is not None:
        modules = _modules(initrd, memory_bytes)
        words = f"{name} {command_line}".rstrip()
        return _named(name, lambda: multiboot.place(data, modules, words, memory_bytes))
    if data.startswith(elf32.MAGIC):
        raise ConfigError(f"{name}: an ELF file without a Multiboot header")
    raise ConfigError(f"{name}: not a kernel: neither a Linux bzImage nor Multiboot")


def place_flat(
    files: Sequence[tuple[Source, int]], entry: int | None, memory_bytes: int
) -> Placement:
    """The placement of flat images, (file, address); entered at *entry*, or else at the first.

    Raises HostError for a file that cannot be read, ConfigError for what does not fit.
    """
    if not files:
        raise ConfigError("no flat image to load")
    images_ = [(_read(file, "flat image", memory_bytes)[1], address) for file, address in files]
    return flat.place(images_, files[0][1] if entry is None else entry, memory_bytes)


def _read(source: Source, unnamed: str, most: int) -> tuple[str, bytes]:
    """The name of a file without its folder, and what is in it: no more than *most* bytes."""
    if isinstance(source, bytes):
        return unnamed, source
    return Path(source).name, images.read(source, most)


def _named(name: str, place: Callable[[], Placement]) -> Placement:
    """What *place* makes; whose file it is that it cannot is said."""
    try:
        return place()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _modules(initrd: Source | None, most: int) -> list[Module]:
    if initrd is None:
        return []
    if isinstance(initrd, bytes):
        return [Module(initrd, UNNAMED[1])]
    modules = []
    for each in _split(os.fspath(initrd)):
        file, space, words = each.partition(" ")
        name, data = _read(file, UNNAMED[1], most)
        modules.append(Module(data, name + space + words))
    return modules


def _split(text: str) -> list[str]:
    """The parts between commas; two commas are one that is in a part."""
    parts = [""]
    for piece in re.split("(,,|,)", text):
        if piece == ",":
            parts.append("")
        else:
            parts[-1] += "," if piece == ",," else piece
    return parts
