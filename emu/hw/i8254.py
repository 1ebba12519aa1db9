"""Intel 8254: the programmable interval timer, three 16-bit down counters.

In the PC the CLK of all three is 14.31818 MHz / 12; OUT 0 is IRQ 0, OUT 1 used to ask for the
refresh of RAM, OUT 2 goes to the loudspeaker and to port 61h, where GATE 2 comes from.  GATE 0
and 1 are tied high.

    port  read                  write
    ----  --------------------  ---------------------------------------------------------------
    40h   counter 0             counter 0: a count, one byte or two
    41h   counter 1             counter 1
    42h   counter 2             counter 2
    43h   nothing: floats       a control word, a counter latch command, a read-back command

    written to 43h       7 6    5 4        3 2 1         0
    control word         SC     RW 1-3     M             BCD     program counter SC
    counter latch        SC     0          -             -       hold its count until it is read
    read-back            3      /C /S      CNT 2 1 0     -       hold count (/C = 0) and status
    status byte          O N    RW         M             BCD     O: level of OUT, N: null count

RW: 1 the low byte only, 2 the high byte only, 3 the low and then the high one; reading and
writing have a flip-flop each.  M: the mode; 6 and 7 are 2 and 3.  A count of 0 is the largest:
65536, or 10000 in BCD.  Null count: CR, which counts are written to, holds one that has not
yet got to CE, the counting element.

How OUT goes in each mode, and what CE holds, from the write of the count on; a column is a CLK
period.  The first CLK pulse loads CE.  In modes 1 and 5 it is GATE's rise that begins it (T).

    mode 0, count 4: interrupt on terminal count
        CE       .    4    3    2    1    0 ffff fffe
        OUT  _________________________~~~~~~~~~~~~~~~
    mode 1, count 3: one-shot
        CE       T    3    2    1    0 ffff fffe fffd
        OUT  ~~~~~_______________~~~~~~~~~~~~~~~~~~~~
    mode 2, count 3: rate generator
        CE       .    3    2    1    3    2    1    3
        OUT  ~~~~~~~~~~~~~~~_____~~~~~~~~~~_____~~~~~
    mode 3, count 4: square wave
        CE       .    4    2    4    2    4    2    4
        OUT  ~~~~~~~~~~~~~~~__________~~~~~~~~~~_____
    mode 3, count 5: high for one period more
        CE       .    4    2    0    4    2    4    2
        OUT  ~~~~~~~~~~~~~~~~~~~~__________~~~~~~~~~~
    mode 4, count 3: software triggered strobe
        CE       .    3    2    1    0 ffff fffe fffd
        OUT  ~~~~~~~~~~~~~~~~~~~~_____~~~~~~~~~~~~~~~
    mode 5, count 3: hardware triggered strobe
        CE       T    3    2    1    0 ffff fffe fffd
        OUT  ~~~~~~~~~~~~~~~~~~~~_____~~~~~~~~~~~~~~~

    mode  while GATE is low        when GATE rises       a count written while counting
    ----  -----------------------  --------------------  ----------------------------------------
    0     counting pauses          -                     stops it, OUT low; loaded at the next CLK
    1, 5  -                        CE loaded, from CR    loaded when GATE rises
    2, 3  counting stops, OUT high CE loaded, from CR    loaded when the cycle (3: half of it) ends
    4     counting pauses          -                     loaded at the next CLK

What the data sheet leaves open is here: at power-on each counter runs in mode 3 from 65536, as
in QEMU; CE stands still from a control word to the first count; a count of 1, illegal in modes 2
and 3, leaves OUT high; a BCD digit above 9 counts as what it is, so FFFFh is 16665; a control
word also drops a latched status.

Time is in nanoseconds of the machine, CLK pulses are counted from an instant of each counter's
own: n pulses after it have passed at the smallest nanosecond at which that many fit in.  So
reading and alarms agree, and nothing drifts however long a count goes on.

The stream: QEMU's `i8254` has the registers; ``emu/i8254`` what QEMU does without, as it loads
at once, never stops for GATE, and takes BCD for binary.  It is as at power-on while counts go on
undisturbed; without it, QEMU counts where GATE had stopped us.  To have OUT 0's edges at the
same instants, QEMU needs another start of the count than ours, by mode (`QEMU_START_NS`).

Not modelled: that GATE is sampled at CLK's rise and CE counts at its fall, half a period later;
counts read while they change; QEMU's irq_disabled, for which there would have to be an HPET.

Source: Intel, "8254 Programmable Interval Timer", order number 231164; its section titles are
quoted below.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence

from emu import attrs
from emu.clock import NEVER, NS_PER_S, Alarm, Clock
from emu.irq import Line
from emu.isa import Slot
from emu.ports import OPEN_BUS
from emu.savevm.codecs import Array, Bool
from emu.savevm.vmstate import (
    Field,
    Saved,
    Section,
    Struct,
    UnfitError,
    Values,
    choice,
    fields_of,
    flag,
    i32,
    i64,
    instant,
    instant_at,
    past,
    records,
    reg,
    u8,
    u16,
    u32,
)
from emu.shadows import CounterShadows

CRYSTAL_HZ = 14_318_180
PIT_HZ = round(CRYSTAL_HZ / 12)  # 1,193,182: whole, as in QEMU

PORT_BASE = 0x40
COUNTERS = 3

# The control word.  SC and RW are numbers of two bits, M one of three.
SC_SHIFT = 6
SC_READ_BACK = 3
RW_SHIFT = 4
RW_LATCH = 0
M_SHIFT = 1
BCD = 1 << 0

# The read-back command.
NOT_COUNT = 1 << 5
NOT_STATUS = 1 << 4
CNT_SHIFT = 1  # CNT 0; CNT 1 and 2 are the bits above

# The status byte.
STATUS_OUTPUT = 1 << 7
STATUS_NULL_COUNT = 1 << 6


class Reg(enum.IntEnum):
    """A1, A0: what a port leads to."""

    COUNTER_0 = 0
    COUNTER_1 = 1
    COUNTER_2 = 2
    CONTROL = 3


class Access(enum.Enum):
    """RW1, RW0: the bytes that are read and written."""

    LSB = 1
    MSB = 2
    WORD = 3


class Mode(enum.IntEnum):
    """The six, as they are drawn above."""

    TERMINAL_COUNT = 0
    ONE_SHOT = 1
    RATE = 2
    SQUARE_WAVE = 3
    SOFTWARE_STROBE = 4
    HARDWARE_STROBE = 5


MODES: tuple[Mode, ...] = (*Mode, Mode.RATE, Mode.SQUARE_WAVE)  # by M: M2 is X in modes 2 and 3
PERIODIC = frozenset({Mode.RATE, Mode.SQUARE_WAVE})
TRIGGERED = frozenset({Mode.ONE_SHOT, Mode.HARDWARE_STROBE})
STROBES = frozenset({Mode.SOFTWARE_STROBE, Mode.HARDWARE_STROBE})


class CR(enum.Enum):
    """What the count register, where counts are written to, has for CE."""

    LOADED = 0  # nothing: CE has it
    WRITTEN = 1  # a count that waits for CLK, for the end of a cycle, or for GATE
    EMPTY = 2  # nothing yet: no count has been written since the control word


def pulses_in(ns: int) -> int:
    """The CLK pulses that fit in *ns*."""
    return ns * PIT_HZ // NS_PER_S


def ns_of(pulses: int) -> int:
    """The nanoseconds after which so many CLK pulses have passed: the fewest for `pulses_in`."""
    return -(-pulses * NS_PER_S // PIT_HZ)


@attrs.define
class Counter:
    """One of the three: its registers, and what time makes of them.

    CE is not stored but computed: `ce` is what it was loaded with, `start_ns` when, and the
    CLK pulses since then have counted it down.  Where it stands still, they count only up to
    `stopped_ns`; `start_ns` goes on to tell the phase of CLK.
    """

    m: int = reg(bits=3, reset=3, doc="M2..M0 as written: the mode")
    access: Access = choice(Access, reset=Access.WORD, doc="RW1, RW0")
    bcd: bool = flag(doc="counts are decimal")
    cr: int = reg(bits=16, doc="the last count written; 0 is the largest")
    cr_state: CR = choice(CR, reset=CR.LOADED, doc="whether CE has it")
    write_msb: bool = flag(doc="the high byte is written next")
    write_lsb: int = reg(bits=8, doc="the low byte, until the high one is written")
    ce: int = reg(bits=16, doc="the count that CE was loaded with")
    start_ns: int = past(doc="instant of the CLK pulse that loaded it")
    stopped_ns: int = instant(doc="since when CE stands still")
    initial: bool = flag(doc="OUT is as the control word set it: no count loaded since")
    load_ns: int = instant(doc="instant of the CLK pulse that will load CE from CR")
    edge_ns: int = instant(doc="for QEMU: the next edge of OUT, if it drives a line")
    kept_low: bool = flag(doc="OUT's line is low, OUT is high: QEMU left it so; until OUT's edge")
    read_msb: bool = flag(doc="the high byte is read next")
    latched: bool = flag(doc="OL holds a count")
    ol: int = reg(bits=16, doc="OL, the output latch")
    status_latched: bool = flag(doc="a status waits to be read")
    status: int = reg(bits=8, doc="that status")

    # --- what time makes of the registers ---------------------------------------------------

    @property
    def mode(self) -> Mode:
        return MODES[self.m]

    @property
    def modulus(self) -> int:
        return 10_000 if self.bcd else 65_536

    @property
    def n(self) -> int:
        """How many pulses CE counts."""
        return (_decimal(self.ce) if self.bcd else self.ce) or self.modulus

    @property
    def cycling(self) -> bool:
        """Whether CE goes round and round, to be loaded where a cycle ends."""
        return self.mode in PERIODIC and self.stopped_ns == NEVER

    def pulses(self, now_ns: int) -> int:
        """The CLK pulses that CE has counted since it was loaded."""
        return pulses_in(min(now_ns, self.stopped_ns) - self.start_ns)

    def out(self, now_ns: int) -> bool:
        """The level of OUT."""
        mode = self.mode
        if self.initial:
            return mode is not Mode.TERMINAL_COUNT
        n, pulses = self.n, self.pulses(now_ns)
        match mode:
            case Mode.TERMINAL_COUNT | Mode.ONE_SHOT:
                return pulses >= n
            case Mode.RATE:
                return pulses % n != n - 1 or n == 1 or not self.cycling
            case Mode.SQUARE_WAVE:
                return pulses % n < (n + 1) // 2 or not self.cycling
            case _:
                # GATE may stop CE at 0, but "has no effect on OUT": the strobe ends with CLK.
                return pulses != n or pulses_in(now_ns - self.start_ns) != n

    def count(self, now_ns: int) -> int:
        """What CE holds."""
        n, pulses = self.n, self.pulses(now_ns)
        match self.mode:
            case Mode.RATE:
                value = n - pulses % n
            case Mode.SQUARE_WAVE:  # by twos, from an even number: once a half of the cycle
                high, pulses = (n + 1) // 2, pulses % n
                value = n // 2 * 2 - 2 * (pulses if pulses < high else pulses - high)
            case _:
                value = n - pulses
        value %= self.modulus
        return int(str(value), 16) if self.bcd else value

    def next_edge_ns(self, now_ns: int) -> int:
        """When OUT changes next, if nothing happens until then."""
        mode = self.mode
        if self.initial or (self.load_ns != NEVER and not self.cycling):
            return NEVER  # CE is loaded before that
        n, pulses = self.n, self.pulses(now_ns)
        if mode in PERIODIC:
            if n == 1 or not self.cycling:
                return NEVER
            edge = self._cycle_end(now_ns)
            if mode is Mode.RATE and pulses < edge - 1:
                edge -= 1
        elif mode in STROBES and not self.out(now_ns):
            edge = n + 1
        elif pulses < n and self.stopped_ns == NEVER:
            edge = n
        else:
            return NEVER
        return min(self.start_ns + ns_of(edge), NEVER)

    def _cycle_end(self, now_ns: int) -> int:
        """The pulse at which CE starts anew: a cycle's last, in mode 3 a half cycle's."""
        n, pulses = self.n, self.pulses(now_ns)
        high = (n + 1) // 2
        begin = pulses - pulses % n
        if self.mode is Mode.SQUARE_WAVE and pulses - begin < high:
            return begin + high
        return begin + n

    def _next_clk_ns(self, now_ns: int) -> int:
        return self.start_ns + ns_of(pulses_in(now_ns - self.start_ns) + 1)

    # --- what happens to it -------------------------------------------------------------------

    def program(self, word: int, now_ns: int) -> None:
        """A control word.  "All Control Logic is immediately reset and OUT goes to a known
        initial state"; latched counts are let go ("Counter Latch Command").
        """
        self.access = Access(word >> RW_SHIFT & 3)
        self.m = word >> M_SHIFT & 7
        self.bcd = bool(word & BCD)
        self.cr_state = CR.EMPTY
        self.load_ns = NEVER
        self.read_msb = self.write_msb = False
        self.latched = self.status_latched = False
        self.initial = True
        self.stop(now_ns)

    def stop(self, now_ns: int) -> None:
        """Let CE stand still, unless it does."""
        self.stopped_ns = min(self.stopped_ns, now_ns)

    def write(self, value: int, now_ns: int) -> None:
        """A byte of a count.  A count of one byte has 0 for the other."""
        mode = self.mode
        if mode is Mode.TERMINAL_COUNT:  # "disables counting. OUT is set low immediately"
            self.stop(now_ns)
            self.initial = True
            self.load_ns = NEVER
        match self.access:
            case Access.LSB:
                self.cr = value
            case Access.MSB:
                self.cr = value << 8
            case Access.WORD if self.write_msb:
                self.write_msb = False
                self.cr = value << 8 | self.write_lsb
            case _:
                self.write_msb = True
                self.write_lsb = value
                return
        self.cr_state = CR.WRITTEN
        if mode in TRIGGERED:
            return
        if mode not in PERIODIC or self.initial:
            self.load_ns = self._next_clk_ns(now_ns)
        elif self.cycling:
            self.load_ns = self.start_ns + ns_of(self._cycle_end(now_ns))

    def load(self, *, gate: bool) -> None:
        """The CLK pulse that was waited for: CR goes to CE, which counts if *gate* is high."""
        low_half = self.mode is Mode.SQUARE_WAVE and not self.out(self.load_ns)
        self.ce = self.cr
        self.cr_state = CR.LOADED
        # In mode 3 the half cycle that begins is the other one; CE starts anew in either.
        self.start_ns = self.load_ns - (ns_of((self.n + 1) // 2) if low_half else 0)
        self.stopped_ns = NEVER if gate or self.mode in TRIGGERED else self.load_ns
        self.load_ns = NEVER
        self.initial = False

    def gate_edge(self, *, high: bool, now_ns: int) -> None:
        """An edge of GATE ("Gate Pin Operations Summary")."""
        mode = self.mode
        if mode in TRIGGERED or mode in PERIODIC:
            if high:
                self._trigger(now_ns)
            elif self.cycling:
                self.stop(now_ns)
                self.load_ns = NEVER  # that cycle does not end
        elif high:
            self._go_on(now_ns)
        else:
            self.stop(now_ns)

    def _trigger(self, now_ns: int) -> None:
        """Load CE at the next CLK pulse, whatever GATE does until then; if there is a count."""
        if self.cr_state is CR.EMPTY:
            return
        if self.mode in PERIODIC:
            self.stop(now_ns)
        self.load_ns = self._next_clk_ns(now_ns)

    def _go_on(self, now_ns: int) -> None:
        """Let CE count on from where it stands, its start moved by the pulses it missed."""
        if self.initial or self.stopped_ns == NEVER:
            return
        passed, counted = pulses_in(now_ns - self.start_ns), self.pulses(now_ns)
        if self.mode is Mode.SOFTWARE_STROBE and counted == self.n < passed:
            counted += self.modulus  # once round, to 0 again: the strobe has been given
        self.start_ns += (passed - counted) * NS_PER_S // PIT_HZ
        self.stopped_ns = NEVER

    # --- reading ------------------------------------------------------------------------------

    def latch_count(self, now_ns: int) -> None:
        """Hold the count in OL; one that is held there stays ("Counter Latch Command")."""
        if not self.latched:
            self.ol = self.count(now_ns)
            self.latched = True

    def latch_status(self, now_ns: int) -> None:
        """Hold the status; one that is held stays ("Read-Back Command")."""
        if not self.status_latched:
            output = STATUS_OUTPUT if self.out(now_ns) else 0
            null_count = STATUS_NULL_COUNT if self.cr_state is not CR.LOADED else 0
            programmed = self.access.value << RW_SHIFT | self.m << M_SHIFT | self.bcd
            self.status = output | null_count | programmed
            self.status_latched = True

    def read(self, now_ns: int) -> int:
        """A latched status, else a byte of the count: of OL, or of CE where OL follows it."""
        if self.status_latched:
            self.status_latched = False
            return self.status
        count = self.ol if self.latched else self.count(now_ns)
        word = self.access is Access.WORD
        high = self.read_msb if word else self.access is Access.MSB
        self.read_msb = word and not high
        if high or not word:  # the last byte
            self.latched = False
        return count >> 8 if high else count & 0xFF


def _decimal(bcd: int) -> int:
    """The number that four BCD digits write; ones above 9 carry."""
    value = 0
    for shift in (12, 8, 4, 0):
        value = 10 * value + (bcd >> shift & 0xF)
    return value


@attrs.define
class State:
    """What a saved machine must remember about an 8254."""

    gates: int = reg(bits=COUNTERS, reset=0b011, doc="levels of GATE 0 (bit 0), 1 and 2")
    counters: list[Counter] = records(Counter, COUNTERS, doc="counters 0, 1 and 2")


@attrs.define(eq=False)
class I8254:
    """The chip: ports on one side, GATE and OUT of each counter on the other.

    An OUT that is given a line drives it at every edge, which takes an alarm each.  The level
    of the others can be asked for.
    """

    clock: Clock
    outs: Sequence[Line | None]
    shadows: CounterShadows
    state: State = attrs.field(init=False, factory=State)
    _alarms: list[Alarm] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._alarms = [
            self.clock.alarm(
                QEMU.idstr, 0, f"counter {number}", functools.partial(self._due, number)
            )
            for number in range(COUNTERS)
        ]

    # --- pins ---------------------------------------------------------------------------------

    def out(self, number: int) -> bool:
        """The level of OUT."""
        return self.state.counters[number].out(self.clock.now_ns)

    def gate(self, number: int) -> bool:
        """The level of GATE."""
        return bool(self.state.gates >> number & 1)

    def set_gate(self, number: int, high: bool) -> None:  # noqa: FBT001 - a line's listener
        """Take the level of GATE; only a change of it does anything."""
        if high != self.gate(number):
            self.state.gates ^= 1 << number
            self.state.counters[number].gate_edge(high=high, now_ns=self.clock.now_ns)
            self._changed(number)

    # --- ports --------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        match Reg(offset):
            case Reg.CONTROL:
                return OPEN_BUS  # "No-Operation (3-State)"
            case number:
                value = self.state.counters[number].read(self.clock.now_ns)
                self._show(number)
                return value

    def write(self, offset: int, value: int) -> None:
        match Reg(offset):
            case Reg.CONTROL:
                self._control(value)
            case number:
                self.state.counters[number].write(value, self.clock.now_ns)
                self._changed(number)

    def _control(self, word: int) -> None:
        number, now_ns = word >> SC_SHIFT, self.clock.now_ns
        if number == SC_READ_BACK:
            self._read_back(word)
        elif word >> RW_SHIFT & 3 == RW_LATCH:
            self.state.counters[number].latch_count(now_ns)
            self._show(number)
        else:
            self.state.counters[number].program(word, now_ns)
            self._changed(number)

    def _read_back(self, word: int) -> None:
        for number, counter in enumerate(self.state.counters):
            if word >> CNT_SHIFT + number & 1:
                if not word & NOT_COUNT:
                    counter.latch_count(self.clock.now_ns)
                if not word & NOT_STATUS:
                    counter.latch_status(self.clock.now_ns)
                self._show(number)

    # --- time ---------------------------------------------------------------------------------

    def _due(self, number: int) -> None:
        """The alarm: CE is to be loaded, or OUT has an edge."""
        counter = self.state.counters[number]
        if counter.load_ns <= self.clock.now_ns:
            counter.load(gate=self.gate(number))
        else:
            counter.kept_low = False
        self._changed(number)

    def _changed(self, number: int) -> None:
        """Something has happened to a counter: look for its next edge anew, and settle it."""
        counter, now_ns = self.state.counters[number], self.clock.now_ns
        counter.edge_ns = NEVER if self.outs[number] is None else counter.next_edge_ns(now_ns)
        if counter.kept_low and not counter.out(now_ns):
            counter.kept_low = False
        self._settle(number)

    def settle(self) -> None:
        """Make every output follow the state."""
        for number in range(COUNTERS):
            self._settle(number)

    def _settle(self, number: int) -> None:
        """Make one counter's line and alarm follow its state."""
        counter, now_ns, line = self.state.counters[number], self.clock.now_ns, self.outs[number]
        due_ns = counter.load_ns
        if line is not None:
            due_ns = min(due_ns, counter.next_edge_ns(now_ns))
            line.drive(high=counter.out(now_ns) and not counter.kept_low)
        self._alarms[number].arm(due_ns)
        self._show(number)

    def _show(self, number: int) -> None:
        """Let it be read without us, where it is read as a rule: as two bytes of binary."""
        counter = self.state.counters[number]
        held = counter.latched or counter.status_latched
        if held or counter.read_msb or counter.bcd or counter.access is not Access.WORD:
            self.shadows.hide(number)
        else:
            mode, n = counter.mode.value, counter.n
            self.shadows.show(number, mode, n, counter.start_ns, counter.stopped_ns)


