r"""MC146818A: the real-time clock and CMOS memory of the PC/AT.

A calendar, an alarm, a periodic interrupt and 114 bytes of memory, kept alive by a battery.
Firmware reads the machine's configuration from that memory; operating systems read the time.

    port   read                   write
    -----  ---------------------  ---------------------------------------------------
    70h    nothing answers: FF    bits 6-0 the register for port 71h, bit 7 masks NMI
    71h    the register chosen    the register chosen

    register            what it holds (Tables 2 and 3 of the data sheet)
    ------------------  -------------------------------------------------------------
    00 02 04 06-09      seconds, minutes, hours, day of the week (1 = Sunday), date, month, year
    01 03 05            alarm: seconds, minutes, hours; C0-FF matches any
    0A  A               UIP | DV2-DV0 | RS3-RS0          UIP is read only
    0B  B               SET PIE AIE UIE SQWE DM 24/12 DSE
    0C  C               IRQF PF AF UF 0 0 0 0            read only; reading clears it
    0D  D               VRT 0 0 0 0 0 0 0                read only; the battery is good
    0E-7F               memory; 32 holds the century, in BCD, as PC firmware expects

The time registers are BCD (DM = 0) or binary (DM = 1), the hours 0-23 (24/12 = 1) or 1-12 with
bit 7 for PM.  Changing DM or 24/12 converts nothing.  Once a second an update cycle advances
them, compares the alarm and sets UF, and AF where it matches:

    UIP  ___________/```````````````````````````\____________
                    |<-- tBUC -->|<---- tUC ---->|
                       244 us    |  1984 us      the new time is there; UF, AF
                                 begins: every second; half a second after DV leaves reset

    PF   set every tPI, first tPI/2 before UIP rises, then tPI/2 after, and so on

IRQ (IRQ 8) is the level IRQF = PF and PIE, or AF and AIE, or UF and UIE.

Nothing ticks here.  The State has the instant of the next update and of the next PF that are
not in the registers yet; whoever reads finds them brought up to date, with every flag that
ticking would have set.  An alarm of the clock is armed only where a flag would raise IRQ.

Where the data sheet is silent: a time register holding what no clock shows (99 hours) counts
at the next update as the nearest value that one does.  The century, which this chip does not
have, is counted as its successor, the DS12C887, counts it.  The calendar has a leap year every
fourth year, as the chip's has, so 2100 is one.

Not modelled: DSE (stored only: its dates are a law of 1966, and no PC sets it); SQW, a pin that
the AT leaves open; undefined reads during an update (the old time stays until its end); crystals
other than the one that DV names; test modes (DV = 011, 10x), which hold the divider as 11x does.

In a stream of QEMU's, instants are its `rtc_clock`, by default the host's clock, which no card
can know.  So one is written as if that clock showed the guest's own time; and one that is read
without our own section goes on with the time that its registers show, a new second beginning
when the machine first moves.

Sources: Motorola MC146818A data sheet (tables and headings as cited); IBM PC/AT Technical
Reference, "Real-Time Clock/CMOS RAM Information" and port 70h; R. Brown's CMOS Memory Map for
30h-3Dh; Dallas DS12C887 for 32h; QEMU's additions (34h, 38h, 3Dh, 5Fh) as SeaBIOS reads them.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping

from emu import attrs
from emu.clock import NEVER, NS_PER_S, Alarm, Clock
from emu.errors import ConfigError
from emu.irq import Line
from emu.isa import Slot
from emu.savevm import vmstate
from emu.savevm.vmstate import Saved, Section, Subsection, Values, array, flag, instant, reg
from emu.shadows import CellShadows

PORT_BASE = 0x70
IRQ_NUMBER = 8

INDEX_NMI_MASKED = 1 << 7  # port 70h

A_UIP = 1 << 7
A_DV = 0b111 << 4
A_RS = 0b1111

B_SET = 1 << 7
B_PIE = 1 << 6
B_AIE = 1 << 5
B_UIE = 1 << 4
B_SQWE = 1 << 3
B_DM = 1 << 2  # 1: binary, 0: BCD
B_24_12 = 1 << 1  # 1: 24 hours, 0: 12 hours

C_IRQF = 1 << 7
C_PF = 1 << 6  # the flags stand where B has their enables
C_AF = 1 << 5
C_UF = 1 << 4
C_FLAGS = C_PF | C_AF | C_UF

D_VRT = 1 << 7

DV_32_KHZ = 0b010 << 4  # Table 4: 000, 001, 010 are time bases, what is above stops the divider
T_BUC_NS = 244_000  # Table 6, "minimum time before update cycle"
T_UC_32_KHZ_NS = 1_984_000  # Table 6, "update cycle time"
T_UC_OTHERS_NS = 248_000
HALF_TAPS_PER_S = 65_536  # tPI/2 of the fastest tap, Table 5, is one of these
HALF_SECOND_NS = NS_PER_S // 2

HOURS_PM = 1 << 7
DONT_CARE = 0xC0  # "two most significant bits of that byte": and any above

MEMORY_FIRST = 0x0E
MEMORY_BYTES = 0x80 - MEMORY_FIRST


class Reg(enum.IntEnum):
    """The registers below the memory."""

    SECONDS = 0x0
    SECONDS_ALARM = 0x1
    MINUTES = 0x2
    MINUTES_ALARM = 0x3
    HOURS = 0x4
    HOURS_ALARM = 0x5
    DAY_OF_WEEK = 0x6
    DATE = 0x7
    MONTH = 0x8
    YEAR = 0x9
    A = 0xA
    B = 0xB
    C = 0xC
    D = 0xD


class Memory(enum.IntEnum):
    """The bytes of the memory that firmware gives a meaning (AT CMOS map)."""

    FLOPPY_TYPES = 0x10
    EQUIPMENT = 0x14
    BASE_KIB = 0x15  # low byte, high byte; as are the following
    EXTENDED_KIB = 0x17
    CHECKSUM = 0x2E  # of 10h-2Dh; high byte, low byte
    EXTENDED_KIB_FOUND = 0x30
    CENTURY = 0x32
    ABOVE_16_MIB = 0x34  # in units of 64 KiB
    BOOT_THIRD = 0x38  # high nibble; bit 0 would tell SeaBIOS to skip the floppy's signature
    BOOT_FIRST = 0x3D  # low nibble; the second in the high one
    MORE_PROCESSORS = 0x5F


class Floppy(enum.IntEnum):
    """What a nibble of register 10h says of a floppy drive."""

    NONE = 0
    KB_360 = 1
    MB_1_2 = 2
    KB_720 = 3
    MB_1_44 = 4
    MB_2_88 = 5


EQUIPMENT_FLOPPY = 1 << 0
EQUIPMENT_COPROCESSOR = 1 << 1
EQUIPMENT_POINTING_DEVICE = 1 << 2
EQUIPMENT_SECOND_FLOPPY = 1 << 6

BOOT_DEVICES = {"a": 1, "c": 2, "d": 3, "n": 4}  # floppy, disk, CD-ROM, network
BOOT_DEVICES_MOST = 3


@attrs.define
class State:
    """What a saved machine must remember about the clock."""

    time: list[int] = array(10, 8, doc="registers 00-09, as of the last update in them")
    reg_a: int = reg(bits=7, reset=0x26, doc="A without UIP: 32.768 kHz, 1024 Hz")
    reg_b: int = reg(bits=8, reset=B_24_12, doc="B: SET PIE AIE UIE SQWE DM 24/12 DSE")
    reg_c: int = reg(bits=7, doc="C without IRQF: PF AF UF")
    memory: list[int] = array(MEMORY_BYTES, 8, doc="registers 0E-7F")
    index: int = reg(bits=7, doc="port 70h: the register that port 71h leads to")
    nmi_masked: bool = flag(reset=True, doc="port 70h bit 7, set at power-on")
    second_ns: int = instant(doc="when the next update not yet in `time` begins; none: DV resets")
    periodic_ns: int = instant(doc="when the next PF not yet in C comes; none: no rate")

    def at(self, place: Memory) -> int:
        return self.memory[place - MEMORY_FIRST]

    def put(self, place: int, value: int) -> None:
        self.memory[place - MEMORY_FIRST] = value

    def put_word(self, place: Memory, value: int) -> None:
        self.put(place, value & 0xFF)
        self.put(place + 1, value >> 8)


# ==== the divider chain: when things happen ===============================================


def divider_runs(state: State) -> bool:
    """Whether DV selects a time base, "Divider Control"."""
    return state.reg_a & A_DV <= DV_32_KHZ


def update_cycle_ns(state: State) -> int:
    """Table 6: tUC."""
    return T_UC_32_KHZ_NS if state.reg_a & A_DV == DV_32_KHZ else T_UC_OTHERS_NS


def update_ends_ns(state: State) -> int:
    """When the next update not yet in the registers is complete."""
    return state.second_ns + update_cycle_ns(state)


def half_period(state: State) -> int:
    """Table 5: tPI/2 in units of 1/65,536 s; 0 for none."""
    rate = state.reg_a & A_RS
    if rate in (1, 2) and state.reg_a & A_DV == DV_32_KHZ:
        rate += 7  # a 32.768 kHz chain lacks these taps, 256 and 128 Hz come in their place
    return 1 << rate >> 1


def next_periodic_ns(state: State, now_ns: int) -> int:
    """The first instant after *now_ns* at which PF is set, "Update Cycle", third method."""
    half = half_period(state)
    if not half or state.second_ns == NEVER:
        return NEVER
    uip_rises_ns = state.second_ns - T_BUC_NS
    halves = (now_ns - uip_rises_ns) * HALF_TAPS_PER_S // NS_PER_S
    edge = ((halves - half) // (2 * half) + 1) * 2 * half + half  # the next odd multiple of half
    return uip_rises_ns - (-edge * NS_PER_S // HALF_TAPS_PER_S)


# ==== the calendar ========================================================================

SECONDS_PER_DAY = 86_400
# The chip's hundred years, every fourth a leap year, are those from 2000 to 2099.
CYCLE_START = dt.date(2000, 1, 1).toordinal()
CYCLE_DAYS = 36_525
EPOCH = dt.date(1970, 1, 1).toordinal()
FOUR_DIGITS_S = (dt.date.max.toordinal() + 1 - EPOCH) * SECONDS_PER_DAY  # the year 10000


@attrs.frozen
class Moment:
    """What the time registers show, as numbers that can be counted on."""

    century: int
    day: int  # of the cycle of a hundred years, from 0
    weekday: int  # 0 is Sunday
    second: int  # of the day

    def after(self, seconds: int) -> Moment:
        days, second = divmod(self.second + seconds, SECONDS_PER_DAY)
        centuries, day = divmod(self.day + days, CYCLE_DAYS)
        return Moment((self.century + centuries) % 100, day, (self.weekday + days) % 7, second)

    @property
    def date(self) -> dt.date:
        """The date, as if the century were the one from 2000."""
        return dt.date.fromordinal(CYCLE_START + self.day)

    @property
    def epoch_s(self) -> int:
        """Seconds since 1970; no less than 0."""
        date = self.date
        month = dt.date(max(1, 100 * self.century + date.year % 100), date.month, 1)
        days = month.toordinal() + date.day - 1 - EPOCH
        return max(0, days * SECONDS_PER_DAY + self.second)


def moment_at(epoch_s: int) -> Moment:
    """The moment *epoch_s* seconds after 1970 began, UTC."""
    days, second = divmod(epoch_s, SECONDS_PER_DAY)
    date = dt.date.fromordinal(EPOCH + days)
    century, year = divmod(date.year, 100)
    day = date.replace(year=2000 + year).toordinal() - CYCLE_START
    return Moment(century, day, date.isoweekday() % 7, second)


def from_bcd(byte: int) -> int:
    return (byte >> 4) * 10 + (byte & 0xF)


def to_bcd(number: int) -> int:
    return number // 10 << 4 | number % 10


def from_byte(state: State, byte: int) -> int:
    """The number in a time register, by DM."""
    return byte if state.reg_b & B_DM else from_bcd(byte)


def to_byte(state: State, number: int) -> int:
    return number if state.reg_b & B_DM else to_bcd(number)


def from_hours(state: State, byte: int) -> int:
    """The hour from 0 in a register of hours, by DM and 24/12."""
    if state.reg_b & B_24_12:
        return from_byte(state, byte)
    hour = min(from_byte(state, byte & ~HOURS_PM), 12) % 12
    return hour + 12 if byte & HOURS_PM else hour


def to_hours(state: State, hour: int) -> int:
    if state.reg_b & B_24_12:
        return to_byte(state, hour)
    return to_byte(state, (hour - 1) % 12 + 1) | (HOURS_PM if hour >= 12 else 0)


def shown(state: State) -> Moment:
    """The moment that the registers show, or the nearest to it that there is."""

    def number(register: Reg, least: int, most: int) -> int:
        return max(least, min(from_byte(state, state.time[register]), most))

    year = 2000 + number(Reg.YEAR, 0, 99)
    month = number(Reg.MONTH, 1, 12)
    next_month = dt.date(year + month // 12, month % 12 + 1, 1)
    date = number(Reg.DATE, 1, (next_month - dt.timedelta(days=1)).day)
    hour = min(from_hours(state, state.time[Reg.HOURS]), 23)
    minute = 60 * hour + number(Reg.MINUTES, 0, 59)
    return Moment(
        century=min(from_bcd(state.at(Memory.CENTURY)), 99),
        day=dt.date(year, month, date).toordinal() - CYCLE_START,
        weekday=number(Reg.DAY_OF_WEEK, 1, 7) - 1,
        second=60 * minute + number(Reg.SECONDS, 0, 59),
    )


def show(state: State, moment: Moment) -> None:
    """Put *moment* in the registers."""
    date = moment.date
    state.time[Reg.SECONDS] = to_byte(state, moment.second % 60)
    state.time[Reg.MINUTES] = to_byte(state, moment.second // 60 % 60)
    state.time[Reg.HOURS] = to_hours(state, moment.second // 3600)
    state.time[Reg.DAY_OF_WEEK] = to_byte(state, moment.weekday + 1)
    state.time[Reg.DATE] = to_byte(state, date.day)
    state.time[Reg.MONTH] = to_byte(state, date.month)
    state.time[Reg.YEAR] = to_byte(state, date.year % 100)


# ==== the alarm ===========================================================================


def alarm_after(state: State, second: int) -> int | None:
    """How many seconds after *second* of the day the alarm matches, 1 to 86,400; None: never."""

    def matching(byte: int, limit: int, number: int, back: int) -> range:
        if byte >= DONT_CARE:
            return range(limit)
        fits = number < limit and back == byte  # what no clock shows never matches
        return range(number, number + 1) if fits else range(0)

    def sixtieths(byte: int) -> range:
        number = from_byte(state, byte)
        return matching(byte, 60, number, to_byte(state, number))

    alarm_hours = state.time[Reg.HOURS_ALARM]
    hour = from_hours(state, alarm_hours)
    hours = matching(alarm_hours, 24, hour, to_hours(state, hour))
    minutes = sixtieths(state.time[Reg.MINUTES_ALARM])
    seconds = sixtieths(state.time[Reg.SECONDS_ALARM])
    if not (hours and minutes and seconds):
        return None

    at = second + 1
    if at % 60 not in seconds:
        at += (seconds[0] - at) % 60
    minute = at // 60
    if minute % 60 not in minutes:
        at = 60 * (minute + (minutes[0] - minute) % 60) + seconds[0]
    hour = at // 3600
    if hour % 24 not in hours:
        at = 3600 * (hour + (hours[0] - hour) % 24) + 60 * minutes[0] + seconds[0]
    return at - second


def alarm_ns(state: State) -> int:
    """When the update that sets AF ends, or NEVER."""
    seconds = alarm_after(state, shown(state).second)
    return NEVER if seconds is None else update_ends_ns(state) + (seconds - 1) * NS_PER_S


# ==== the chip ============================================================================


@attrs.define(eq=False)
class MC146818:
    """The clock: two ports on the bus side; IRQ and the NMI mask on the other."""

    clock: Clock
    irq: Line
    nmi_mask: Line  # high: NMI does not reach the processor
    shadows: CellShadows
    state: State = attrs.field(init=False, factory=State)
    _alarm: Alarm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._alarm = self.clock.alarm("mc146818rtc", 0, "due", self._due)

    # --- ports ----------------------------------------------------------------------------

    def write_index(self, _port: int, value: int) -> None:
        self.state.index = value & ~INDEX_NMI_MASKED
        self.state.nmi_masked = bool(value & INDEX_NMI_MASKED)
        self.settle()

    def read_data(self, _port: int) -> int:
        state = self.state
        if state.index < MEMORY_FIRST or state.index == Memory.CENTURY:
            self._catch_up()
        if state.index >= MEMORY_FIRST:
            return state.memory[state.index - MEMORY_FIRST]
        match Reg(state.index):
            case Reg.A:
                return state.reg_a | (A_UIP if self._update_in_progress() else 0)
            case Reg.B:
                return state.reg_b
            case Reg.C:
                flags = state.reg_c & C_FLAGS
                irqf = C_IRQF if flags & state.reg_b else 0
                state.reg_c = 0
                self.settle()
                return flags | irqf
            case Reg.D:
                return D_VRT
            case time:
                return state.time[time]

    def write_data(self, _port: int, value: int) -> None:
        state = self.state
        if state.index < MEMORY_FIRST or state.index == Memory.CENTURY:
            self._catch_up()
        if state.index >= MEMORY_FIRST:
            state.put(state.index, value)
            self.settle()
            return
        match Reg(state.index):
            case Reg.A:
                self._set_divider(value & ~A_UIP)
            case Reg.B:
                self._set_mode(value)
            case Reg.C | Reg.D:
                return  # read only
            case time:
                state.time[time] = value
        self.settle()

    def _set_divider(self, value: int) -> None:
        """Register A: "Divider Control" and "Periodic Interrupt Selection"."""
        state, now_ns = self.state, self.clock.now_ns
        state.reg_a = value
        if not divider_runs(state):
            state.second_ns = NEVER
        elif state.second_ns == NEVER:
            state.second_ns = now_ns + HALF_SECOND_NS
        state.periodic_ns = next_periodic_ns(state, now_ns)

    def _set_mode(self, value: int) -> None:
        """Register B.  SET ends an update under way, and what began before it was cleared."""
        state, now_ns = self.state, self.clock.now_ns
        if value & ~state.reg_b & B_SET:
            value &= ~B_UIE  # "the SET bit going high clears the UIE bit"
        elif state.reg_b & ~value & B_SET and state.second_ns <= now_ns:
            missed = (now_ns - state.second_ns) // NS_PER_S + 1
            state.second_ns += missed * NS_PER_S
        state.reg_b = value

    def _update_in_progress(self) -> bool:
        """UIP; the registers are up to date, so an update that has begun has not ended."""
        state = self.state
        return not state.reg_b & B_SET and state.second_ns - T_BUC_NS <= self.clock.now_ns

    # --- time -----------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Bring the registers to what ticking would have made of them by now."""
        state, now_ns = self.state, self.clock.now_ns
        if state.periodic_ns <= now_ns:
            state.reg_c |= C_PF
            state.periodic_ns = next_periodic_ns(state, now_ns)
        ended_ns = update_ends_ns(state)
        if ended_ns > now_ns or state.reg_b & B_SET:
            return
        updates = (now_ns - ended_ns) // NS_PER_S + 1
        before = shown(state)
        alarm = alarm_after(state, before.second)
        state.reg_c |= C_UF
        if alarm is not None and alarm <= updates:
            state.reg_c |= C_AF
        after = before.after(updates)
        show(state, after)
        if after.century != before.century:
            state.put(Memory.CENTURY, to_bcd(after.century))
        state.second_ns += updates * NS_PER_S

    def _due(self) -> None:
        """The clock's alarm: something has happened that may raise IRQ, or the divider starts."""
        state = self.state
        if state.second_ns == NEVER and divider_runs(state):
            start(state, self.clock.now_ns)
        self._catch_up()
        self.settle()

    def _due_ns(self) -> int:
        """When to look next: at the first flag that is enabled and not up already."""
        state = self.state
        awaited = state.reg_b & ~state.reg_c
        due_ns = state.periodic_ns if awaited & B_PIE else NEVER
        if state.second_ns == NEVER:
            # A divider that runs and was never started is from a stream of QEMU's.
            return self.clock.now_ns if divider_runs(state) else due_ns
        if state.reg_b & B_SET:
            return due_ns
        if awaited & B_UIE:
            due_ns = min(due_ns, update_ends_ns(state))
        if awaited & B_AIE:
            due_ns = min(due_ns, alarm_ns(state))
        return due_ns

    # --- pins -----------------------------------------------------------------------------

    def reset(self) -> None:
        """RESET, "Signal Descriptions": interrupts off; time, calendar and memory go on."""
        self._catch_up()
        self.state.reg_b &= ~(B_PIE | B_AIE | B_UIE | B_SQWE)
        self.state.reg_c = 0
        self.state.nmi_masked = True  # the board's latch beside the chip
        self.settle()

    def settle(self) -> None:
        """Make every output follow the state."""
        state = self.state
        self.irq.drive(high=bool(state.reg_c & state.reg_b & C_FLAGS))
        self.nmi_mask.drive(high=state.nmi_masked)
        self.shadows.choose(state.index | (INDEX_NMI_MASKED if state.nmi_masked else 0))
        self.shadows.show_stored(MEMORY_FIRST, bytes(state.memory))
        self.shadows.hide(Memory.CENTURY)  # which time changes
        self._alarm.arm(self._due_ns())

    def boot_set(self, order: str) -> None:
        """Keep the boot order *order*, letters of `BOOT_DEVICES`, where firmware looks for it."""
        for position, letter in enumerate(order):
            if letter not in BOOT_DEVICES:
                known = ", ".join(BOOT_DEVICES)
                raise ConfigError(f"boot order {order!r}: no device {letter!r}, expected {known}")
            if letter in order[:position]:
                raise ConfigError(f"boot order {order!r}: {letter!r} is there twice")
        if len(order) > BOOT_DEVICES_MOST:
            raise ConfigError(f"boot order {order!r}: more than {BOOT_DEVICES_MOST} devices")
        first, second, third = [*(BOOT_DEVICES[letter] for letter in order), 0, 0, 0][:3]
        self.state.put(Memory.BOOT_FIRST, second << 4 | first)
        self.state.put(Memory.BOOT_THIRD, third << 4)
        self.settle()


