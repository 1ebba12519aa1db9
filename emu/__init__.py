"""A small PC that can be saved at any moment and restored so that nobody can tell.

>>> import emu
>>> vm = emu.Machine("hello", memory="1M")
>>> vm.run(until=emu.serial("Hello"))
>>> vm.save("hello.emu")
"""

from typing import TYPE_CHECKING

# The native engine's shared object has to be there before anything imports Unicorn.
from emu.cpu import preload as _preload  # noqa: F401
from emu.errors import ConfigError, EmuError, ExportError, HostError, StreamError
from emu.until import Reason, Stopped, after, clock, serial

if TYPE_CHECKING:
    from emu.machine import Machine, load

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "EmuError",
    "ExportError",
    "HostError",
    "Machine",
    "Reason",
    "Stopped",
    "StreamError",
    "after",
    "clock",
    "load",
    "serial",
]


def __getattr__(name: str) -> object:
    """`Machine` and `load`: they bring in all the rest, which not everybody needs at once."""
    if name in {"Machine", "load"}:
        from emu import machine

        return getattr(machine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
