"""Every exception a user of `emu` can meet, on one page.

    EmuError                    the root: catch this one to catch them all
    ├── ConfigError             a machine that cannot be built as it was asked for
    ├── StreamError             a save that cannot be read
    │   └── ExportError         a machine that the chosen dialect cannot express
    └── HostError               the host's side failed: a file, a socket, a terminal

A guest never causes one of these: whatever it does, it gets what the hardware
would have done.  And our own mistakes are none of these either: they surface as
Python's exceptions, with their traceback.
"""

from __future__ import annotations


class EmuError(Exception):
    """Something outside the emulator is not as it has to be; the message is one line."""


class ConfigError(EmuError):
    """The machine asked for cannot be built: unknown board, wrong ROM size, port taken twice."""


class HostError(EmuError):
    """A file, socket or terminal of the host refused what was asked of it."""


class StreamError(EmuError):
    """A saved machine cannot be read.  Whatever was being loaded into is as it was before.

    The parts of the message are kept for programs: *section* is ``idstr/instance``,
    *field* the name of the field in it, *offset* the byte of the stream where the reader
    was, *found* and *expected* what it saw there and what it would have taken.  Each is
    None where it does not apply.
    """

    def __init__(
        self,
        problem: str,
        *,
        section: str | None = None,
        field: str | None = None,
        offset: int | None = None,
        found: object = None,
        expected: object = None,
    ) -> None:
        self.problem = problem
        self.section = section
        self.field = field
        self.offset = offset
        self.found = found
        self.expected = expected
        super().__init__(str(self))

    def __str__(self) -> str:
        where = []
        if self.section is not None:
            where.append(f"section {self.section!r}")
        if self.field is not None:
            where.append(f"field {self.field!r}")
        if self.offset is not None:
            where.append(f"offset {self.offset:#x}")
        text = f"{', '.join(where)}: {self.problem}" if where else self.problem
        if self.found is not None:
            text += f", found {self.found}"
        if self.expected is not None:
            text += f", expected {self.expected}"
        return text


class ExportError(StreamError):
    """The machine holds something that the chosen dialect has no words for."""
