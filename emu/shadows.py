"""Shadows: what an access to a port does, where that is known without asking its card.

Polling is most of what guests do with ports: a status register is read ten thousand times until it
changes, and each time a card in Python would be asked.  So a card may let the shadow of a register
be seen.  The native engine then answers from it (emu/cpu/shadows.c) with no Python at all; the
reference engine asks the cards, and finds the same.

    shadow   of a byte port       a read finds             a write
    -------  -------------------  -----------------------  -------------------------------------------
    open     no card is there     FF                       goes nowhere
    shown    a register           the value last shown     asks the card
    stored   the same             the value last shown     is the value from now on; the card hears later
    mask     of what is on INTR   the value last shown     the same, and INTR follows
    index    chooses a cell       -                        chooses; the card hears later
    data     128 cells behind it  the chosen one's value   is its value, and the card hears later;
                                                           but a cell without a shadow asks the card
    counter  a counter            its count, low and high  asks the card
    command  of the counters      -                        a latch command holds a count, and the card
                                                           hears later; others ask the card

A shadow is an output of its card, as the level on a line is: `settle` shows what follows from the
State.  It may be shown where the card, asked instead, would give that very value and change
nothing; and stored, where a write would change nothing but that register.

What cards hear later, they hear by the ordinary way, and before anything else happens to any of
them: before a port access that asks a card, before an alarm, before the engine's run is over
(`Shadows.tell`).  So nobody can see that it was later.  How often a register was written in between
does not matter, and the last time counts.

The structures are those of shadows.c, field for field.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import ClassVar

PORTS = 1 << 16
CELLS = 128
COUNTERS = 3
STORES_MOST = 64

# What the shadow of a port is; 0: none, the card is asked.
SHOWN = 1 << 0
DROPPED = 1 << 1  # a write goes nowhere
STORED = 1 << 2
INDEX = 1 << 3
DATA = 1 << 4
COUNTER = 1 << 5
COMMAND = 1 << 6
WAITING = 1 << 7  # set by shadows.c: the card is yet to hear of it
OPEN = SHOWN | DROPPED
OPEN_VALUE = 0xFF

CELL_MASK = CELLS - 1
LATCH_SHIFT = 6


class _Counter(ctypes.Structure):
    """A counter that is read in two bytes, the low one first, and how it counts down."""

    _fields_: ClassVar = [
        ("start_ns", ctypes.c_int64),
        ("stopped_ns", ctypes.c_int64),
        ("latched_ns", ctypes.c_int64),
        ("n", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("latch", ctypes.c_uint32),
        ("has_latched", ctypes.c_uint8),
        ("is_latched", ctypes.c_uint8),
        ("is_half_read", ctypes.c_uint8),
        ("_unused", ctypes.c_uint8),
    ]
    start_ns: int
    stopped_ns: int
    latched_ns: int
    n: int
    mode: int
    has_latched: int
    is_latched: int
    is_half_read: int


class Table(ctypes.Structure):
    """All shadows of a machine."""

    _fields_: ClassVar = [
        ("kinds", ctypes.c_uint8 * PORTS),
        ("values", ctypes.c_uint8 * PORTS),
        ("cell_kinds", ctypes.c_uint8 * CELLS),
        ("cells", ctypes.c_uint8 * CELLS),
        ("counters", _Counter * COUNTERS),
        ("counter_hz", ctypes.c_int64),
        ("counter_port", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("mask_port", ctypes.c_uint32),
        ("requests", ctypes.c_uint32),
        # What the cards are yet to hear:
        ("waiting", ctypes.c_uint32),
        ("has_index", ctypes.c_uint32),
        ("stores", ctypes.c_uint32),
        ("cell_stores", ctypes.c_uint32),
        ("stored", ctypes.c_uint16 * STORES_MOST),
        ("stored_cells", ctypes.c_uint8 * CELLS),
        ("answered", ctypes.c_uint64),
    ]
    cell_kinds: ctypes.Array[ctypes.c_uint8]
    cells: ctypes.Array[ctypes.c_uint8]
    counters: ctypes.Array[_Counter]
    counter_hz: int
    counter_port: int
    index: int
    mask_port: int
    requests: int
    waiting: int
    has_index: int
    stores: int
    cell_stores: int
    stored: ctypes.Array[ctypes.c_uint16]
    stored_cells: ctypes.Array[ctypes.c_uint8]
    answered: int


class Shadow:
    """One register's."""

    __slots__ = ("_kinds", "_port", "_values")

    def __init__(self, shadows: Shadows, port: int) -> None:
        self._kinds, self._values, self._port = shadows.kinds, shadows.values, port

    def show(self, value: int) -> None:
        """A read finds *value*, and changes nothing."""
        self._values[self._port] = value
        self._kinds[self._port] = SHOWN

    def show_stored(self, value: int) -> None:
        """The same; and a write changes only this register, which reads as written."""
        self._values[self._port] = value
        self._kinds[self._port] = SHOWN | STORED

    def hide(self) -> None:
        """The card is to be asked."""
        self._kinds[self._port] = 0


class MaskShadow(Shadow):
    """That of the register that masks interrupt requests on their way to INTR."""

    __slots__ = ("_table",)

    def __init__(self, shadows: Shadows, port: int) -> None:
        super().__init__(shadows, port)
        self._table = shadows.table
        self._table.mask_port = port

    def show_mask(self, value: int, requests: int) -> None:
        """A write changes only this register, and INTR: high where not all *requests* are masked."""
        self._table.requests = requests
        self.show_stored(value)


