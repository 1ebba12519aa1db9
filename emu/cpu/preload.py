"""The shared object of native.c and corrections.c, in the process before Unicorn is.

Its functions stand in for Unicorn's, so it must be in the global scope when the dynamic linker comes
to Unicorn's: the package imports it first of all.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import sys
from pathlib import Path

_ALREADY_IMPORTED = "unicorn" in sys.modules


def _load() -> ctypes.CDLL | str:
    """Load it, or say in one line why not."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"made for Linux on x86-64, this is {sys.platform} on {platform.machine()}"
    if _ALREADY_IMPORTED:
        return "unicorn was imported before emu"
    spec = importlib.util.find_spec("emu.cpu._native")
    if spec is None or spec.origin is None or not Path(spec.origin).exists():
        return "emu/cpu/native.c was not compiled when emu was installed (no C compiler?)"
    try:
        return ctypes.CDLL(spec.origin, ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f"the compiled native.c does not load: {error}"


LOADED = _load()
