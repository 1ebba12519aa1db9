"""The MC146818A does what its data sheet says, and the AT's CMOS holds what firmware looks for.

Headings and tables are those of the Motorola MC146818A data sheet.  The clock is driven only by
its two ports, the RESET line and time.
"""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

from bench import Bench
from emu.clock import NS_PER_S
from emu.errors import ConfigError, StreamError
from emu.hw import mc146818
from emu.hw.mc146818 import (
    A_UIP,
    B_24_12,
    B_AIE,
    B_DM,
    B_PIE,
    B_SET,
    B_SQWE,
    B_UIE,
    C_AF,
    C_IRQF,
    C_PF,
    C_UF,
    DONT_CARE,
    HOURS_PM,
    MC146818,
    QEMU,
    SAVED,
    Floppy,
    Reg,
)
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.stream import from_bytes

MIB = 1 << 20
US = 1_000
MS = 1_000_000
HALF_SECOND = NS_PER_S // 2

UIP_RISES = NS_PER_S - 2228 * US  # in each second: 244 us, then 1984 us
FIRST_UPDATE = NS_PER_S  # after power-on

DV_4_MHZ, DV_1_MHZ, DV_32_KHZ, DV_TEST, DV_RESET = 0x00, 0x10, 0x20, 0x30, 0x70
A_AT_POWER_ON = 0x26

RTC = Bench[MC146818]

BCD_24 = B_24_12
BCD_12 = 0
BINARY_24 = B_DM | B_24_12
BINARY_12 = B_DM

# Table 3: how the hours from 0 to 23, and the minutes and seconds, are written in each mode.
BCD = [int(f"{number}", 16) for number in range(60)]
BINARY = list(range(60))
AM, PM = [12, *range(1, 12)], HOURS_PM
HOURS = {
    BCD_24: BCD[:24],
    BCD_12: [BCD[n] for n in AM] + [PM | BCD[n] for n in AM],
    BINARY_24: BINARY[:24],
    BINARY_12: AM + [PM | n for n in AM],
}
SIXTIETHS = {BCD_24: BCD, BCD_12: BCD, BINARY_24: BINARY, BINARY_12: BINARY}


def epoch_s(text: str) -> int:
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp())


def clock_at(text: str = "2024-05-17 10:20:30", memory_bytes: int = 16 * MIB) -> RTC:
    """A clock that shows *text* at power-on."""
    return Bench(
        lambda slot: mc146818.attach(slot, epoch_s(text), memory_bytes, nmi_mask=Line("NMI mask"))
    )


@pytest.fixture
def rtc() -> RTC:
    return clock_at()


def read(rtc: RTC, register: int) -> int:
    rtc.outb(0x70, register)
    return rtc.inb(0x71)


def write(rtc: RTC, register: int, value: int) -> None:
    rtc.outb(0x70, register)
    rtc.outb(0x71, value)


def read_word(rtc: RTC, register: int) -> int:
    return read(rtc, register) | read(rtc, register + 1) << 8


def time_of(rtc: RTC) -> str:
    """The time registers as they are, in hexadecimal, with the century; so BCD is legible."""
    registers = (0x32, Reg.YEAR, Reg.MONTH, Reg.DATE, Reg.HOURS, Reg.MINUTES, Reg.SECONDS)
    century, year, month, date, hours, minutes, seconds = (read(rtc, each) for each in registers)
    return f"{century:02x}{year:02x}-{month:02x}-{date:02x} {hours:02x}:{minutes:02x}:{seconds:02x}"


def uip(rtc: RTC) -> bool:
    return bool(read(rtc, Reg.A) & A_UIP)


