"""The I/O ports: 65,536 addresses, and who answers at each.

A handler is registered for a range of ports and one access size (1, 2 or 4 bytes).  An access
for which nothing of its size is registered falls apart into two of half its size, low address
first, as the ISA bus does with a 16-bit access to an 8-bit card.  A byte nobody answers reads
all ones, and goes nowhere when written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from emu import attrs
from emu.errors import ConfigError
from emu.shadows import Shadows

ReadHandler = Callable[[int], int]
WriteHandler = Callable[[int, int], None]

Handler = TypeVar("Handler")

PORTS = 1 << 16
SIZES = (1, 2, 4)
OPEN_BUS = 0xFF  # what a byte reads when no card drives the data lines


@attrs.define(eq=False)
class Ports:
    """Every port handler of one machine."""

    _reads: dict[int, dict[int, ReadHandler]] = attrs.field(
        init=False, factory=lambda: {size: {} for size in SIZES}
    )
    _writes: dict[int, dict[int, WriteHandler]] = attrs.field(
        init=False, factory=lambda: {size: {} for size in SIZES}
    )

    shadows: Shadows = attrs.field(init=False, factory=Shadows)

    def register_ioport_read(
        self, start: int, length: int, size: int, handler: ReadHandler
    ) -> None:
        """Let *handler* answer reads of *size* bytes at ports start .. start+length-1.

        The handler is given the port's address and returns a value that fits in *size* bytes.
        Raises ConfigError where the range is not within the 64 Ki ports, *size* is not 1, 2
        or 4, or a port is answered already.
        """
        _claim(self._reads, start, length, size, handler, "read")
        if size == 1:
            for port in range(start, start + length):
                self.shadows.claim_read(port)

    def register_ioport_write(
        self, start: int, length: int, size: int, handler: WriteHandler
    ) -> None:
        """Let *handler* take writes of *size* bytes at ports start .. start+length-1."""
        _claim(self._writes, start, length, size, handler, "write")
        if size == 1:
            for port in range(start, start + length):
                self.shadows.claim_write(port)

    def read(self, port: int, size: int) -> int:
        """What the CPU's IN of *size* bytes at *port* finds."""
        handler = self._reads[size].get(port)
        if handler is not None:
            return handler(port)
        if size == 1:
            return OPEN_BUS
        half = size // 2
        low = self.read(port, half)
        return low | self.read((port + half) % PORTS, half) << 8 * half

    def write(self, port: int, value: int, size: int) -> None:
        """What the CPU's OUT of *size* bytes at *port* does."""
        handler = self._writes[size].get(port)
        if handler is not None:
            handler(port, value)
        elif size > 1:
            half = size // 2
            self.write(port, value & (1 << 8 * half) - 1, half)
            self.write((port + half) % PORTS, value >> 8 * half, half)


def _claim(
    tables: dict[int, dict[int, Handler]],
    start: int,
    length: int,
    size: int,
    handler: Handler,
    access: str,
) -> None:
    """Enter *handler* at each port of a range, or refuse the range whole."""
    if size not in SIZES:
        raise ConfigError(f"port access size {size}, expected 1, 2 or 4")
    if length < 1 or not 0 <= start <= PORTS - length:
        raise ConfigError(f"ports {start:#x} and {length} on: not within the 64 Ki ports")
    table = tables[size]
    ports = range(start, start + length)
    if taken := [port for port in ports if port in table]:
        raise ConfigError(f"port {taken[0]:#x}: {access}s of {size} bytes are answered already")
    table.update(dict.fromkeys(ports, handler))
