"""The shared object of native.c and the other C files, in the process before Unicorn is.

Its functions stand in for Unicorn's, so it must be in the global scope when the dynamic linker comes
to Unicorn's: the package imports it first of all.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys

from emu.cpu import sources

STALE = "emu/cpu/native.c was compiled from other sources; install again"
_UNICORNS_FILES = {"darwin": "libunicorn.2.dylib", "win32": "unicorn.dll"}


def _find_unicorn() -> str:
    """The path of the library, which comes with the Python package; that is not imported."""
    spec = importlib.util.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'unicorn'")  # as `import unicorn` would say
    file = _UNICORNS_FILES.get(sys.platform, "libunicorn.so.2")
    return f"{spec.submodule_search_locations[0]}/lib/{file}"


def _is_loaded(path: str) -> bool:
    """True where the library is in the process already."""
    try:
        ctypes.CDLL(path, os.RTLD_NOLOAD)
    except OSError:
        return False
    return True


def _load() -> ctypes.CDLL | str:
    """Load it, or say in one line why not."""
    machine = os.uname().machine if sys.platform == "linux" else "another machine"
    if machine != "x86_64":
        return f"made for Linux on x86-64, this is {sys.platform} on {machine}"
    if _is_loaded(UNICORN):
        return "unicorn was imported before emu"
    spec = importlib.util.find_spec("emu.cpu._native")
    if spec is None or spec.origin is None or not os.access(spec.origin, os.F_OK):
        return "emu/cpu/native.c was not compiled when emu was installed (no C compiler?)"
    try:
        if sources.can_change() and not sources.are_compiled(ctypes.CDLL(spec.origin)):
            return STALE
        return ctypes.CDLL(spec.origin, ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f"the compiled native.c does not load: {error}"


UNICORN = _find_unicorn()
LOADED = _load()
