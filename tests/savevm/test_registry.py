"""Who is saved, under what name; and that a load is all or nothing."""

from __future__ import annotations

import pytest
from synthetic import COUNTER_SAVED, Chip, CounterState, Machine, UserCard

from emu.errors import ConfigError, StreamError
from emu.hw import i8259
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.registry import NEXT_FREE, Registry
from emu.savevm.stream import Stream


def nothing(_f: Stream, *_: object) -> None:
    """Save or load nothing."""


class TestRegistering:
    def test_the_next_free_instance(self) -> None:
        registry = Registry()

        assert registry.register_savevm("a", NEXT_FREE, 1, nothing, nothing) == 0
        assert registry.register_savevm("a", 7, 1, nothing, nothing) == 7
        assert registry.register_savevm("a", NEXT_FREE, 1, nothing, nothing) == 8
        assert registry.register_savevm("b", NEXT_FREE, 1, nothing, nothing) == 0

    def test_a_section_id_is_the_place_in_the_order(self) -> None:
        registry = Registry()
        registry.register_savevm("a", 0, 1, nothing, nothing)
        registry.register_savevm("b", 0, 1, nothing, nothing)

        assert registry.section_id(("b", 0)) == 1

    def test_nobody_is_there_twice(self) -> None:
        """2008 found the first of them and forgot the other."""
        registry = Registry()
        registry.register_savevm("a", 0, 1, nothing, nothing)

        with pytest.raises(ConfigError, match="'a/0' is registered twice"):
            registry.register_savevm("a", 0, 1, nothing, nothing)

    @pytest.mark.parametrize(
        ("idstr", "instance", "version", "problem"),
        [
            ("", 0, 1, "1 to 255 ASCII"),
            ("ä", 0, 1, "1 to 255 ASCII"),
            ("x" * 256, 0, 1, "1 to 255 ASCII"),
            ("x", -2, 1, "instance -2"),
            ("x", 1 << 32, 1, "instance 4294967296"),
            ("x", 0, -1, "version -1"),
            ("x", 0, 1 << 32, "version 4294967296"),
        ],
    )
    def test_names_and_numbers_fit_in_the_stream(
        self, idstr: str, instance: int, version: int, problem: str
    ) -> None:
        with pytest.raises(ConfigError, match=problem):
            Registry().register_savevm(idstr, instance, version, nothing, nothing)


class TestInMemory:
    def test_every_section_comes_back(self) -> None:
        machine, other = Machine().fill(1), Machine()

        other.registry.load_sections(machine.registry.save_sections())

        assert [chip.state for chip in other.chips] == [chip.state for chip in machine.chips]
        assert other.card.value == machine.card.value
        assert all(chip.settled == 1 for chip in other.chips)

    def test_a_load_makes_new_states(self) -> None:
        machine = Machine()
        before = machine.chips[1].state

        machine.registry.load_sections(machine.registry.save_sections())

        assert machine.chips[1].state is not before

    def test_every_state_is_adopted_before_any_chip_settles(self) -> None:
        """As one may drive a pin of the other's."""
        registry = Registry()
        seen = []

        class Watcher(Chip):
            def settle(self) -> None:
                seen.append([chip.state.count for chip in chips])

        chips = [Watcher(CounterState(1)), Watcher(CounterState(2))]
        for instance, chip in enumerate(chips):
            registry.register_state(COUNTER_SAVED, chip, instance)
        sections = registry.save_sections()
        for chip in chips:
            chip.state = CounterState(9)

        registry.load_sections(sections)

        assert seen == [[1, 2], [1, 2]]

    @pytest.mark.parametrize("length", range(12))
    def test_a_section_cut_anywhere_is_refused(self, length: int) -> None:
        machine = Machine().fill(1)
        before = machine.everything()
        sections = machine.registry.save_sections()
        sections["counter", 1] = (2, sections["counter", 1][1][:length])

        with pytest.raises(StreamError, match=r"counter/1.*the stream ends"):
            machine.registry.load_sections(sections)

        assert machine.everything() == before

    def test_bytes_left_over_are_refused(self) -> None:
        machine = Machine()
        sections = machine.registry.save_sections()
        sections["user/card", 0] = (1, sections["user/card", 0][1] + b"\0")

        with pytest.raises(StreamError, match=r"'user/card/0', offset 0x6: bytes left over"):
            machine.registry.load_sections(sections)

    def test_a_mistake_in_a_card_of_ours_rolls_back_as_well(self) -> None:
        """It is not the stream's; so it surfaces as it is."""
        machine = Machine().fill(1)
        before = machine.card.value
        sections = Machine().registry.save_sections()
        sections["user/disk", 0] = (3, b"\1\x63\0\0")

        with pytest.raises(StreamError, match="IndexError"):
            machine.registry.load_sections(sections)

        assert machine.card.value == before

    def test_an_interrupt_rolls_back(self) -> None:
        registry, card = Registry(), UserCard(5)
        registry.register_savevm("a", 0, 1, card.save, card.load)

        def interrupt(_f: Stream, _version: int) -> None:
            raise KeyboardInterrupt

        registry.register_savevm("b", 0, 1, nothing, interrupt)
        sections = registry.save_sections()
        card.value = 6

        with pytest.raises(KeyboardInterrupt):
            registry.load_sections(sections)

        assert card.value == 6


class TestWhatAHandlerHasDriven:
    def test_an_interrupt_it_requested_is_taken_back(self) -> None:
        """Its load_state drove a line, and the controller, a declared card, remembered the edge."""
        slot = Slot()
        pair = i8259.attach_pair(slot, Line("INTR"))
        line = slot.irq(5)
        level = [False]

        def load_state(f: Stream, _version: int) -> None:
            level[0] = bool(f.get_byte())
            line.drive(high=level[0])

        slot.register_savevm("user", 0, 1, lambda f: f.put_byte(level[0]), load_state)
        sections = slot.registry.save_sections()
        before = pair.master.state.irr
        sections["user", 0] = (1, b"\1")
        sections["nobody", 0] = (1, b"")

        with pytest.raises(StreamError, match="no such section"):
            slot.registry.load_sections(sections)

        assert pair.master.state.irr == before
        assert slot.registry.save_sections()["user", 0] == (1, b"\0")
