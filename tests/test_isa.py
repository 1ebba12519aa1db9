"""The slot: what a card reaches through it."""

from __future__ import annotations

import pytest
from synthetic import COUNTER_SAVED, Chip, CounterState, UserCard

from emu.errors import ConfigError
from emu.isa import IRQS, Slot


def test_alarms_are_the_clock_s() -> None:
    slot, seen = Slot(), []
    slot.alarm("chip", "tick", lambda: seen.append(slot.clock.now_ns)).arm(7)

    slot.clock.advance(10)

    assert seen == [7]


def test_ports_by_their_offset() -> None:
    slot, wrote = Slot(), []
    slot.register_ports(0x300, 4, lambda offset: offset + 1, lambda *access: wrote.append(access))

    slot.ports.write(0x303, 9, 1)

    assert slot.ports.read(0x303, 1) == 4
    assert wrote == [(3, 9)]


def test_ports_by_their_address() -> None:
    slot, wrote = Slot(), []
    slot.register_ioport_read(0x300, 1, 2, lambda address: address)
    slot.register_ioport_write(0x300, 1, 2, lambda *access: wrote.append(access))

    slot.ports.write(0x300, 9, 2)

    assert slot.ports.read(0x300, 2) == 0x300
    assert wrote == [(0x300, 9)]


def test_an_interrupt_line_has_one_driver() -> None:
    slot = Slot()
    line = slot.irq(5)
    line.drive(high=True)

    assert slot.irqs[5].level
    assert [line.name for line in slot.irqs] == [f"IRQ{number}" for number in range(IRQS)]
    with pytest.raises(ConfigError, match="IRQ 5 is driven"):
        slot.irq(5)


def test_reset_reaches_every_card_in_order() -> None:
    slot, seen = Slot(), []
    slot.register_reset(lambda: seen.append("first"))
    slot.register_reset(lambda: seen.append("second"))

    slot.reset()

    assert seen == ["first", "second"]


class TestBootOrder:
    def test_reaches_every_card_that_asked(self) -> None:
        slot, seen = Slot(), []
        slot.register_boot_set(seen.append)
        slot.register_boot_set(seen.append)

        slot.boot_set("cda")

        assert seen == ["cda", "cda"]

    def test_is_refused_where_none_did(self) -> None:
        with pytest.raises(ConfigError, match="no card"):
            Slot().boot_set("c")

    def test_is_refused_where_one_refuses(self) -> None:
        def refuse(order: str) -> None:
            raise ConfigError(f"no drive {order}")

        slot = Slot()
        slot.register_boot_set(refuse)

        with pytest.raises(ConfigError, match="no drive x"):
            slot.boot_set("x")


def test_cards_are_saved_either_way() -> None:
    slot, user = Slot(), UserCard(5)
    card = Chip(CounterState(count=3))
    slot.register_state(COUNTER_SAVED, card, 2)
    assert slot.register_savevm("user", -1, 1, user.save, user.load) == 0
    assert slot.register_savevm_live("user", -1, 1, None, user.save, user.load) == 1

    sections = slot.registry.save_sections()
    card.state, user.value = CounterState(), 0
    slot.registry.load_sections(sections)

    assert list(sections) == [("counter", 2), ("emu/counter", 2), ("user", 0), ("user", 1)]
    assert (card.state.count, user.value) == (3, 5)