# ==== the stream ==========================================================================

I64_MOST = (1 << 63) - 1


def start(state: State, now_ns: int) -> None:
    """Let the second that the registers show begin at *now_ns*."""
    state.second_ns = now_ns + NS_PER_S - update_cycle_ns(state)
    state.periodic_ns = next_periodic_ns(state, now_ns)


def _encode(state: State) -> Mapping[str, object]:
    """QEMU's fields, on an `rtc_clock` that shows the guest's own time."""
    if state.second_ns == NEVER and divider_runs(state):  # loaded from QEMU, and not yet moved
        state = attrs.evolve(state)
        start(state, 0)
    base_s = shown(state).epoch_s
    shift_ns = base_s * NS_PER_S - (update_ends_ns(state) - NS_PER_S)

    def rtc_clock(instant_ns: int, none: int) -> int:
        if NEVER in (instant_ns, state.second_ns):
            return none
        return max(0, min(instant_ns + shift_ns, I64_MOST))

    update_ns, match_ns = update_ends_ns(state), alarm_ns(state)
    if state.reg_b & B_SET:
        update_ns = match_ns = NEVER
    if not state.reg_c & C_UF:  # QEMU waits for a flag also where nobody has enabled it
        awaited_ns = update_ns
    elif not state.reg_c & C_AF:
        awaited_ns = match_ns
    else:
        awaited_ns = NEVER
    irqf = C_IRQF if state.reg_b & state.reg_c & C_FLAGS else 0
    registers = [*state.time, state.reg_a, state.reg_b, state.reg_c | irqf, D_VRT]
    return {
        "cmos_data": bytes([*registers, *state.memory]),
        "cmos_index": state.index,
        "periodic_timer": rtc_clock(state.periodic_ns if state.reg_b & B_PIE else NEVER, -1),
        "next_periodic_time": rtc_clock(state.periodic_ns, 0),
        "irq_coalesced": 0,
        "period": half_period(state),  # tPI in units of 1/32,768 s
        "base_rtc": base_s,
        "last_update": min(base_s * NS_PER_S, I64_MOST),
        "offset": 0,
        "update_timer": rtc_clock(awaited_ns, -1),
        "next_alarm_time": rtc_clock(match_ns, (1 << 64) - 1),
    }


