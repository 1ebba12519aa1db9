"""What a save says of the machine it was made of: its first section, ``emu/machine``.

A machine can be built from it alone, before anything else of the save has been read.  It names the
board and its parts, the processor, the sizes, and what things cost in virtual time: so neither a
board that has grown since nor other costs make a save of today another machine.
"""

from __future__ import annotations

from emu import attrs
from emu.board import BOARDS, Options, Part
from emu.clock import Costs
from emu.cpu.models import Model
from emu.errors import StreamError
from emu.memory import MIB, PAGE_BYTES, RAM_MOST, ROM_MOST
from emu.savevm.vmstate import Saved, reg, text, whole

REVISION = 1  # of the boards
COST_MOST_NS = 1_000_000


@attrs.define
class State:
    """All that is needed to build the machine again."""

    board: str = text(most=64, doc="the board's name")
    revision: int = reg(bits=16, reset=REVISION, doc="the board's revision")
    parts: str = text(most=1024, doc="the parts that are plugged in, by name, with commas")
    cpu: str = text(most=64, doc="the processor's model")
    memory_bytes: int = reg(bits=32, doc="the size of RAM")
    rom_bytes: int = reg(bits=32, doc="the size of the ROM")
    block_ns: int = reg(bits=32, doc="what a block costs")
    port_ns: int = reg(bits=32, doc="what a port access costs")
    rdtsc_ns: int = reg(bits=32, doc="what reading the time stamp counter costs")
    rtc_base_s: int = reg(bits=40, doc="the real-time clock at power-on, in seconds since 1970")
    boot: str = text(most=16, doc="the boot order")


SECTION = whole(State, "emu/machine")
SAVED = Saved(State, (SECTION,))
NAME = f"{SECTION.idstr}/0"


@attrs.define(eq=False)
class Nameplate:
    """The State, as a card that is saved."""

    state: State

    def settle(self) -> None:
        """No outputs: the machine was built from it."""


def describe(board: str, options: Options, rom_bytes: int) -> Nameplate:
    """The nameplate of a machine that is being built."""
    return Nameplate(
        State(
            board=board,
            parts=",".join(part.value for part in options.parts),
            cpu=options.model.value,
            memory_bytes=options.memory_bytes,
            rom_bytes=rom_bytes,
            block_ns=options.costs.block_ns,
            port_ns=options.costs.port_ns,
            rdtsc_ns=options.costs.rdtsc_ns,
            rtc_base_s=options.rtc_base_s,
        )
    )


def options_from(state: State) -> Options:  # noqa: C901 - one check a field
    """The board's options that *state* describes; StreamError for what is not known here."""

    def refuse(field: str) -> StreamError:
        return StreamError(
            "a machine not known here", section=NAME, field=field, found=repr(getattr(state, field))
        )

    if state.board not in BOARDS:
        raise refuse("board")
    if state.revision != REVISION:
        raise refuse("revision")
    models = {model.value: model for model in Model}
    if state.cpu not in models:
        raise refuse("cpu")
    known = {part.value: part for part in Part}
    names = state.parts.split(",")
    if not known.keys() >= set(names) or len(names) != len(set(names)):
        raise refuse("parts")
    if not MIB <= state.memory_bytes <= RAM_MOST or state.memory_bytes % MIB:
        raise refuse("memory_bytes")
    if not 0 < state.rom_bytes <= ROM_MOST or state.rom_bytes % PAGE_BYTES:
        raise refuse("rom_bytes")
    if not 0 < state.block_ns <= COST_MOST_NS:  # a block that costs nothing would never end a run
        raise refuse("block_ns")
    for field in ("port_ns", "rdtsc_ns"):
        if getattr(state, field) > COST_MOST_NS:
            raise refuse(field)
    return Options(
        model=models[state.cpu],
        memory_bytes=state.memory_bytes,
        rtc_base_s=state.rtc_base_s,
        costs=Costs(state.block_ns, state.port_ns, state.rdtsc_ns),
        parts=tuple(known[name] for name in names),
    )


def check_same(mine: State, theirs: State) -> None:
    """StreamError, naming the field, where *theirs* is another machine; boot orders may differ."""
    for field in attrs.fields(State):
        found, expected = getattr(theirs, field.name), getattr(mine, field.name)
        if found != expected and field.name != "boot":
            raise StreamError(
                "saved on another machine",
                section=NAME,
                field=field.name,
                found=repr(found),
                expected=repr(expected),
            )
