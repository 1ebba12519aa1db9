"""What every card promises, whatever it does.

One entry in `cards.CARDS` and a card has all of these tests.  They know nothing of it but what
any card has: ports, pins, a State that is declared, sections of a save.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from cards import CARDS, SAVED_CARDS, Dice, Rig

from emu import attrs, shadows
from emu.clock import NEVER
from emu.errors import StreamError
from emu.isa import Slot
from emu.ports import PORTS
from emu.savevm.entries import Declared
from emu.savevm.stream import to_bytes
from emu.savevm.vmstate import Struct, dump, struct_of

BUSY_SEEDS = range(6)
BUSY_STEPS = 150
TWIN_STEPS = 60

every_card = pytest.mark.parametrize("name", CARDS)
every_saved_card = pytest.mark.parametrize("name", SAVED_CARDS)

# Fields that traffic cannot change from what they are at power-on.
UNCHANGING = {
    "nameplate": {"revision"},  # 1 until there is another
    "i8254": {"kept_low"},  # of QEMU's streams: test_i8254.py has some
}


def busy(name: str, seed: int) -> Rig:
    """A card in the middle of something."""
    return Rig(name).traffic(seed, BUSY_STEPS)


# ==== saved and restored ==================================================================


def leaves(value: Any, power_on: Any, name: str = "") -> Iterator[tuple[str, bool]]:
    """The names of all fields in a State, and whether each differs from power-on."""
    if attrs.has(type(value)):
        for each in attrs.fields(type(value)):
            inner = getattr(value, each.name), getattr(power_on, each.name)
            yield from leaves(*inner, each.name)
    elif isinstance(value, list) and value and attrs.has(type(value[0])):
        for each in value:
            yield from leaves(each, type(each)(), name)
    yield name, value != power_on


@every_saved_card
def test_every_field_survives_a_save_and_load(name: str) -> None:
    """Every one of them: each has been at something else than its value at power-on."""
    changed: dict[str, bool] = {}
    for seed, number in itertools.product(BUSY_SEEDS, range(40)):
        rig = Rig(name).traffic((seed, number), 3 * number)

        other = rig.move()

        assert other.states == rig.states
        assert other.slot.registry.save_sections() == rig.slot.registry.save_sections()
        for state in rig.states:
            for field, differs in leaves(state, type(state)()):
                changed[field] = changed.get(field, False) or differs
    never = {field for field, differs in changed.items() if not differs}
    assert never == UNCHANGING.get(name, set())


@every_saved_card
def test_a_load_makes_new_states(name: str) -> None:
    """So nothing of what was there before can show through, and nothing is shared."""
    rig = busy(name, 1)
    cards = rig.slot.registry.cards
    before = [card.state for card in cards]

    rig.slot.registry.load_sections(rig.slot.registry.save_sections())

    assert not any(card.state is state for card, state in zip(cards, before, strict=True))


@every_saved_card
def test_saving_disturbs_nothing(name: str) -> None:
    rig = busy(name, 1)
    before, seen = rig.states, list(rig.log)

    assert rig.slot.registry.save_sections() == rig.slot.registry.save_sections()

    assert rig.states == before
    assert rig.log == seen


def run(name: str, seed: object, *, moves: set[int]) -> list[tuple[object, ...]]:
    """All that can be seen of a card in traffic, moved to a new machine before the steps *moves*."""
    rig = Rig(name).traffic(seed, TWIN_STEPS)
    dice = random.Random(f"{name} {seed}")
    for number in range(TWIN_STEPS):
        if number in moves:
            rig = rig.move()
        rig.step(dice)
    return [*rig.log, (rig.slot.clock.now_ns, *rig.states)]


@every_saved_card
@pytest.mark.parametrize("seed", range(4))
def test_a_restore_at_any_moment_is_invisible(name: str, seed: int) -> None:
    """The same reads, the same edges of every line, the same characters, at the same instants."""
    straight = run(name, seed, moves=set())

    for moment in range(TWIN_STEPS):
        assert run(name, seed, moves={moment}) == straight


@every_saved_card
@pytest.mark.parametrize("seed", range(4, 10))
def test_so_are_restores_at_all_moments(name: str, seed: int) -> None:
    """Sixty generations."""
    assert run(name, seed, moves=set(range(TWIN_STEPS))) == run(name, seed, moves=set())


# ==== outputs =============================================================================


@every_saved_card
@pytest.mark.parametrize("seed", BUSY_SEEDS)
def test_settling_changes_no_state_and_makes_no_edge(name: str, seed: int) -> None:
    """Its own or anyone's, as often as it happens: a line that is driven again is no edge."""
    rig = busy(name, seed)
    before, seen = rig.states, list(rig.log)

    for card in [*rig.slot.registry.cards] * 2:
        card.settle()

    assert rig.states == before
    assert rig.log == seen


@every_saved_card
@pytest.mark.parametrize("seed", BUSY_SEEDS)
def test_after_a_load_cards_may_settle_in_any_order(name: str, seed: int) -> None:
    rig = busy(name, seed)
    straight = rig.move().traffic("then", 20)

    for order in itertools.permutations(range(len(rig.slot.registry.cards))):
        assert rig.move(order).traffic("then", 20).log == straight.log