def _decode(found: Mapping[str, Values]) -> State:
    values = found["mc146818rtc"]
    cmos = list(values["cmos_data"])
    ours = {"nmi_masked": False, "second_ns": NEVER, "periodic_ns": NEVER}  # QEMU masks no NMI
    return State(
        time=cmos[: Reg.A],
        reg_a=cmos[Reg.A] & ~A_UIP,
        reg_b=cmos[Reg.B],
        reg_c=cmos[Reg.C] & ~C_IRQF,
        memory=cmos[MEMORY_FIRST:],
        index=values["cmos_index"],
        **found.get("emu/mc146818rtc", ours),
    )


def _never(_state: object) -> bool:
    return False


REINJECT = "irq_reinject_on_ack_count"  # of QEMU's lost ticks; we lose none

QEMU = Section(
    "mc146818rtc",
    3,
    (
        vmstate.buffer("cmos_data", 128),
        vmstate.u8("cmos_index"),
        vmstate.Constant("unused", bytes(7 * 4)),
        vmstate.i64("periodic_timer"),
        vmstate.i64("next_periodic_time"),
        vmstate.Constant("unused2", bytes(3 * 8)),
        vmstate.u32("irq_coalesced", since=2),
        vmstate.u32("period", since=2),
        vmstate.u64("base_rtc", since=3),
        vmstate.u64("last_update", since=3),
        vmstate.i64("offset", since=3),
        vmstate.i64("update_timer", since=3),
        vmstate.u64("next_alarm_time", since=3),
    ),
    encode=_encode,
    subsections=(Subsection(f"mc146818rtc/{REINJECT}", 1, (vmstate.u16(REINJECT),), _never),),
)

