"""A small PC that can be saved at any moment and restored so that nobody can tell.

>>> import emu
>>> vm = emu.Machine("hello", memory="1M")
>>> vm.run(until=emu.serial("Hello"))
>>> vm.save("hello.emu")
"""

# The native engine has to be looked at before anything imports Unicorn.
from emu.cpu import native as _native  # noqa: F401
from emu.errors import ConfigError, EmuError, ExportError, HostError, StreamError
from emu.machine import Machine, load
from emu.until import Reason, Stopped, after, clock, serial

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