# ==== the stream ==============================================================================

QEMU_WORD_MSB = 4  # its read_state and write_state for the high byte of two; the others are RW
QEMU_LARGEST = 0x1_0000  # its count for a CR of 0

# QEMU's OUT 0 does not rise where the data sheet has it, counted from the start that is saved:
# in mode 2 a CLK pulse later, and in modes 4 and 5, where its strobe is high, one earlier.  So
# its start is not ours.  By the nanosecond over or under, ours is never the later edge: a line
# that has risen there is high here.
CLK_NS = NS_PER_S // PIT_HZ
QEMU_START_NS = {
    Mode.RATE: 1 - CLK_NS,
    Mode.SOFTWARE_STROBE: 1 + CLK_NS,
    Mode.HARDWARE_STROBE: 1 + CLK_NS,
}
EARLY_NS = 2  # QEMU looks at its mode 2's OUT within the CLK pulse before our edge, or misses it


def _qemu_state(access: Access, *, msb: bool) -> int:
    return QEMU_WORD_MSB if access is Access.WORD and msb else access.value


def _for_qemu(counter: Counter, *, gate: bool) -> Values:
    """What QEMU is given of a counter.

    It loads CE at once.  So it gets the count that CE will be loaded with, and the start that
    it will have then; if it goes on from a cycle of another count, a period earlier, as the
    first moment of a count is no edge to QEMU.
    """
    ahead = attrs.evolve(counter)
    look_ns = NEVER if counter.edge_ns == NEVER else counter.edge_ns - EARLY_NS
    if counter.load_ns != NEVER:
        ahead.load(gate=True)
        if counter.cycling:
            ahead.start_ns -= ns_of(ahead.n)
        else:
            look_ns = counter.load_ns
    start_ns = ahead.start_ns + QEMU_START_NS.get(counter.mode, 0)
    word = counter.access is Access.WORD
    left = Access.MSB if word and counter.read_msb else counter.access
    return {
        "count": counter.cr or QEMU_LARGEST,
        "latched_count": counter.ol,
        "count_latched": left.value if counter.latched else 0,
        "status_latched": counter.status_latched,
        "status": counter.status,
        "read_state": _qemu_state(counter.access, msb=counter.read_msb and not counter.latched),
        "write_state": _qemu_state(counter.access, msb=counter.write_msb),
        "write_latch": counter.write_lsb,
        "rw_mode": counter.access.value,
        "mode": counter.mode.value,
        "bcd": counter.bcd,
        "gate": gate,
        "count_load_time": start_ns,
        "next_transition_time": NEVER if look_ns == NEVER else max(look_ns, start_ns, 0),
    }