REST = Section(
    "emu/mc146818rtc",
    1,
    vmstate.fields_of(State, without=("time", "reg_a", "reg_b", "reg_c", "memory", "index")),
)

SAVED = Saved(State, (QEMU, REST), _decode)


# ==== plugging it in ======================================================================


def describe(
    state: State,
    memory_bytes: int,
    floppies: tuple[Floppy, Floppy],
    *,
    coprocessor: bool,
    pointing_device: bool,
) -> None:
    """Fill in the machine's configuration, as the AT's SETUP program would."""
    above_1_mib = max(0, memory_bytes - (1 << 20))
    above_16_mib = max(0, memory_bytes - (1 << 24))
    extended_kib = min(above_1_mib >> 10, 0xFFFF)
    equipment = EQUIPMENT_COPROCESSOR if coprocessor else 0
    equipment |= EQUIPMENT_POINTING_DEVICE if pointing_device else 0
    equipment |= EQUIPMENT_FLOPPY if any(floppies) else 0
    equipment |= EQUIPMENT_SECOND_FLOPPY if all(floppies) else 0
    state.put(Memory.FLOPPY_TYPES, floppies[0] << 4 | floppies[1])
    state.put(Memory.EQUIPMENT, equipment)
    state.put_word(Memory.BASE_KIB, min(memory_bytes >> 10, 640))
    state.put_word(Memory.EXTENDED_KIB, extended_kib)
    state.put_word(Memory.EXTENDED_KIB_FOUND, extended_kib)
    state.put_word(Memory.ABOVE_16_MIB, min(above_16_mib >> 16, 0xFFFF))
    state.put(Memory.MORE_PROCESSORS, 0)
    first = Memory.FLOPPY_TYPES - MEMORY_FIRST
    checksum = sum(state.memory[first : Memory.CHECKSUM - MEMORY_FIRST])
    state.put(Memory.CHECKSUM, checksum >> 8)
    state.put(Memory.CHECKSUM + 1, checksum & 0xFF)