class CellShadows:
    """Those of registers that are reached by an index port and a data port."""

    def __init__(self, shadows: Shadows, index_port: int, data_port: int) -> None:
        self._table = shadows.table
        self._kinds = memoryview(shadows.table.cell_kinds).cast("B")
        self._cells = memoryview(shadows.table.cells).cast("B")
        self.index_port, self.data_port = index_port, data_port
        shadows.kinds[index_port] |= INDEX
        shadows.kinds[data_port] = DATA

    def choose(self, index: int) -> None:
        """*index* is what was last written to the index port."""
        self._table.index = index

    def show_stored(self, first: int, values: bytes) -> None:
        """Show cells from number *first* on; a write changes only the cell."""
        end = first + len(values)
        self._kinds[first:end] = bytes([SHOWN | STORED]) * len(values)
        self._cells[first:end] = values

    def hide(self, cell: int) -> None:
        """The card is to be asked."""
        self._kinds[cell] = 0


class CounterShadows:
    """Those of counters, whose ports are followed by the command port."""

    def __init__(self, shadows: Shadows, first_port: int, hz: int) -> None:
        self._table, self._kinds, self._port = shadows.table, shadows.kinds, first_port
        self._table.counter_port, self._table.counter_hz = first_port, hz
        self._kinds[first_port + COUNTERS] |= COMMAND

    def show(self, number: int, mode: int, n: int, start_ns: int, stopped_ns: int) -> None:
        """Counter *number* counts down from *n*, as `count` of i8254.py has it; its low byte is
        read next, and nothing is latched.
        """
        counter = self._table.counters[number]
        counter.mode, counter.n = mode, n
        counter.start_ns, counter.stopped_ns = start_ns, stopped_ns
        self._kinds[self._port + number] = COUNTER

    def hide(self, number: int) -> None:
        """The card is to be asked."""
        self._kinds[self._port + number] = 0


class Shadows:
    """Every shadow of one machine; `Ports` has it, and tells where it is open."""

    def __init__(self) -> None:
        self.table = Table()
        self.kinds = memoryview(self.table.kinds).cast("B")
        self.values = memoryview(self.table.values).cast("B")
        self.kinds[:] = bytes([OPEN]) * PORTS
        self.values[:] = bytes([OPEN_VALUE]) * PORTS
        self._pair: CellShadows | None = None

    # --- whose they are -------------------------------------------------------------------

    def claim_read(self, port: int) -> None:
        """A card answers byte reads at *port*."""
        self.kinds[port] &= ~SHOWN

    def claim_write(self, port: int) -> None:
        """A card takes byte writes at *port*."""
        self.kinds[port] &= ~DROPPED

    def one(self, port: int) -> Shadow:
        return Shadow(self, port)

    def mask(self, port: int) -> MaskShadow:
        """Of the one register that masks what reaches INTR."""
        return MaskShadow(self, port)

    def cells(self, index_port: int, data_port: int) -> CellShadows:
        """Of the one pair of an index and a data port that a machine may have shadows of."""
        self._pair = CellShadows(self, index_port, data_port)
        return self._pair

    def counters(self, first_port: int, hz: int) -> CounterShadows:
        """Of the one set of three counters, and the command port behind them."""
        return CounterShadows(self, first_port, hz)

    # --- what cards hear later ------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """There is something that the cards have not heard yet."""
        return bool(self.table.waiting)

    def tell(
        self,
        read: Callable[[int, int], int],
        write: Callable[[int, int, int], None],
        pass_time_to: Callable[[int], None],
    ) -> None:
        """Let the cards hear what has been answered without them.

        *read* takes port and size, *write* port, value and size.  Time is passed to instants that
        have been, and before which no alarm is due.
        """
        table = self.table
        ports = [(port, self.values[port]) for port in table.stored[: table.stores]]
        cells = [(cell, table.cells[cell]) for cell in table.stored_cells[: table.cell_stores]]
        index = table.index if table.has_index or cells else None
        counters = [
            (number, counter.latched_ns if counter.has_latched else None, _reads(counter))
            for number, counter in enumerate(table.counters)
        ]
        table.waiting = table.stores = table.cell_stores = table.has_index = 0
        for port, _ in ports:
            self.kinds[port] &= ~WAITING
        for cell, _ in cells:
            table.cell_kinds[cell] &= ~WAITING
        for counter in table.counters:
            counter.has_latched = counter.is_latched = counter.is_half_read = 0

        for number, latched_ns, reads in sorted(counters, key=lambda each: each[1] or 0):
            if latched_ns is not None:
                pass_time_to(latched_ns)
                write(table.counter_port + COUNTERS, number << LATCH_SHIFT, 1)
            for _ in range(reads):
                read(table.counter_port + number, 1)
        for port, value in ports:
            write(port, value, 1)
        if index is not None and self._pair is not None:
            for cell, value in cells:
                write(self._pair.index_port, index & ~CELL_MASK | cell, 1)
                write(self._pair.data_port, value, 1)
            write(self._pair.index_port, index, 1)


def _reads(counter: _Counter) -> int:
    """How many reads have brought it to where it is, since a count was last latched, if it was."""
    if counter.is_latched or not counter.has_latched:
        return int(counter.is_half_read)
    return 2 + counter.is_half_read