def _encode(state: State) -> Values:
    """The values of QEMU's section."""
    channels = [
        _for_qemu(counter, gate=bool(state.gates >> number & 1))
        for number, counter in enumerate(state.counters)
    ]
    return {
        "irq_disabled": 0,
        "channels": channels,
        "next_transition_time": channels[0]["next_transition_time"],
    }


def _rest(counter: Counter) -> Values:
    """What QEMU does without: all as at power-on, unless CE stands still or will be loaded."""
    aside = counter.load_ns != NEVER or counter.ce != counter.cr
    return {
        "m_ignored": counter.m - counter.mode,
        "cr_state": counter.cr_state,
        "initial": counter.initial,
        "stopped_ns": counter.stopped_ns,
        "load_ns": counter.load_ns,
        "kept_low": counter.kept_low,
        "aside": aside,
        "ce": counter.ce if aside else 0,
        "start_ns": counter.start_ns if aside else 0,
        "edge_ns": counter.edge_ns if aside else NEVER,
    }


def _encode_rest(state: State) -> Values:
    return {"counters": [_rest(counter) for counter in state.counters]}


def _decode(found: Mapping[str, Values]) -> State:
    """A State from QEMU's section, and ours if it is there."""
    values, rest = found[QEMU.idstr], found.get(REST.idstr)
    if values.get("irq_disabled"):
        raise UnfitError("irq_disabled", " is set: IRQ 0 is some other timer's")
    channels = values["channels"]
    channels[0]["next_transition_time"] = values["next_transition_time"]
    ours = rest["counters"] if rest else [_rest(Counter()) for _ in channels]
    counters = [_counter(channel, mine) for channel, mine in zip(channels, ours, strict=True)]
    if rest is None:
        counters[0].kept_low = _low_in_qemu(channels[0], counters[0].mode)
    return State(
        sum(channel["gate"] << number for number, channel in enumerate(channels)), counters
    )


