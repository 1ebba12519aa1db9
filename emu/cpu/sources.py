"""What native.c and the other C files are, in one number that is compiled into their shared object.

In a checkout the sources can change and the shared object not: by a `git pull`, or a compiler that
fails.  Python and C would then differ in what they call and where they look.  So setup.py, which
runs this file by its path, passes the number of what it compiles, and preload.py compares.
"""

from __future__ import annotations

import ctypes
import os
import zlib

_FOLDER = os.path.dirname(__file__)
_CHECKOUT = os.path.dirname(os.path.dirname(_FOLDER))


def checksum() -> int:
    """CRC-32 of the C files that are here, in the order of their names."""
    crc = 0
    for name in sorted(os.listdir(_FOLDER)):
        if name.endswith((".c", ".h")):
            with open(f"{_FOLDER}/{name}", "rb") as file:
                crc = zlib.crc32(file.read(), crc)
    return crc


def can_change() -> bool:
    """True in a checkout; what is installed was written all at once."""
    return os.access(f"{_CHECKOUT}/setup.py", os.F_OK)


def are_compiled(library: ctypes.CDLL) -> bool:
    """True where *library* was compiled from what is here."""
    try:
        return ctypes.c_uint32.in_dll(library, "emu_native_sources").value == checksum()
    except ValueError:  # from before there was this number
        return False
