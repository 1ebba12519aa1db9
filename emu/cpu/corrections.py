"""What corrections.c puts right, put right for an engine of ours.

Where its shared object is not in the process, Unicorn's processor stays as it is: the guests that the
head of corrections.c names find another machine, and two of them end the process.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import ClassVar

from emu.cpu import binding, preload
from emu.cpu.layout import Registers
from emu.cpu.models import Model
from emu.cpu.state import NO_EXCEPTION
from emu.cpu.stepping import Pace
from emu.cpu.vectors import PF


class Corrected(ctypes.Structure):
    """A processor made known: struct emu_corrections_processor of corrections.h, field for field."""

    _fields_: ClassVar = [
        ("cpu", ctypes.c_void_p),
        ("env", ctypes.c_void_p),
        ("cr2", ctypes.c_uint64),
        ("fetching", ctypes.c_uint32),
        ("cpuid_edx", ctypes.c_uint32),
        ("cpuid_ecx", ctypes.c_uint32),
        ("hits", ctypes.c_uint32),
        ("again", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
    ]
    cr2: int
    fetching: int
    again: int

    def is_ahead(self, vector: int, pace: Pace) -> bool:
        """True where exception *vector* is a fault of fetching ahead: nothing of its block has run.

        Not so where it is the first instruction itself that cannot be fetched, as a step at that
        *pace* will show.
        """
        if vector != PF or not self.fetching:
            return False
        self.fetching = 0
        return pace not in (Pace.FIRST, Pace.NEXT)

    def take_back(self, registers: Registers) -> None:
        """Undo what the fault has done to *registers*: it is yet to come."""
        registers.cr[2] = self.cr2
        registers.old_exception = NO_EXCEPTION
        registers.error_code = 0


def _bind(library: ctypes.CDLL) -> str | None:
    """Give the shared object the library's functions; None, or what is missing."""
    return binding.bind(
        library.emu_corrections_bind,
        library.emu_translating_bind,
        library.emu_interrupt_flag_bind,
        library.emu_floating_bind,
        library.emu_breakpoints_bind,
        library.emu_tasks_bind,
    )


# Once the shared object is loaded it must be bound, known build or not: it forwards.
PROBLEM = preload.LOADED if isinstance(preload.LOADED, str) else _bind(preload.LOADED)


def correct(uc: binding.Unicorn, model: Model) -> Corrected:
    """Have *uc*'s processor do what the manual says, if that can be had, until *uc* is gone."""
    library = preload.LOADED
    corrected = Corrected()
    if not isinstance(library, str) and PROBLEM is None and binding.KNOWN_BUILD:
        places = binding.find_structures(uc)
        leaf = model.cpuid(1)
        corrected = Corrected(
            cpu=places.cpu, env=places.env, cpuid_edx=leaf.edx, cpuid_ecx=leaf.ecx
        )
        library.emu_corrections_add(ctypes.byref(corrected))
        # Nobody may forget this one: the library would go on to look at memory that is gone.
        weakref.finalize(uc, library.emu_corrections_remove, ctypes.byref(corrected))
    return corrected