def attach(
    slot: Slot,
    rtc_base_s: int,
    memory_bytes: int,
    *,
    nmi_mask: Line,
    floppies: tuple[Floppy, Floppy] = (Floppy.NONE, Floppy.NONE),
    coprocessor: bool = True,
    pointing_device: bool = False,
) -> MC146818:
    """Plug the clock into *slot*; it shows *rtc_base_s* seconds since 1970 at power-on.

    *nmi_mask* is driven high while the guest masks NMI.  Raises ConfigError for a time
    that four digits of a year cannot show.
    """
    if not 0 <= rtc_base_s < FOUR_DIGITS_S:
        raise ConfigError(f"rtc_base {rtc_base_s}: expected seconds from 1970 to the year 9999")
    shadows = slot.shadows.cells(PORT_BASE, PORT_BASE + 1)
    card = MC146818(slot.clock, slot.irq(IRQ_NUMBER), nmi_mask, shadows)
    state = card.state
    moment = moment_at(rtc_base_s)
    show(state, moment)
    state.put(Memory.CENTURY, to_bcd(moment.century))
    describe(
        state, memory_bytes, floppies, coprocessor=coprocessor, pointing_device=pointing_device
    )
    start(state, slot.clock.now_ns)
    slot.register_ioport_write(PORT_BASE, 1, 1, card.write_index)
    slot.register_ioport_read(PORT_BASE + 1, 1, 1, card.read_data)
    slot.register_ioport_write(PORT_BASE + 1, 1, 1, card.write_data)
    slot.register_reset(card.reset)
    slot.register_boot_set(card.boot_set)
    slot.register_state(SAVED, card)
    card.settle()
    return card
