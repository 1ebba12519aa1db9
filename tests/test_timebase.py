"""The clock is saved as QEMU's section ``timer``, and the instants of a save fit to it."""

from __future__ import annotations

import re

import pytest

from bench import Bench
from emu import attrs, timebase
from emu.clock import NEVER, NS_PER_S
from emu.errors import StreamError
from emu.isa import Slot
from emu.savevm.vmstate import A_YEAR_NS, Saved, instant, past, record, records, whole
from emu.timebase import TIMER, Timebase

LATEST_NS = (1 << 61) - A_YEAR_NS
SECOND_NS = NS_PER_S


@attrs.define
class Inner:
    at_ns: int = instant(within_ns=5, doc="soon")


@attrs.define
class State:
    """Every kind of instant."""

    wakes_ns: int = instant(doc="some day")
    began_ns: int = past(doc="once")
    one: Inner = record(Inner, doc="an alarm")
    more: list[Inner] = records(Inner, 2, doc="alarms")


SAVED = Saved(State, (whole(State, "sleeper"),))


@attrs.define(eq=False)
class Sleeper:
    """A card with deadlines, and nothing that would ever set one."""

    state: State = attrs.field(factory=State)

    def settle(self) -> None:
        """It has no outputs."""


def plug_in(slot: Slot) -> Sleeper:
    timebase.attach(slot)
    sleeper = Sleeper()
    slot.register_state(SAVED, sleeper)
    return sleeper


def clock_only(slot: Slot) -> Timebase:
    return timebase.attach(slot)


def section(now_ns: int) -> dict[tuple[str, int], tuple[int, bytes]]:
    """A save of nothing but the clock."""
    word = now_ns.to_bytes(8, "big", signed=True)
    return {("timer", 0): (2, word + bytes(8) + word)}


class TestSection:
    def test_the_bytes_are_what_they_have_always_been(self) -> None:
        bench = Bench(clock_only)
        bench.slot.clock.now_ns = 0x0123_4567_89AB_CDEF

        golden = bytes.fromhex("0123456789abcdef" + "0000000000000000" + "0123456789abcdef")
        assert bench.slot.registry.save_sections() == {("timer", 0): (2, golden)}
        assert TIMER.minimum == 2

    @pytest.mark.parametrize("now_ns", [0, 1, 1 << 40, LATEST_NS])
    def test_the_clock_goes_on_from_there(self, now_ns: int) -> None:
        bench = Bench(clock_only)
        bench.wait(12_345)

        bench.slot.registry.load_sections(section(now_ns))

        assert bench.slot.clock.now_ns == now_ns

    @pytest.mark.parametrize("now_ns", [-1, 1 << 61, NEVER, -1 << 63, (1 << 63) - 1])
    def test_what_is_no_time_is_refused(self, now_ns: int) -> None:
        bench = Bench(clock_only)
        bench.wait(5)

        with pytest.raises(StreamError, match="is not a time") as refused:
            bench.slot.registry.load_sections(section(now_ns))

        assert (refused.value.section, refused.value.field) == ("timer/0", "now_ns")
        assert bench.slot.clock.now_ns == 5

    @pytest.mark.parametrize("now_ns", [LATEST_NS + 1, (1 << 61) - 1])
    def test_a_clock_that_has_no_year_left_is_refused(self, now_ns: int) -> None:
        """A machine that is loaded may run on, and be saved."""
        with pytest.raises(StreamError, match=f"{LATEST_NS} at most") as refused:
            Bench(clock_only).slot.registry.load_sections(section(now_ns))

        assert (refused.value.section, refused.value.field) == ("timer/0", "now_ns")

    def test_QEMU_s_time_stamp_counter_is_not_ours(self) -> None:
        """It counts something else; the clock is what the machine goes by."""
        bench = Bench(clock_only)
        version, data = section(7_000)["timer", 0]

        bench.slot.registry.load_sections({("timer", 0): (version, b"\x11" * 16 + data[16:])})

        assert bench.slot.clock.now_ns == 7_000


class TestInstants:
    """A deadline that is made up could take the clock to any time."""

    def load(self, now_ns: int, state: State) -> State:
        saver = Bench(plug_in)
        saver.slot.clock.now_ns = now_ns
        saver.card.state = state
        return saver.migrate().card.state

    @pytest.mark.parametrize(
        "state",
        [
            State(),
            State(wakes_ns=0),
            State(wakes_ns=1_000 + A_YEAR_NS),
            State(began_ns=1_000 + SECOND_NS),
            State(began_ns=-1 << 61),
            State(one=Inner(1_005), more=[Inner(), Inner(0)]),
        ],
    )
    def test_those_that_a_card_can_have_set(self, state: State) -> None:
        assert self.load(1_000, state) == state

    @pytest.mark.parametrize(
        ("state", "field", "limit"),
        [
            (State(wakes_ns=1_001 + A_YEAR_NS), "wakes_ns", f"{1_000 + A_YEAR_NS} at most"),
            (State(wakes_ns=NEVER - 1), "wakes_ns", "at most"),
            (State(began_ns=1_001 + SECOND_NS), "began_ns", f"{1_000 + SECOND_NS} at most"),
            (State(began_ns=(-1 << 61) - 1), "began_ns", f"{-1 << 61} at least"),
            (State(one=Inner(1_006)), "one.at_ns", "1005 at most"),
            (State(more=[Inner(), Inner(9_999)]), "more[1].at_ns", "1005 at most"),
        ],
    )
    def test_those_that_none_can(self, state: State, field: str, limit: str) -> None:
        with pytest.raises(StreamError, match=re.escape(limit)) as refused:
            self.load(1_000, state)

        assert (refused.value.section, refused.value.field) == ("sleeper/0", field)
        assert refused.value.problem == "an instant too far off"

    def test_at_the_end_of_time_there_is_room_for_a_deadline(self) -> None:
        """So what is loaded can always be saved."""
        state = State(wakes_ns=LATEST_NS + A_YEAR_NS)

        assert self.load(LATEST_NS, state) == state

    def test_without_a_clock_there_is_nothing_to_compare_with(self) -> None:
        def bare(slot: Slot) -> Sleeper:
            sleeper = Sleeper(State(wakes_ns=NEVER - 1))
            slot.register_state(SAVED, sleeper)
            return sleeper

        assert Bench(bare).migrate().card.state.wakes_ns == NEVER - 1
