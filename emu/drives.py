"""What our ROM boots from: drives, and a program that it loads whole.

Each is a file of fw_cfg, which the ROM's INT 13h and INT 19h look for:

    file            what it is                      where it comes from
    --------------  ------------------------------  ------------------------------------------
    opt/emu/floppy  drive 00h, 160 KiB to 2.88 MB   -fda; an image that is as long as a floppy
    opt/emu/disk    drive 80h, up to 64 MiB         -hda; any other image with a boot sector
    opt/emu/guest   a program, up to 512 KiB        an image without one

An image has a boot sector if the bytes at 510 and 511 are 55h AAh.  It need not be whole sectors:
a floppy is filled up with zeros, a disk reads as zeros past its end.

What a guest writes to a drive is in the machine and in its saves.  The file of the host is never
changed.
"""

from __future__ import annotations

from emu import images
from emu.errors import ConfigError

GUEST = "opt/emu/guest"
FLOPPY = "opt/emu/floppy"
DISK = "opt/emu/disk"
WRITABLE = frozenset({FLOPPY, DISK})

GUEST_MOST = 512 * 1024  # what the ROM loads
DISK_MOST = 64 << 20  # what fw_cfg holds
SECTOR_BYTES = 512
BOOT_MARK = b"\x55\xaa"  # the end of a boot sector

# From the first PC's to the last; a file of another length is taken for one of the last two.
FLOPPIES = tuple(kib * 1024 for kib in (160, 180, 320, 360, 720, 1200, 1440, 2880))


def files(
    image: images.Source | None, floppy: images.Source | None, disk: images.Source | None
) -> dict[str, bytes]:
    """The files for fw_cfg: of *image*, which is whatever it looks like, and of the drives named.

    Raises HostError for what cannot be read, ConfigError for what is too large, and where the
    image takes a drive that is named, too.
    """
    found = {}
    if floppy is not None:
        found[FLOPPY] = _read(floppy)
    if disk is not None:
        found[DISK] = _read(disk)
    if image is not None:
        data = images.guest(image, DISK_MOST)
        kind = _kind(data)
        if kind is GUEST and len(data) > GUEST_MOST:
            raise ConfigError(
                f"an image of {len(data)} bytes without a boot sector, {GUEST_MOST} at the most"
            )
        if kind in found:
            raise ConfigError(f"two images for one drive: this one is a {kind.split('/')[-1]}, too")
        found[kind] = data
    if FLOPPY in found:
        found[FLOPPY] = _whole_floppy(found[FLOPPY])
    if DISK in found:
        found[DISK] = found[DISK].ljust(SECTOR_BYTES, b"\0")
    return found


def _read(source: images.Source) -> bytes:
    """What is on a drive, by its file or its contents."""
    if not isinstance(source, bytes):
        return images.read(source, DISK_MOST)
    if len(source) > DISK_MOST:
        raise ConfigError(f"a drive of {len(source)} bytes, {DISK_MOST} at the most")
    return source


def _kind(data: bytes) -> str:
    """Which file an image that is given without a word becomes."""
    if data[SECTOR_BYTES - len(BOOT_MARK) : SECTOR_BYTES] != BOOT_MARK:
        return GUEST
    return FLOPPY if len(data) in FLOPPIES else DISK


def _whole_floppy(data: bytes) -> bytes:
    """*data* and as many zeros as make a floppy of it."""
    if len(data) in FLOPPIES:
        return data
    for size in FLOPPIES[-2:]:
        if len(data) < size:
            return data.ljust(size, b"\0")
    raise ConfigError(f"a floppy of {len(data)} bytes, {FLOPPIES[-1]} at the most")