def _counter(qemu: Values, rest: Values) -> Counter:
    """One counter; UnfitError where QEMU cannot have written this."""
    for name, most in (("rw_mode", 3), ("count_latched", 3), ("read_state", 4), ("write_state", 4)):
        if qemu[name] > most:
            raise UnfitError(name, f" = {qemu[name]}, {most} at most")
    if not 0 < qemu["count"] <= QEMU_LARGEST:
        raise UnfitError("count", f" = {qemu['count']}, expected 1 to {QEMU_LARGEST}")
    m = qemu["mode"] | rest["m_ignored"]
    access = Access(qemu["rw_mode"] or 1)  # 0 before the first control word, then the low byte
    word, latched = access is Access.WORD, qemu["count_latched"] != 0
    if latched:
        read_msb = qemu["count_latched"] == Access.MSB.value
    else:
        read_msb = qemu["read_state"] == QEMU_WORD_MSB
    cr = qemu["count"] & 0xFFFF
    next_ns = qemu["next_transition_time"]
    counter = Counter(
        m=m,
        access=access,
        bcd=qemu["bcd"],
        cr=cr,
        cr_state=rest["cr_state"],
        write_msb=word and qemu["write_state"] == QEMU_WORD_MSB,
        write_lsb=qemu["write_latch"],
        ce=cr,
        stopped_ns=rest["stopped_ns"],
        initial=rest["initial"],
        load_ns=rest["load_ns"],
        kept_low=rest["kept_low"],
        read_msb=word and read_msb,
        latched=latched,
        ol=qemu["latched_count"],
        status_latched=qemu["status_latched"],
        status=qemu["status"],
    )
    if rest["aside"]:
        counter.ce = rest["ce"]
        counter.start_ns = rest["start_ns"]
        counter.edge_ns = rest["edge_ns"]
    else:
        counter.start_ns = qemu["count_load_time"] - QEMU_START_NS.get(counter.mode, 0)
        counter.edge_ns = NEVER if next_ns == NEVER else next_ns + EARLY_NS
    return counter