@every_saved_card
@pytest.mark.parametrize("seed", BUSY_SEEDS)
def test_a_second_reset_finds_nothing_left_to_do(name: str, seed: int) -> None:
    rig = busy(name, seed)
    rig.slot.reset()
    before, seen = rig.states, list(rig.log)

    rig.slot.reset()

    assert rig.states == before
    assert rig.log == seen


# ==== damaged streams =====================================================================


def refused(rig: Rig, sections: dict[Any, tuple[int, bytes]]) -> StreamError:
    """What *rig* says to *sections*, having checked that it is as it was."""
    before, seen = rig.slot.registry.save_sections(), list(rig.log)
    with pytest.raises(StreamError) as caught:
        rig.slot.registry.load_sections(sections)
    assert rig.slot.registry.save_sections() == before
    assert rig.log == seen
    assert "\n" not in str(caught.value)
    return caught.value


def ends_of_parts(rig: Rig, key: tuple[str, int]) -> set[int]:
    """The lengths at which a section ends, or would without its last subsections.

    A save as a whole has a mark after each section, so that nothing there is taken for the end.
    """
    entry = rig.slot.registry.entries[key]
    if not isinstance(entry, Declared):
        return set()
    section, state = entry.section, entry.card.state
    return {
        len(dump(attrs.evolve(section, subsections=section.subsections[:count]), state))
        for count in range(len(section.subsections) + 1)
    }


@every_saved_card
def test_a_stream_cut_anywhere_is_refused_and_changes_nothing(name: str) -> None:
    saved, rig = busy(name, 1), busy(name, 2)
    sections = saved.slot.registry.save_sections()

    for key, (version, data) in sections.items():
        ends = ends_of_parts(saved, key)
        for length in range(len(data)):
            if length not in ends:
                error = refused(rig, sections | {key: (version, data[:length])})
                assert error.section == f"{key[0]}/{key[1]}"


@every_saved_card
def test_bytes_after_the_last_field_are_refused(name: str) -> None:
    sections = busy(name, 1).slot.registry.save_sections()
    rig = busy(name, 2)

    for key, (version, data) in sections.items():
        error = refused(rig, sections | {key: (version, data + b"\0")})
        assert (error.section, error.problem) == (
            f"{key[0]}/{key[1]}",
            "bytes left over after the last field",
        )


@every_saved_card
def test_a_section_that_is_missing_is_named(name: str) -> None:
    sections = busy(name, 1).slot.registry.save_sections()
    rig = busy(name, 2)

    for key in sections:
        rest = {each: sections[each] for each in sections if each != key}
        error = refused(rig, rest)
        assert (error.section, error.problem) == (f"{key[0]}/{key[1]}", "the section is missing")


@every_saved_card
def test_a_stream_from_a_newer_emulator_is_refused(name: str) -> None:
    sections = busy(name, 1).slot.registry.save_sections()
    rig = busy(name, 2)

    for key, (version, data) in sections.items():
        error = refused(rig, sections | {key: (version + 1, data)})
        assert (error.section, error.found) == (f"{key[0]}/{key[1]}", version + 1)


@every_saved_card
def test_a_version_older_than_the_oldest_known_is_refused(name: str) -> None:
    rig = busy(name, 2)
    sections = busy(name, 1).slot.registry.save_sections()

    for entry in rig.sections:
        too_old = entry.section.minimum - 1
        error = refused(rig, sections | {entry.key: (too_old, sections[entry.key][1])})
        assert (error.section, error.found) == (f"{entry.key[0]}/{entry.key[1]}", too_old)


@every_saved_card
def test_a_value_too_wide_for_its_field_is_refused(name: str) -> None:
    """Where a field is written as it is declared and has bits to spare."""
    sections = busy(name, 1).slot.registry.save_sections()
    rig = busy(name, 2)

    for entry in rig.sections:
        state = entry.card.state
        values = dict(entry.section.encode(state))
        declared = {each.name: each for each in attrs.fields(type(state))}
        for field in struct_of(type(state)).fields:
            most = declared[field.name].metadata["most"]
            spare = type(most) is int and most.bit_length() % 8
            if field in entry.section.layout and spare:
                f, data = to_bytes()
                Struct(entry.section.layout).put(f, values | {field.name: 2 * most + 1})
                f.fflush()
                error = refused(rig, sections | {entry.key: (entry.version_id, bytes(data))})
                assert error.section is not None
                assert error.field == field.name


# ==== hostile streams =====================================================================

DAMAGES = 400
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
WORDS = (0, 1, NEVER - 1, NEVER, 1 << 61, 1 << 63, (1 << 64) - 1, 1_000, 10**9, 10**15)


def damage(data: bytes, dice: Dice) -> bytes:
    """*data* with something in it that somebody has thought of, or nobody."""
    bad = bytearray(data)
    match dice.randrange(3):
        case 0:
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        case 1:
            bad[dice.randrange(len(bad))] = dice.choice(BYTES)
        case _:
            size = min(dice.choice([2, 4, 8, 8]), len(bad))
            start = dice.randrange(len(bad) - size + 1)
            bad[start : start + size] = dice.choice(WORDS).to_bytes(8, "big")[-size:]
    return bytes(bad)


