"""What a run may be told to stop at."""

from __future__ import annotations

import pytest

import emu
from emu.clock import NEVER
from emu.errors import ConfigError
from emu.until import AtClock, Goals, SerialText, Watch, parse, parse_time


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "ns"),
        [
            ("2s", 2_000_000_000),
            ("10ms", 10_000_000),
            ("500us", 500_000),
            ("7ns", 7),
            ("1m", 60_000_000_000),
            ("42", 42),
            ("1.5s", 1_500_000_000),
            ("0.000000001s", 1),
            ("0.1ms", 100_000),
            (" 3ms ", 3_000_000),
            ("0", 0),
            (1_234, 1_234),
        ],
    )
    def test_a_time_is_a_number_and_a_unit(self, text: str | int, ns: int) -> None:
        """Without a unit they are nanoseconds; fractions are exact."""
        assert parse_time(text) == ns

    @pytest.mark.parametrize("text", ["", "s", "2 s", "2h", "-1s", "1e3", ".5s", "1.s", "9" * 5000])
    def test_anything_else_is_refused(self, text: str) -> None:
        """In one line that says what is expected."""
        with pytest.raises(ConfigError, match=r"^time '.*': expected such as 2s, 10ms, 500us"):
            parse_time(text)


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "condition"),
        [
            ("serial:login: ", SerialText(b"login: ")),
            ("serial:größer", SerialText("größer".encode())),
            ("serial:\udcff", SerialText(b"\xff")),
            ("clock:1500", AtClock(1500)),
            ("clock:1.5s", AtClock(1_500_000_000)),
        ],
    )
    def test_the_command_lines_forms(self, text: str, condition: object) -> None:
        """A text may hold colons, and bytes that are no UTF-8."""
        assert parse(text) == condition

    @pytest.mark.parametrize("text", ["", "serial", "serial:", "clock:", "clock", "after:2s", "x"])
    def test_other_forms_are_refused(self, text: str) -> None:
        """In one line."""
        with pytest.raises(ConfigError, match=r"^(until|time) [^\n]+$"):
            parse(text)

    def test_conditions_say_what_they_are(self) -> None:
        """As on the command line, where there is a form for it."""
        conditions = [emu.serial(b"a\xff"), emu.after("20ms"), emu.clock("2ms")]

        assert [str(each) for each in conditions] == [
            "serial:a\\xff",
            "after 0.02s",
            "clock:2000000",
        ]


class TestWatching:
    @pytest.mark.parametrize("cut", range(1, 12))
    def test_a_text_is_found_however_it_is_cut(self, cut: int) -> None:
        """Characters come one by one, or many at once."""
        data = b"aababaabab!"
        watch = Watch(b"abab!")
        for start in range(0, len(data), cut):
            assert not watch.found
            watch.see(data[start : start + cut])

        assert watch.found

    def test_what_is_found_stays_found(self) -> None:
        """Until the next run."""
        watch = Watch(b"x")
        watch.see(b"x")
        watch.see(b"yyy")

        assert watch.found


class TestGoals:
    def test_none(self) -> None:
        """A run without goals has no end of its own."""
        goals = Goals((), 1000)

        assert (goals.next_ns, goals.see(b"anything"), goals.met(NEVER)) == (NEVER, False, None)

    def test_times(self) -> None:
        """One counts from the run's beginning, the other from power-on; the earlier is next."""
        after, clock = emu.after(50), emu.clock(1040)
        goals = Goals((after, clock), 1000)

        assert goals.next_ns == 1040
        assert [goals.met(ns) for ns in (1039, 1040)] == [None, clock]
        assert Goals((after,), 1000).met(1050) == after

    def test_texts(self) -> None:
        """The guest has sent one of them."""
        first, second = emu.serial("one"), emu.serial("two")
        goals = Goals((first, second), 0)

        assert [goals.see(b"tw"), goals.met(NEVER)] == [False, None]
        assert [goals.see(b"o"), goals.met(0)] == [True, second]

    def test_a_text_comes_before_a_time(self) -> None:
        """Both are met at once: what the guest did is told."""
        text, clock = emu.serial("x"), emu.clock(5)
        goals = Goals((clock, text), 0)
        goals.see(b"x")

        assert goals.met(5) == text