def _low_in_qemu(channel: Values, mode: Mode) -> bool:
    """Whether OUT is low in QEMU though it is high here, which must not make an edge.

    In mode 2 until its first rise; in modes 4 and 5 but for the strobe; in mode 1 after it.
    """
    count: int = channel["count"]
    start_ns: int = channel["count_load_time"]
    next_ns: int = channel["next_transition_time"]
    match mode:
        case Mode.RATE:
            return next_ns <= start_ns + ns_of(count + 1)
        case Mode.SOFTWARE_STROBE | Mode.HARDWARE_STROBE:
            return next_ns == NEVER or next_ns <= start_ns + ns_of(count)
        case Mode.ONE_SHOT:
            return next_ns == NEVER
        case _:
            return False


DECLARED = {field.name: field for field in fields_of(Counter)}
CHANNEL = Struct(
    (
        i32("count"),
        u16("latched_count"),
        u8("count_latched"),
        Field("status_latched", Bool()),
        u8("status"),
        u8("read_state"),
        u8("write_state"),
        u8("write_latch"),
        u8("rw_mode"),
        u8("mode"),
        Field("bcd", Bool()),
        Field("gate", Bool()),
        i64("count_load_time"),
        instant_at("next_transition_time"),
    )
)
OURS = Struct(
    (
        u8("m_ignored"),
        *(DECLARED[name] for name in ("cr_state", "initial", "stopped_ns", "load_ns", "kept_low")),
        Field("aside", Bool()),
        *(DECLARED[name] for name in ("ce", "start_ns", "edge_ns")),
    )
)
QEMU = Section(
    "i8254",
    3,
    (
        u32("irq_disabled", since=3),
        Field("channels", Array(COUNTERS, CHANNEL)),
        instant_at("next_transition_time"),
    ),
    minimum=2,
    encode=_encode,
)
REST = Section("emu/i8254", 1, (Field("counters", Array(COUNTERS, OURS)),), encode=_encode_rest)
SAVED = Saved(State, (QEMU, REST), _decode)


def attach(slot: Slot, outs: Sequence[Line | None]) -> I8254:
    """Plug an 8254 into *slot* whose OUT 0, 1 and 2 drive *outs*, where they are not None."""
    chip = I8254(slot.clock, outs, slot.shadows.counters(PORT_BASE, PIT_HZ))
    slot.register_ports(PORT_BASE, len(Reg), chip.read, chip.write)
    slot.register_state(SAVED, chip)
    chip.settle()
    return chip