@every_saved_card
@pytest.mark.parametrize("part", range(4))
def test_hostile_values_are_refused_or_survived(name: str, part: int) -> None:
    """Whatever is loaded runs on, may be saved and is the same machine again."""
    dice = random.Random(f"{name} {part}")
    rigs = [busy(name, seed) for seed in BUSY_SEEDS]

    for number in range(DAMAGES // 4):
        saved = dice.choice(rigs)
        sections = saved.slot.registry.save_sections()
        for _ in range(dice.choice([1, 1, 2, 4])):
            key = dice.choice(list(sections))
            version, data = sections[key]
            sections[key] = (version, damage(data, dice))
        rig = saved.another()
        try:
            rig.slot.registry.load_sections(sections)
        except StreamError:
            continue
        rig.traffic(f"{part} {number}", 25)
        assert rig.move().slot.registry.save_sections() == rig.slot.registry.save_sections()


# ==== any guest ===========================================================================


@every_card
@pytest.mark.parametrize("size", [1, 2, 4])
def test_any_value_may_be_written_to_any_port(name: str, size: int) -> None:
    """A guest can be wrong; it cannot crash the machine."""
    ports = Rig(name).slot.ports
    most = (1 << 8 * size) - 1

    for port in range(PORTS):
        for value in (0, most // 3, most):
            ports.write(port, value, size)
        assert 0 <= ports.read(port, size) <= most


@every_card
@pytest.mark.parametrize("seed", range(8))
def test_any_traffic_is_survived(name: str, seed: int) -> None:
    Rig(name).traffic(f"long {seed}", 1500)


@every_card
def test_the_same_traffic_does_the_same(name: str) -> None:
    """Nobody looks at the host's clock, or at anything else that is not in the machine."""
    assert busy(name, 1).log == busy(name, 1).log


def test_the_cards_do_not_get_in_each_other_s_way() -> None:
    """All of them fit into one machine."""
    slot = Slot()
    for plug_in in CARDS.values():
        plug_in(slot)


# ==== shadows =============================================================================


def shown(rig: Rig) -> Iterator[tuple[int, int, bool]]:
    """The ports of the card that show a shadow, what it shows, and whether it is stored."""
    seen = rig.slot.shadows
    for port, size in rig.accesses:
        kind = seen.kinds[port]
        if size == 1 and kind & shadows.SHOWN and not kind & shadows.DROPPED:
            yield port, seen.values[port], bool(kind & shadows.STORED)


def shown_cells(rig: Rig) -> Iterator[tuple[int, int, int, int]]:
    """Index and data port of each cell that shows a shadow, its number, and what it shows."""
    seen = rig.slot.shadows
    for data_port, _ in (each for each in rig.accesses if seen.kinds[each[0]] & shadows.DATA):
        for cell in range(shadows.CELLS):
            if seen.table.cell_kinds[cell] & shadows.SHOWN:
                yield data_port - 1, data_port, cell, seen.table.cells[cell]


@every_card
def test_a_shadow_shows_what_the_card_would_say(name: str) -> None:
    """To be asked changes nothing, nor does what is stored, but for what is then read."""
    for seed in BUSY_SEEDS:
        rig, dice = Rig(name), random.Random(seed)
        ports = rig.slot.ports
        for _ in range(BUSY_STEPS):
            rig.step(dice)
            before, log = rig.states, list(rig.log)
            for port, value, stored in list(shown(rig)):
                assert ports.read(port, 1) == value
                assert rig.states == before
                if stored:
                    ports.write(port, value ^ 0xA5, 1)
                    assert ports.read(port, 1) == rig.slot.shadows.values[port] == value ^ 0xA5
                    if port == rig.slot.shadows.table.mask_port:
                        gated = rig.slot.shadows.table.requests & ~(value ^ 0xA5) & 0xFF
                        assert rig.around.probe.level("INTR") == bool(gated)
                    ports.write(port, value, 1)
                    assert rig.states == before
            assert all("INTR" in event for event in rig.log[len(log) :])


@every_card
def test_and_so_does_that_of_a_cell(name: str) -> None:
    for seed in BUSY_SEEDS:
        rig, dice = Rig(name), random.Random(seed)
        ports = rig.slot.ports
        for _ in range(BUSY_STEPS // 10):
            rig.traffic(dice.random(), 10)
            index = rig.slot.shadows.table.index
            before, log = rig.states, list(rig.log)
            for index_port, data_port, cell, value in list(shown_cells(rig)):
                ports.write(index_port, index & ~shadows.CELL_MASK | cell, 1)
                assert ports.read(data_port, 1) == value
                ports.write(data_port, value ^ 0xA5, 1)
                assert ports.read(data_port, 1) == rig.slot.shadows.table.cells[cell]
                ports.write(data_port, value, 1)
                ports.write(index_port, index, 1)
                assert rig.states == before
            assert rig.log == log