class TestCounting:
    def test_shows_the_time_it_was_given_at_power_on(self, rtc: RTC) -> None:
        """Table 3: BCD, 24 hours, as an AT's firmware expects; 17 May 2024 was a Friday."""
        assert time_of(rtc) == "2024-05-17 10:20:30"
        assert read(rtc, Reg.DAY_OF_WEEK) == 6
        assert read(rtc, Reg.B) == B_24_12

    def test_counts_a_second_when_a_second_is_over(self, rtc: RTC) -> None:
        """Under "Update Cycle": once per second."""
        rtc.wait(FIRST_UPDATE - 1)
        assert time_of(rtc) == "2024-05-17 10:20:30"

        rtc.wait(1)
        assert time_of(rtc) == "2024-05-17 10:20:31"

        rtc.wait(NS_PER_S - 1)
        assert time_of(rtc) == "2024-05-17 10:20:31"

        rtc.wait(1)
        assert time_of(rtc) == "2024-05-17 10:20:32"

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("2024-05-17 10:20:59", "2024-05-17 10:21:00"),
            ("2024-05-17 10:59:59", "2024-05-17 11:00:00"),
            ("2024-05-17 23:59:59", "2024-05-18 00:00:00"),
            ("2024-04-30 23:59:59", "2024-05-01 00:00:00"),
            ("2024-05-31 23:59:59", "2024-06-01 00:00:00"),
            ("2023-02-28 23:59:59", "2023-03-01 00:00:00"),
            ("2024-02-28 23:59:59", "2024-02-29 00:00:00"),
            ("2024-02-29 23:59:59", "2024-03-01 00:00:00"),
            ("2000-02-28 23:59:59", "2000-02-29 00:00:00"),
            ("2023-12-31 23:59:59", "2024-01-01 00:00:00"),
            ("1999-12-31 23:59:59", "2000-01-01 00:00:00"),
            ("9999-12-30 23:59:59", "9999-12-31 00:00:00"),
        ],
    )
    def test_carries(self, before: str, after: str) -> None:
        """Front page: "automatic end of month recognition, automatic leap year compensation"; DS12C887
        for the century.
        """
        rtc = clock_at(before)
        rtc.wait(FIRST_UPDATE)

        assert time_of(rtc) == after

    def test_every_fourth_year_is_a_leap_year(self) -> None:
        """The calendar is of a hundred years: 2100 has a 29th of February."""
        rtc = clock_at("2100-02-28 23:59:59")
        rtc.wait(FIRST_UPDATE)

        assert time_of(rtc) == "2100-02-29 00:00:00"

    def test_the_century_after_99_is_00(self) -> None:
        """The century has two digits too."""
        rtc = clock_at("9998-12-31 23:59:59")
        rtc.wait(FIRST_UPDATE + 365 * 86_400 * NS_PER_S)

        assert time_of(rtc) == "0000-01-01 00:00:00"

    def test_the_day_of_the_week_is_counted_on_its_own(self) -> None:
        """Table 3: Sunday = 1; the chip does not know what day a date is."""
        rtc = clock_at("2024-05-17 23:59:59")
        write(rtc, Reg.DAY_OF_WEEK, 7)
        rtc.wait(FIRST_UPDATE)

        assert read(rtc, Reg.DAY_OF_WEEK) == 1

    @pytest.mark.parametrize("seconds", [59, 3600, 86_400, 366 * 86_400, 4_000_000_000 // 40])
    def test_a_long_time_unread_is_counted_in_full(self, seconds: int) -> None:
        """The registers are brought up to date when they are read."""
        rtc = clock_at("2024-01-01 00:00:00")
        rtc.wait(seconds * NS_PER_S)

        shown = dt.datetime(2024, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001
        assert time_of(rtc) == str(shown)
        assert read(rtc, Reg.DAY_OF_WEEK) == shown.isoweekday() % 7 + 1


class TestDataModes:
    @pytest.mark.parametrize("mode", [BCD_24, BCD_12, BINARY_24, BINARY_12])
    @pytest.mark.parametrize("hour", range(24))
    def test_hours(self, mode: int, hour: int) -> None:
        """Table 3: each hour in each mode follows the one before; the date changes at midnight."""
        rtc = clock_at()
        write(rtc, Reg.B, B_SET | mode)
        write(rtc, Reg.SECONDS, SIXTIETHS[mode][59])
        write(rtc, Reg.MINUTES, SIXTIETHS[mode][59])
        write(rtc, Reg.HOURS, HOURS[mode][hour - 1])
        write(rtc, Reg.DATE, 1)
        write(rtc, Reg.B, mode)

        rtc.wait(NS_PER_S)

        assert read(rtc, Reg.HOURS) == HOURS[mode][hour]
        assert read(rtc, Reg.DATE) == (2 if hour == 0 else 1)

    def test_binary(self) -> None:
        """Table 3, "Binary Data Mode"."""
        rtc = clock_at()
        binary = {
            Reg.YEAR: 99,
            Reg.MONTH: 12,
            Reg.DATE: 30,
            Reg.DAY_OF_WEEK: 3,
            Reg.HOURS: 23,
            Reg.MINUTES: 59,
            Reg.SECONDS: 58,
        }
        write(rtc, Reg.B, B_SET | B_DM | B_24_12)
        for register, value in binary.items():
            write(rtc, register, value)
        write(rtc, Reg.B, B_DM | B_24_12)

        rtc.wait(NS_PER_S)
        assert {each: read(rtc, each) for each in binary} == binary | {Reg.SECONDS: 59}

        rtc.wait(NS_PER_S)
        assert {each: read(rtc, each) for each in binary} == {
            Reg.YEAR: 99,
            Reg.MONTH: 12,
            Reg.DATE: 31,
            Reg.DAY_OF_WEEK: 4,
            Reg.HOURS: 0,
            Reg.MINUTES: 0,
            Reg.SECONDS: 0,
        }

    def test_changing_the_mode_converts_nothing(self, rtc: RTC) -> None:
        """Under "Time, Calendar, and Alarm Locations": the ten bytes must be initialized again."""
        write(rtc, Reg.B, B_DM | B_24_12)

        assert time_of(rtc) == "2024-05-17 10:20:30"

        rtc.wait(FIRST_UPDATE)
        assert read(rtc, Reg.SECONDS) == 0x31
        assert read(rtc, Reg.MINUTES) == 0x20

    def test_what_no_clock_shows_reads_back_until_the_next_update(self, rtc: RTC) -> None:
        """Undefined by the data sheet: it counts as the nearest value that a clock shows."""
        for register in Reg.SECONDS, Reg.MINUTES, Reg.HOURS, Reg.DATE, Reg.MONTH, Reg.YEAR:
            write(rtc, register, 0xFF)
        write(rtc, Reg.DAY_OF_WEEK, 0)
        write(rtc, 0x32, 0xFF)
        assert time_of(rtc) == "ffff-ff-ff ff:ff:ff"
        assert read(rtc, Reg.DAY_OF_WEEK) == 0

        rtc.wait(FIRST_UPDATE)

        assert time_of(rtc) == "0000-01-01 00:00:00"
        assert read(rtc, Reg.DAY_OF_WEEK) == 2

    def test_twelve_hours_and_nonsense(self, rtc: RTC) -> None:
        """The same in 12-hour mode: 13 o'clock is no hour, 12 AM the nearest."""
        write(rtc, Reg.B, 0)
        write(rtc, Reg.HOURS, 0x13)
        rtc.wait(FIRST_UPDATE)

        assert read(rtc, Reg.HOURS) == 0x12


class TestUpdateCycle:
    @pytest.mark.parametrize(
        ("at", "high"),
        [
            (0, False),
            (UIP_RISES - 1, False),
            (UIP_RISES, True),
            (NS_PER_S - 1, True),
            (NS_PER_S, False),
            (NS_PER_S + UIP_RISES - 1, False),
            (NS_PER_S + UIP_RISES, True),
        ],
    )
    def test_UIP_is_high_from_244_us_before_the_update_to_its_end(
        self, rtc: RTC, at: int, *, high: bool
    ) -> None:
        """Table 6."""
        rtc.wait(at)

        assert uip(rtc) == high

    def test_the_time_does_not_change_within_244_us_of_a_low_UIP(self, rtc: RTC) -> None:
        """Register A: "when UIP is a 0 the update cycle ... will not be for at least 244 us"."""
        rtc.wait(UIP_RISES - 1)
        assert not uip(rtc)

        rtc.wait(244 * US)
        assert time_of(rtc) == "2024-05-17 10:20:30"

    @pytest.mark.parametrize("time_base", [DV_4_MHZ, DV_1_MHZ])
    def test_an_update_takes_248_us_with_a_faster_crystal(self, rtc: RTC, time_base: int) -> None:
        """Table 6: it begins when it would, and ends sooner."""
        write(rtc, Reg.A, time_base)
        rtc.wait(UIP_RISES)
        assert uip(rtc)

        rtc.wait(244 * US + 248 * US - 1)
        assert uip(rtc)
        assert read(rtc, Reg.SECONDS) == 0x30

        rtc.wait(1)
        assert not uip(rtc)
        assert read(rtc, Reg.SECONDS) == 0x31

    def test_SET_stops_the_updates(self, rtc: RTC) -> None:
        """Register B, SET: the program may initialize the time undisturbed."""
        write(rtc, Reg.B, B_SET | B_24_12)
        rtc.wait(10 * NS_PER_S - 1)
        assert time_of(rtc) == "2024-05-17 10:20:30"
        assert not uip(rtc)
        assert not read(rtc, Reg.C) & C_UF

        write(rtc, Reg.B, B_24_12)
        rtc.wait(1)
        assert time_of(rtc) == "2024-05-17 10:20:30", "the update of this second began under SET"

        rtc.wait(NS_PER_S)
        assert time_of(rtc) == "2024-05-17 10:20:31", "the phase of the divider is as it was"

    def test_SET_aborts_an_update_in_progress(self, rtc: RTC) -> None:
        """Register A, UIP: SET "inhibits any update cycle and then clears the UIP status bit"."""
        rtc.wait(NS_PER_S - 1)
        assert uip(rtc)

        write(rtc, Reg.B, B_SET | B_24_12)
        assert not uip(rtc)

        write(rtc, Reg.B, B_24_12)
        rtc.wait(1)
        assert time_of(rtc) == "2024-05-17 10:20:30"

    def test_an_update_that_begins_after_SET_is_cleared_takes_place(self, rtc: RTC) -> None:
        """Register B, SET."""
        write(rtc, Reg.B, B_SET | B_24_12)
        rtc.wait(UIP_RISES + 1)
        write(rtc, Reg.B, B_24_12)
        assert uip(rtc)

        rtc.wait(2228 * US)
        assert time_of(rtc) == "2024-05-17 10:20:31"

    @pytest.mark.parametrize("stopped", [0x30, 0x40, 0x50, 0x60, 0x70])
    def test_the_divider_held_in_reset_stops_the_clock(self, rtc: RTC, stopped: int) -> None:
        """Table 4: 11x resets the divider chain; the test modes do the same here."""
        write(rtc, Reg.A, stopped | 6)
        rtc.wait(10 * NS_PER_S)

        assert time_of(rtc) == "2024-05-17 10:20:30"
        assert read(rtc, Reg.A) == stopped | 6
        assert read(rtc, Reg.C) == 0

    @pytest.mark.parametrize("time_base", [DV_4_MHZ, DV_1_MHZ, DV_32_KHZ])
    def test_the_first_update_begins_half_a_second_after_reset(
        self, rtc: RTC, time_base: int
    ) -> None:
        """Under "Divider Control": "when the divider reset is removed ..."."""
        rtc.wait(123_456_789)
        write(rtc, Reg.A, DV_RESET)
        rtc.wait(3 * NS_PER_S)
        write(rtc, Reg.A, time_base)

        rtc.wait(HALF_SECOND - 244 * US - 1)
        assert not uip(rtc)
        rtc.wait(1)
        assert uip(rtc)

        rtc.wait(244 * US + 1984 * US)
        assert time_of(rtc) == "2024-05-17 10:20:31"

        rtc.wait(NS_PER_S)
        assert time_of(rtc) == "2024-05-17 10:20:32"

    def test_writing_the_time_leaves_the_divider_alone(self, rtc: RTC) -> None:
        """A program that needs a new phase resets the divider, "Divider Control"."""
        rtc.wait(NS_PER_S - 5 * MS)
        write(rtc, Reg.SECONDS, 0x45)
        assert read(rtc, Reg.SECONDS) == 0x45

        rtc.wait(5 * MS)
        assert read(rtc, Reg.SECONDS) == 0x46

    def test_UIP_cannot_be_written(self, rtc: RTC) -> None:
        """Register A: "read/write register except UIP"."""
        write(rtc, Reg.A, 0xFF & ~0x50)
        assert read(rtc, Reg.A) == 0x2F


class TestUpdateEndedInterrupt:
    def test_UF_is_set_by_every_update_also_without_UIE(self, rtc: RTC) -> None:
        """Register C, UF; without UIE there is no IRQF."""
        rtc.wait(FIRST_UPDATE - 1)
        assert not read(rtc, Reg.C) & C_UF

        rtc.wait(1)
        assert not rtc.irq(8)
        assert read(rtc, Reg.C) & (C_UF | C_IRQF) == C_UF
        assert not read(rtc, Reg.C) & C_UF, "reading clears it"

    def test_IRQ_is_high_while_UF_and_UIE(self, rtc: RTC) -> None:
        """Register B, UIE, and Register C, IRQF: a level that goes when C is read."""
        write(rtc, Reg.B, B_UIE | B_24_12)
        rtc.wait(FIRST_UPDATE - 1)
        assert not rtc.irq(8)

        rtc.wait(1)
        assert rtc.irq(8)
        rtc.wait(5 * NS_PER_S)
        assert rtc.irq(8)

        assert read(rtc, Reg.C) & (C_UF | C_IRQF) == C_UF | C_IRQF
        assert not rtc.irq(8)

        rtc.wait(NS_PER_S)
        assert rtc.irq(8)

    def test_enabling_a_flag_that_is_up_raises_IRQ_at_once(self, rtc: RTC) -> None:
        """Under "Interrupts": a flag set before its enable; and it goes with the enable too."""
        rtc.wait(FIRST_UPDATE)

        write(rtc, Reg.B, B_UIE | B_24_12)
        assert rtc.irq(8)

        write(rtc, Reg.B, B_24_12)
        assert not rtc.irq(8)

    def test_SET_going_high_clears_UIE(self, rtc: RTC) -> None:
        """Register B, UIE: "or the SET bit going high clears the UIE bit"."""
        write(rtc, Reg.B, B_UIE | B_24_12)

        write(rtc, Reg.B, B_SET | B_UIE | B_AIE | B_PIE | B_24_12)
        assert read(rtc, Reg.B) == B_SET | B_AIE | B_PIE | B_24_12

    def test_UIE_can_be_set_while_SET_is_high(self, rtc: RTC) -> None:
        """It is the edge that clears it; no update comes until SET is low again."""
        write(rtc, Reg.B, B_SET | B_24_12)
        write(rtc, Reg.B, B_SET | B_UIE | B_24_12)
        assert read(rtc, Reg.B) == B_SET | B_UIE | B_24_12

        rtc.wait(5 * NS_PER_S)
        assert not rtc.irq(8)

        write(rtc, Reg.B, B_UIE | B_24_12)
        rtc.wait(NS_PER_S)
        assert rtc.irq(8)

    def test_a_stopped_divider_interrupts_nobody(self, rtc: RTC) -> None:
        """Under "Divider Control"."""
        write(rtc, Reg.A, DV_RESET | 3)
        write(rtc, Reg.B, B_UIE | B_PIE | B_AIE | B_24_12)
        rtc.wait(10 * NS_PER_S)

        assert not rtc.irq(8)


def first_match(alarm: tuple[int, int, int], start_s: int, mode: int) -> int:
    """How many seconds after *start_s* of the day the bytes of *alarm* match, byte by byte."""
    hours, minutes, seconds = (
        {place for place, code in enumerate(codes) if byte >= DONT_CARE or byte == code}
        for byte, codes in zip(alarm, (HOURS[mode], SIXTIETHS[mode], SIXTIETHS[mode]), strict=True)
    )
    return next(
        s - start_s
        for s in range(start_s + 1, start_s + 86_401)
        if s % 60 in seconds and s // 60 % 60 in minutes and s // 3600 % 24 in hours
    )


def set_alarm(rtc: RTC, alarm: tuple[int, int, int]) -> None:
    for register, value in zip(
        (Reg.HOURS_ALARM, Reg.MINUTES_ALARM, Reg.SECONDS_ALARM), alarm, strict=True
    ):
        write(rtc, register, value)


class TestAlarm:
    @pytest.mark.parametrize(
        ("mode", "start", "alarm"),
        [
            (BCD_24, "2024-05-17 10:20:30", (0x10, 0x20, 0x31)),
            (BCD_24, "2024-05-17 10:20:30", (0x10, 0x20, 0x30)),  # the same time tomorrow
            (BCD_24, "2024-05-17 10:20:30", (0x10, 0x20, 0x29)),
            (BCD_24, "2024-05-17 10:20:30", (0x09, 0x59, 0x59)),
            (BCD_24, "2024-05-17 10:20:30", (0x23, 0x00, 0x00)),
            (BCD_24, "2024-05-17 23:59:59", (0x00, 0x00, 0x00)),
            (BCD_24, "2024-05-17 10:20:30", (0x10, 0x20, 0xC0)),  # every second of a minute
            (BCD_24, "2024-05-17 10:20:59", (0x10, 0x21, 0xFF)),
            (BCD_24, "2024-05-17 10:20:59", (0x10, 0x20, 0xFF)),
            (BCD_24, "2024-05-17 10:20:30", (0x10, 0xC0, 0x30)),  # once a minute
            (BCD_24, "2024-05-17 10:20:30", (0x10, 0xC0, 0xC0)),
            (BCD_24, "2024-05-17 10:59:30", (0x10, 0xE5, 0x30)),
            (BCD_24, "2024-05-17 10:59:30", (0x11, 0xFF, 0xFF)),
            (BCD_24, "2024-05-17 10:20:30", (0xC0, 0x20, 0x31)),  # once an hour
            (BCD_24, "2024-05-17 10:20:30", (0xC0, 0x19, 0x31)),
            (BCD_24, "2024-05-17 10:20:30", (0xC0, 0x20, 0xC0)),
            (BCD_24, "2024-05-17 10:20:30", (0xC0, 0xC0, 0x10)),
            (BCD_24, "2024-05-17 10:20:30", (0xC0, 0xC0, 0xC0)),  # every second
            (BCD_24, "2024-05-17 23:59:58", (0xFF, 0x59, 0x58)),
            (BCD_12, "2024-05-17 11:59:58", (0x92, 0x00, 0x00)),  # 12 PM is noon
            (BCD_12, "2024-05-17 11:59:58", (0x12, 0x00, 0x00)),  # 12 AM is midnight
            (BCD_12, "2024-05-17 10:20:30", (0x81, 0x02, 0x03)),
            (BCD_12, "2024-05-17 10:20:30", (0x11, 0xC0, 0xC0)),
            (BINARY_24, "2024-05-17 10:20:30", (21, 43, 59)),
            (BINARY_24, "2024-05-17 10:20:30", (0xC0, 43, 0xC0)),
            (BINARY_12, "2024-05-17 10:20:30", (HOURS_PM | 9, 43, 59)),
            (BINARY_12, "2024-05-17 10:20:30", (12, 0, 59)),
        ],
    )
    def test_comes_with_the_update_that_makes_the_time_match(
        self, mode: int, start: str, alarm: tuple[int, int, int]
    ) -> None:
        """Under "Time, Calendar, and Alarm Locations": on the second, any of C0-FF matching all."""
        hour, minute, second = (int(part) for part in start.split()[1].split(":"))
        expected_s = first_match(alarm, 3600 * hour + 60 * minute + second, mode)
        rtc = clock_at(start)
        write(rtc, Reg.B, B_SET | mode)
        write(rtc, Reg.HOURS, HOURS[mode][hour])
        write(rtc, Reg.MINUTES, SIXTIETHS[mode][minute])
        write(rtc, Reg.SECONDS, SIXTIETHS[mode][second])
        set_alarm(rtc, alarm)
        write(rtc, Reg.B, mode | B_AIE)

        rtc.wait(expected_s * NS_PER_S - 1)
        assert not rtc.irq(8)

        rtc.wait(1)
        assert rtc.irq(8)
        assert read(rtc, Reg.C) & (C_AF | C_IRQF) == C_AF | C_IRQF
        assert not rtc.irq(8)

    @pytest.mark.parametrize("aie", [0, B_AIE])
    @pytest.mark.parametrize(
        ("wait_s", "found"), [(89, False), (90, True), (91, True), (86_400 * 3, True)]
    )
    def test_AF_is_there_afterwards_whether_or_not_anybody_waited(
        self, rtc: RTC, wait_s: int, aie: int, *, found: bool
    ) -> None:
        """Register C, AF: set without AIE too, and found when C is read."""
        set_alarm(rtc, (0x10, 0x22, 0x00))
        write(rtc, Reg.B, aie | B_24_12)
        rtc.wait(wait_s * NS_PER_S)

        assert bool(read(rtc, Reg.C) & C_AF) == found

    @pytest.mark.parametrize(
        ("mode", "alarm"),
        [
            (BCD_24, (0x24, 0x00, 0x00)),
            (BCD_24, (0x10, 0x60, 0x00)),
            (BCD_24, (0x10, 0x1A, 0xC0)),
            (BCD_24, (0xBF, 0xC0, 0xC0)),
            (BCD_12, (0x13, 0xC0, 0xC0)),
            (BCD_12, (0x00, 0xC0, 0xC0)),
            (BINARY_24, (0x10, 0x3C, 0xC0)),
            (BINARY_12, (0, 0xC0, 0xC0)),
        ],
    )
    def test_a_code_that_no_clock_shows_never_matches(
        self, rtc: RTC, mode: int, alarm: tuple[int, int, int]
    ) -> None:
        """Table 3: what is neither a time nor a "don't care" code."""
        set_alarm(rtc, alarm)
        write(rtc, Reg.B, mode | B_AIE)
        rtc.wait(2 * 86_400 * NS_PER_S)

        assert not rtc.irq(8)
        assert not read(rtc, Reg.C) & C_AF

    def test_comes_every_day_if_it_is_acknowledged(self, rtc: RTC) -> None:
        """Under "Interrupts": the alarm may be programmed to occur once a day."""
        set_alarm(rtc, (0x10, 0x20, 0x31))
        write(rtc, Reg.B, B_AIE | B_24_12)

        seen = []
        for _ in range(3):
            rtc.wait(86_400 * NS_PER_S)
            seen.append(read(rtc, Reg.C) & C_AF)
            seen.append(read(rtc, Reg.C) & C_AF)

        assert seen == [C_AF, 0] * 3

    def test_is_not_compared_while_SET_is_high(self, rtc: RTC) -> None:
        """Under "Update Cycle": it is the update that compares."""
        set_alarm(rtc, (0xFF, 0xFF, 0xFF))
        write(rtc, Reg.B, B_SET | B_AIE | B_24_12)
        rtc.wait(5 * NS_PER_S)

        assert not rtc.irq(8)


def count_edges(rtc: RTC, duration_ns: int, step_ns: int) -> int:
    """How often PF is found set when C is read every *step_ns*."""
    edges = 0
    for _ in range(duration_ns // step_ns):
        rtc.wait(step_ns)
        edges += bool(read(rtc, Reg.C) & C_PF)
    return edges


class TestPeriodicInterrupt:
    @pytest.mark.parametrize(
        ("rate", "hz"),
        [(1, 256), (2, 128), (3, 8192), (4, 4096), (6, 1024), (10, 64), (14, 4), (15, 2)],
    )
    def test_rates_at_32_kHz(self, rtc: RTC, rate: int, hz: int) -> None:
        """Table 5, third column; the IRQ comes as often as it is acknowledged."""
        write(rtc, Reg.A, DV_32_KHZ | rate)
        write(rtc, Reg.B, B_PIE | B_24_12)

        step = NS_PER_S // hz // 4
        duration = 16 * NS_PER_S // hz
        assert count_edges(rtc, duration, step) == 16

    @pytest.mark.parametrize("time_base", [DV_4_MHZ, DV_1_MHZ])
    @pytest.mark.parametrize(("rate", "hz"), [(1, 32_768), (2, 16_384), (3, 8192), (15, 2)])
    def test_rates_of_the_faster_crystals(
        self, rtc: RTC, time_base: int, rate: int, hz: int
    ) -> None:
        """Table 5, second column."""
        write(rtc, Reg.A, time_base | rate)

        assert count_edges(rtc, 16 * NS_PER_S // hz, NS_PER_S // hz // 4) == 16

    @pytest.mark.parametrize("rate", range(1, 16))
    def test_never_drifts(self, rtc: RTC, rate: int) -> None:
        """A tap of the chain that makes the seconds has a whole number of edges in each."""
        hz = {1: 256, 2: 128}.get(rate, 65_536 >> rate)
        write(rtc, Reg.A, DV_32_KHZ | rate)
        write(rtc, Reg.B, B_PIE | B_24_12)
        rtc.wait(HALF_SECOND)
        read(rtc, Reg.C)
        deadline = rtc.slot.clock.next_ns

        rtc.wait(1000 * NS_PER_S + HALF_SECOND)
        read(rtc, Reg.C)

        period = NS_PER_S / hz
        edges = (rtc.slot.clock.next_ns - deadline) / period
        assert edges == pytest.approx(round(edges), abs=2 / period)

    @pytest.mark.parametrize("pie", [0, B_PIE])
    def test_PF_is_set_half_a_period_before_UIP_rises(self, rtc: RTC, pie: int) -> None:
        """Under "Update Cycle", third method: the reads should be done within tPI/2 + tBUC of PF."""
        write(rtc, Reg.A, DV_32_KHZ | 15)
        write(rtc, Reg.B, pie | B_24_12)
        quarter = NS_PER_S // 4

        rtc.wait(UIP_RISES - 3 * quarter - 1)
        assert not read(rtc, Reg.C) & C_PF
        rtc.wait(1)
        assert read(rtc, Reg.C) & C_PF

        rtc.wait(2 * quarter - 1)
        assert not read(rtc, Reg.C) & C_PF
        rtc.wait(1)
        assert rtc.irq(8) == bool(pie)
        assert read(rtc, Reg.C) & C_PF

        rtc.wait(quarter)
        assert uip(rtc)

    def test_no_rate_no_PF(self, rtc: RTC) -> None:
        """Table 5: 0000 is none."""
        write(rtc, Reg.A, DV_32_KHZ)
        read(rtc, Reg.C)
        rtc.wait(10 * NS_PER_S)

        assert not read(rtc, Reg.C) & C_PF

    def test_goes_on_while_SET_is_high(self, rtc: RTC) -> None:
        """Register B: SET stops updates; the divider runs."""
        write(rtc, Reg.B, B_SET | B_PIE | B_24_12)
        rtc.wait(MS)

        assert rtc.irq(8)
        assert read(rtc, Reg.C) == C_IRQF | C_PF

    def test_stops_with_the_divider_and_starts_with_it(self, rtc: RTC) -> None:
        """Table 4, Table 5: the taps are those of the divider chain."""
        write(rtc, Reg.A, DV_RESET | 15)
        read(rtc, Reg.C)
        rtc.wait(NS_PER_S)
        assert read(rtc, Reg.C) == 0

        write(rtc, Reg.A, DV_32_KHZ | 15)
        assert count_edges(rtc, 2 * NS_PER_S, 50 * MS) == 4

    def test_an_idle_clock_sets_no_alarm(self, rtc: RTC) -> None:
        """Nobody can notice a flag that raises no IRQ before it is read: HLT need not end."""
        assert rtc.slot.clock.next_ns > 100 * 365 * 86_400 * NS_PER_S

        write(rtc, Reg.B, B_PIE | B_24_12)
        rtc.wait(NS_PER_S)
        assert rtc.irq(8)
        assert rtc.slot.clock.next_ns > 100 * 365 * 86_400 * NS_PER_S, "PF is up already"


class TestCatchingUp:
    @pytest.mark.parametrize("seed", range(20))
    def test_a_clock_seldom_read_has_what_a_clock_often_read_has(self, seed: int) -> None:
        """Time, UF, AF and PF are what ticking would have made of them."""
        rng = random.Random(seed)
        often, seldom = clock_at("2023-12-31 23:58:00"), clock_at("2023-12-31 23:58:00")
        mode = rng.choice([BCD_24, BCD_12, BINARY_24, BINARY_12])
        alarm = (0xFF, rng.choice([0xFF, 0x00, 0x01]), rng.choice([0xFF, 0x05, 0x30]))

        seen = []
        for rtc in often, seldom:
            write(rtc, Reg.B, mode)
            set_alarm(rtc, alarm)
        for _ in range(20):
            rate, wait = rng.choice([0, 6, 13, 15]), rng.randrange(20 * NS_PER_S)
            for rtc in often, seldom:
                write(rtc, Reg.A, DV_32_KHZ | rate)
            steps = sorted(rng.randrange(wait) for _ in range(50))
            for before, after in zip([0, *steps], [*steps, wait], strict=True):
                often.wait(after - before)
                read(often, Reg.SECONDS)
            seldom.wait(wait)
            look = [(time_of(rtc), uip(rtc), read(rtc, Reg.C)) for rtc in (often, seldom)]
            seen.append(look)

        assert all(a == b for a, b in seen)


class TestRegistersCAndD:
    @pytest.mark.parametrize("register", [Reg.C, Reg.D])
    def test_are_read_only(self, rtc: RTC, register: Reg) -> None:
        """Registers C and D: "read-only register"."""
        before = read(rtc, register)
        write(rtc, register, before ^ 0xFF)

        assert read(rtc, register) == before

    def test_the_battery_is_good(self, rtc: RTC) -> None:
        """Register D, VRT; the rest reads as 0."""
        assert read(rtc, Reg.D) == 0x80


class TestReset:
    def test_clears_the_enables_and_the_flags(self, rtc: RTC) -> None:
        """Under "RESET" in "Signal Descriptions": PIE AIE UIE SQWE; PF AF UF IRQF."""
        write(rtc, Reg.B, 0xFF & ~B_SET)
        rtc.wait(NS_PER_S)
        assert rtc.irq(8)

        rtc.slot.reset()

        assert not rtc.irq(8)
        assert read(rtc, Reg.C) == 0
        assert read(rtc, Reg.B) == 0xFF & ~(B_SET | B_PIE | B_AIE | B_UIE | B_SQWE)

    def test_clears_flags_that_nobody_has_seen(self, rtc: RTC) -> None:
        """They were up before RESET, although nothing looked."""
        set_alarm(rtc, (0xFF, 0xFF, 0xFF))
        rtc.wait(NS_PER_S)
        rtc.slot.reset()

        assert read(rtc, Reg.C) == 0

    def test_leaves_clock_calendar_and_memory_alone(self, rtc: RTC) -> None:
        """Under "RESET": "does not affect the clock, calendar, or RAM functions"."""
        write(rtc, 0x0F, 0x0A)
        write(rtc, Reg.A, DV_32_KHZ | 9)
        rtc.wait(1234 * MS)

        rtc.slot.reset()
        rtc.wait(766 * MS)

        assert time_of(rtc) == "2024-05-17 10:20:32"
        assert read(rtc, 0x0F) == 0x0A
        assert read(rtc, Reg.A) == DV_32_KHZ | 9

    def test_leaves_SET_alone(self, rtc: RTC) -> None:
        """Register B, SET: "not modified by RESET"."""
        write(rtc, Reg.B, B_SET)
        rtc.slot.reset()

        assert read(rtc, Reg.B) == B_SET


class TestPort70h:
    def test_bit_7_masks_NMI(self, rtc: RTC) -> None:
        """IBM PC/AT: masked at power-on, then as last written; RESET masks."""
        assert rtc.card.nmi_mask.level

        rtc.outb(0x70, 0x0D)
        assert not rtc.card.nmi_mask.level

        rtc.outb(0x70, 0x8D)
        assert rtc.card.nmi_mask.level
        assert rtc.inb(0x71) == 0x80, "and the register is chosen all the same"

        rtc.outb(0x70, 0x0D)
        rtc.slot.reset()
        assert rtc.card.nmi_mask.level

    def test_cannot_be_read(self, rtc: RTC) -> None:
        """IBM PC/AT: nothing drives the bus."""
        rtc.outb(0x70, 0x12)
        assert rtc.inb(0x70) == 0xFF

    def test_a_word_goes_to_both_ports(self, rtc: RTC) -> None:
        """A common way to write: AL is the register, AH the value."""
        rtc.slot.ports.write(0x70, 0x5A40, 2)
        assert read(rtc, 0x40) == 0x5A


class TestMemory:
    def test_every_byte_of_it_keeps_what_is_written(self, rtc: RTC) -> None:
        """Under "Static CMOS RAM", of 114 bytes as in the AT's later chips."""
        for register in range(0x0E, 0x80):
            write(rtc, register, register ^ 0xA5)

        assert [read(rtc, each) for each in range(0x0E, 0x80)] == [
            each ^ 0xA5 for each in range(0x0E, 0x80)
        ]

    @pytest.mark.parametrize(
        ("memory_kib", "base", "extended", "above_16_mib"),
        [
            (512, 512, 0, 0),
            (640, 640, 0, 0),
            (1024, 640, 0, 0),
            (4 * 1024, 640, 3 * 1024, 0),
            (16 * 1024, 640, 15 * 1024, 0),
            (17 * 1024, 640, 16 * 1024, 16),
            (128 * 1024, 640, 65_535, 112 * 16),
            (2048 * 1024, 640, 65_535, 2032 * 16),
            (8192 * 1024, 640, 65_535, 65_535),
        ],
    )
    def test_firmware_finds_the_size_of_memory(
        self, memory_kib: int, base: int, extended: int, above_16_mib: int
    ) -> None:
        """CMOS map: 15h, 17h and 30h in KiB, 34h in units of 64 KiB; low byte first."""
        rtc = clock_at(memory_bytes=memory_kib << 10)

        assert read_word(rtc, 0x15) == base
        assert read_word(rtc, 0x17) == extended
        assert read_word(rtc, 0x30) == extended
        assert read_word(rtc, 0x34) == above_16_mib

    @pytest.mark.parametrize(
        ("floppies", "types", "equipment"),
        [
            ((Floppy.NONE, Floppy.NONE), 0x00, 0x00),
            ((Floppy.MB_1_44, Floppy.NONE), 0x40, 0x01),
            ((Floppy.MB_1_44, Floppy.MB_1_2), 0x42, 0x41),
        ],
    )
    @pytest.mark.parametrize(("coprocessor", "pointing_device"), [(False, True), (True, False)])
    def test_firmware_finds_the_equipment(
        self,
        floppies: tuple[Floppy, Floppy],
        types: int,
        equipment: int,
        *,
        coprocessor: bool,
        pointing_device: bool,
    ) -> None:
        """CMOS map: 10h drive types; 14h drives, coprocessor (bit 1), mouse (bit 2)."""

        def plug_in(slot: Slot) -> MC146818:
            return mc146818.attach(
                slot,
                0,
                MIB,
                nmi_mask=Line("NMI mask"),
                floppies=floppies,
                coprocessor=coprocessor,
                pointing_device=pointing_device,
            )

        rtc = Bench(plug_in)

        assert read(rtc, 0x10) == types
        assert read(rtc, 0x14) == equipment | coprocessor << 1 | pointing_device << 2

    def test_the_checksum_is_right(self) -> None:
        """CMOS map: 2Eh and 2Fh, high byte first, the sum of 10h-2Dh."""
        rtc = clock_at(memory_bytes=64 * MIB)
        checksum = sum(read(rtc, register) for register in range(0x10, 0x2E))

        assert checksum > 0xFF
        assert read(rtc, 0x2E) << 8 | read(rtc, 0x2F) == checksum

    def test_the_rest_is_zero(self, rtc: RTC) -> None:
        """0Fh: no shutdown under way; 5Fh: no processors beyond the first."""
        filled = {0x14, 0x15, 0x16, 0x18, 0x2F, 0x31, 0x32}  # 0F00h KiB and so on

        assert {each for each in range(0x0E, 0x80) if read(rtc, each)} == filled

    @pytest.mark.parametrize("seconds", [-1, 253_402_300_800])
    def test_a_time_without_four_digits_of_year_is_refused(self, seconds: int) -> None:
        """The machine's configuration may be wrong."""
        with pytest.raises(ConfigError, match="rtc_base"):
            mc146818.attach(Slot(), seconds, MIB, nmi_mask=Line("NMI mask"))


class TestBootOrder:
    @pytest.mark.parametrize(
        ("order", "first_two", "third"),
        [
            ("", 0x00, 0x00),
            ("a", 0x01, 0x00),
            ("c", 0x02, 0x00),
            ("cd", 0x32, 0x00),
            ("nda", 0x34, 0x10),
            ("acd", 0x21, 0x30),
        ],
    )
    def test_is_where_firmware_looks_for_it(
        self, rtc: RTC, order: str, first_two: int, third: int
    ) -> None:
        """3Dh: the first in the low nibble, the second in the high; 38h: the third, high."""
        write(rtc, 0x38, 0xFF)
        write(rtc, 0x3D, 0xFF)

        rtc.slot.boot_set(order)

        assert (read(rtc, 0x3D), read(rtc, 0x38)) == (first_two, third)

    @pytest.mark.parametrize(
        ("order", "problem"),
        [("cx", "'x'"), ("cdc", "'c' is there twice"), ("acdn", "more than 3")],
    )
    def test_what_cannot_be_is_refused(self, rtc: RTC, order: str, problem: str) -> None:
        """And changes nothing."""
        rtc.slot.boot_set("d")

        with pytest.raises(ConfigError, match=problem):
            rtc.slot.boot_set(order)
        assert read(rtc, 0x3D) == 0x03


Look = tuple[str, bool, bool, int, int, int]


class TestSavedAndRestored:
    MOMENTS = 24

    def look(self, rtc: RTC) -> Look:
        """Everything that shows, C last as it clears."""
        outside = rtc.irq(8), rtc.card.nmi_mask.level
        index_leads_to = rtc.inb(0x71)
        return time_of(rtc), *outside, index_leads_to, read(rtc, Reg.A), read(rtc, Reg.C)

    def run(self, *, migrate_at: int | None = None) -> list[Look]:
        """A busy minute around a new year, moved to another machine once."""
        rtc = clock_at("1999-12-31 23:59:52")
        set_alarm(rtc, (0xFF, 0x00, 0x02))
        doings = {
            0: lambda: write(rtc, Reg.B, B_PIE | B_AIE | B_UIE | B_24_12),
            3: lambda: write(rtc, Reg.A, DV_32_KHZ | 15),
            5: lambda: rtc.outb(0x70, 0x95),
            8: lambda: write(rtc, Reg.B, B_SET | B_24_12),
            11: lambda: write(rtc, Reg.B, B_AIE | B_24_12),
            15: lambda: write(rtc, Reg.A, DV_RESET | 3),
            17: lambda: write(rtc, Reg.A, DV_32_KHZ | 14),
            19: lambda: rtc.slot.reset(),  # noqa: PLW0108 - rtc changes
            21: lambda: write(rtc, Reg.HOURS, 0x99),
        }
        seen = []
        for moment in range(self.MOMENTS):
            if moment == migrate_at:
                rtc = rtc.migrate()
            if moment in doings:
                doings[moment]()
            rtc.wait(777_777_777)
            if moment % 2:
                seen.append(self.look(rtc))
        return seen

    @pytest.mark.parametrize("moment", range(MOMENTS))
    def test_a_restore_at_any_moment_is_invisible(self, moment: int) -> None:
        """A restored clock cannot be told from one that never stopped."""
        assert self.run(migrate_at=moment) == self.run()

    @pytest.mark.parametrize("offset", range(-3 * MS, 2 * MS, 500_000))
    def test_a_restore_around_an_update_is_invisible(self, offset: int) -> None:
        """Also between UIP and the new second."""
        here = clock_at()
        write(here, Reg.B, B_UIE | B_24_12)
        here.wait(NS_PER_S + offset)
        there = here.migrate()

        assert self.look(there) == self.look(here)
        there.wait(MS)
        here.wait(MS)
        assert self.look(there) == self.look(here)

    def test_the_stream_is_what_it_has_always_been(self) -> None:
        """QEMU's version 3, byte for byte, and our own part beside it."""
        rtc = busy_clock()
        rtc.outb(0x70, 0x8D)

        rtc.wait(1_500_000_000)

        assert rtc.slot.registry.save_sections() == {
            ("mc146818rtc", 0): (3, GOLDEN_QEMU),
            ("emu/mc146818rtc", 0): (1, GOLDEN_REST),
        }


def busy_clock() -> RTC:
    """A clock with all its interrupts on and an alarm five seconds off."""
    rtc = clock_at("2024-05-17 10:20:30", 64 * MIB)
    set_alarm(rtc, (0x10, 0x20, 0x35))
    write(rtc, Reg.B, B_PIE | B_UIE | B_AIE | B_24_12)
    rtc.slot.boot_set("cda")
    return rtc


# `busy_clock` after a second and a half.  The instants of QEMU's section are those of a clock
# that shows the guest's time: 66472F6Fh s is 10:20:31, the second that began at 1,000,000,000 ns.
GOLDEN_QEMU = bytes.fromhex(
    "31 35 20 20 10 10 06 17 05 24  26 72 d0 80"  # time; A B C D
    "0000 00000000 02 8002 00fc"  # 0E-18
    + "00" * (0x2E - 0x19)
    + "0180 00fc 20 00 0003 0000 10 00000000 32"  # 2E-3D
    + "00" * (0x80 - 0x3E)
    + "0d"  # cmos_index
    + "00" * 28
    + "17d03f754936d79f 17d03f754936d79f"  # periodic_timer, next_periodic_time: 213,407 ns later
    + "00" * 24
    + "00000000 00000020"  # irq_coalesced, period
    + "0000000066472f6f 17d03f7549339600 0000000000000000"  # base_rtc, last_update, offset
    + "17d03f76379ebe00 17d03f76379ebe00"  # update_timer, as UF is up, next_alarm_time: 4 s later
)
GOLDEN_REST = bytes.fromhex("01 0000000077174e00 000000003b9e0b9f")  # masked, second, periodic


def qemu_values(rtc: RTC) -> dict[str, Any]:
    """What *rtc* says in QEMU's section."""
    version, data = rtc.slot.registry.save_sections()[QEMU.idstr, 0]
    return QEMU.get(from_bytes(data), version)


def loaded(data: bytes, version: int = 3, *, at_ns: int = 77 * NS_PER_S) -> RTC:
    """A clock that has loaded QEMU's section and not ours, *at_ns* on its machine's clock."""
    rtc = clock_at("2001-01-01 00:00:00")
    rtc.slot.clock.now_ns = at_ns
    values = QEMU.get(from_bytes(data), version)
    rtc.card.state = SAVED.decode(from_bytes(b""), {QEMU.idstr: values})
    rtc.card.settle()
    return rtc


class TestStreamsOfQEMU:
    """Their instants are of the host's clock, and what is only ours is not there."""

    def test_the_time_goes_on_from_what_the_registers_show(self) -> None:
        """A whole second passes before it changes; the machine's own clock does not matter."""
        rtc = loaded(GOLDEN_QEMU)
        rtc.wait(0)
        assert time_of(rtc) == "2024-05-17 10:20:31"

        rtc.wait(NS_PER_S - 1)
        assert time_of(rtc) == "2024-05-17 10:20:31"

        rtc.wait(1)
        assert time_of(rtc) == "2024-05-17 10:20:32"

    def test_the_interrupts_go_on(self) -> None:
        """IRQF is up from the stream; then PF, UF and AF come as they would."""
        rtc = loaded(GOLDEN_QEMU)
        rtc.wait(0)
        assert rtc.irq(8)
        assert read(rtc, Reg.C) == C_IRQF | C_PF | C_UF
        assert not rtc.irq(8)

        rtc.wait(MS)
        assert read(rtc, Reg.C) == C_IRQF | C_PF

        rtc.wait(NS_PER_S)
        assert read(rtc, Reg.C) == C_IRQF | C_PF | C_UF

        rtc.wait(3 * NS_PER_S)
        assert read(rtc, Reg.C) == C_IRQF | C_PF | C_UF | C_AF

    def test_NMI_is_not_masked(self) -> None:
        """QEMU has no mask."""
        assert not loaded(GOLDEN_QEMU).card.nmi_mask.level

    def test_the_index_is_kept(self) -> None:
        assert loaded(GOLDEN_QEMU).inb(0x71) == 0x80

    @pytest.mark.parametrize(("version", "length"), [(1, 197), (2, 205)])
    def test_older_versions(self, version: int, length: int) -> None:
        """Version 1 ends after `unused2`, version 2 after `period`."""
        rtc = loaded(GOLDEN_QEMU[:length], version)
        rtc.wait(NS_PER_S)

        assert time_of(rtc) == "2024-05-17 10:20:32"

    def test_lost_ticks_of_QEMU_are_dropped(self) -> None:
        """Its subsection of ticks to be injected again is read and not used."""
        name = b"mc146818rtc/irq_reinject_on_ack_count"
        subsection = b"\5" + bytes([len(name)]) + name + (1).to_bytes(4, "big") + b"\0\7"
        rtc = loaded(GOLDEN_QEMU + subsection)
        rtc.wait(NS_PER_S)

        assert time_of(rtc) == "2024-05-17 10:20:32"

    def test_a_stopped_clock_stays_stopped(self) -> None:
        """DV = 11x: nothing starts but by a write to A."""
        data = bytearray(GOLDEN_QEMU)
        data[Reg.A] = DV_RESET
        rtc = loaded(bytes(data))
        rtc.wait(5 * NS_PER_S)
        assert time_of(rtc) == "2024-05-17 10:20:31"

        write(rtc, Reg.A, DV_32_KHZ)
        rtc.wait(HALF_SECOND + 1984 * US)
        assert time_of(rtc) == "2024-05-17 10:20:32"

    @pytest.mark.parametrize(("register", "value"), [(Reg.B, B_SET | B_24_12), (Reg.A, DV_RESET)])
    def test_a_stopped_clock_has_no_deadline_for_QEMU(self, register: Reg, value: int) -> None:
        """-1 is an idle timer; no alarm is the latest time there is."""
        rtc = clock_at()
        write(rtc, register, value)
        values = qemu_values(rtc)

        assert values["periodic_timer"] == -1
        assert values["update_timer"] == -1
        assert values["next_alarm_time"] == (1 << 64) - 1

    @pytest.mark.parametrize(
        ("alarm_seconds", "wait_s", "after_s"),
        [(0x35, 0, 1), (0x35, 1, 4), (0xBF, 0, 1), (0xBF, 1, None), (0x31, 1, None)],
    )
    def test_QEMU_waits_for_UF_and_then_for_AF(
        self, alarm_seconds: int, wait_s: int, after_s: int | None
    ) -> None:
        """Also where nobody has enabled them; with both up, or no alarm, for nothing."""
        rtc = clock_at("2024-05-17 10:20:30")
        set_alarm(rtc, (0x10, 0x20, alarm_seconds))
        rtc.wait(wait_s * NS_PER_S)
        read(rtc, Reg.A)
        values = qemu_values(rtc)

        due_ns = (values["base_rtc"] + (after_s or 0)) * NS_PER_S
        assert values["update_timer"] == (due_ns if after_s else -1)

    @pytest.mark.parametrize("text", ["9999-12-31 23:59:59", "1970-01-01 00:00:00"])
    def test_a_time_far_off_is_as_near_as_QEMU_has_it(self, text: str) -> None:
        """Nanoseconds in 63 bits end in 2262; our own section has no such limit."""
        rtc = clock_at(text)
        write(rtc, Reg.B, B_UIE | B_24_12)
        values = qemu_values(rtc)

        assert values["base_rtc"] == epoch_s(text)
        assert values["last_update"] == min(epoch_s(text) * NS_PER_S, (1 << 63) - 1)
        assert time_of(rtc.migrate()) == text

    def test_a_time_before_1970_is_0_for_QEMU(self) -> None:
        """Its seconds have no sign."""
        rtc = clock_at()
        write(rtc, 0x32, 0x00)
        write(rtc, Reg.YEAR, 0x00)

        assert qemu_values(rtc)["base_rtc"] == 0


class TestHostileStreams:
    @pytest.mark.parametrize("seed", range(50))
    def test_any_bytes_make_a_clock_that_can_be_used(self, seed: int) -> None:
        """Or are refused; time goes on, and every port answers."""
        rng = random.Random(seed)
        rest = b"".join(
            rng.choice([rng.randrange(100 * NS_PER_S), (1 << 62) - 1, 0, -1]).to_bytes(
                8, "big", signed=True
            )
            for _ in range(2)
        )
        rtc = clock_at()
        rtc.slot.registry.load_sections(
            {
                ("mc146818rtc", 0): (3, rng.randbytes(128) + b"\x7f" + rng.randbytes(116)),
                ("emu/mc146818rtc", 0): (1, b"\0" + rest),
            }
        )

        rtc.wait(1000 * NS_PER_S)
        for register in range(0x80):
            write(rtc, register, rng.randrange(0x100))
            assert 0 <= read(rtc, register) <= 0xFF
            rtc.wait(NS_PER_S)
        rtc.migrate()

    def test_an_index_beyond_the_registers_is_refused(self) -> None:
        """There are 128."""
        data = bytearray(GOLDEN_QEMU)
        data[128] = 0x80
        rtc = clock_at()

        with pytest.raises(StreamError, match="index"):
            rtc.slot.registry.load_sections(
                {
                    ("mc146818rtc", 0): (3, bytes(data)),
                    ("emu/mc146818rtc", 0): (1, GOLDEN_REST),
                }
            )
        assert time_of(rtc) == "2024-05-17 10:20:30"
