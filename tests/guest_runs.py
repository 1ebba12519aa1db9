"""Running guests, saving and restoring them on the way, and telling whether anybody noticed.

A `Script` is a guest with everything that will be typed to it and when; so a run of it is told
completely by its script.  `Trail` is what can be seen of a run at the clocks it was looked at:
all the output so far, and the digest.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence

import emu
from emu import attrs, keys
from emu.host.ends import Memory as MemoryEnd
from emu.inputs import Input, Source
from emu.machine import Machine


@attrs.frozen
class Script:
    """A guest, what is typed to it, and how long it is watched, in virtual nanoseconds."""

    name: str
    length_ns: int
    typed: tuple[tuple[int, bytes], ...] = ()
    struck: tuple[tuple[int, str], ...] = ()  # on the keyboard
    memory: str = "1M"
    stops: int = 100  # at how many moments the checkpoint tests look at it

    def start(self, engine: str) -> Running:
        """Switch a machine on with the guest in it and the typing still to come."""
        end = MemoryEnd()
        vm = Machine(self.name, memory=self.memory, serial=end, engine=engine)
        vm.inputs.schedule(Input(ns, Source.SERIAL, data) for ns, data in self.typed)
        vm.inputs.schedule(
            Input(ns, Source.KEYBOARD, keys.strokes(text)) for ns, text in self.struck
        )
        return Running(vm, end, engine)

    def moments(self, count: int, seed: int) -> list[int]:
        """*count* clocks of the run, in order, the same for the same seed."""
        chosen = random.Random(f"{self.name} {seed}")
        return sorted(chosen.sample(range(1, self.length_ns), count))


@attrs.frozen
class Trail:
    """What can be seen of a run at one clock."""

    now_ns: int
    output: bytes
    digest: str


@attrs.define(eq=False)
class Running:
    """A machine that is being watched."""

    vm: Machine
    end: MemoryEnd
    engine: str
    before: bytes = b""  # what it had sent in earlier lives

    def run_to(self, now_ns: int) -> Trail:
        """Run to the first sampling point at or after *now_ns*, past a guest's end if need be."""
        while self.vm.clock.now_ns < now_ns:
            self.vm.run(emu.clock(now_ns))
        return self.look()

    def look(self) -> Trail:
        return Trail(self.vm.clock.now_ns, self.before + bytes(self.end.sent), self.vm.digest())

    def save(self) -> Saved:
        """Save it as it is; it may run on."""
        file = io.BytesIO()
        self.vm.save(file)
        return Saved(file.getvalue(), self.before + bytes(self.end.sent), self.engine)

    def close(self) -> None:
        self.vm.close()


@attrs.frozen
class Saved:
    """A save in memory, and what its machine had sent by then."""

    data: bytes
    output: bytes
    engine: str

    def restore(self, engine: str | None = None) -> Running:
        """A fresh machine that goes on from here."""
        end = MemoryEnd()
        chosen = engine or self.engine
        vm = emu.load(io.BytesIO(self.data), serial=end, engine=chosen)
        return Running(vm, end, chosen, self.output)


def walk(script: Script, moments: Sequence[int], engine: str) -> tuple[list[Trail], list[Saved]]:
    """One run that stops, is looked at and saved at each of *moments*, and goes on."""
    running = script.start(engine)
    trails, saves = [], []
    for moment in moments:
        trails.append(running.run_to(moment))
        saves.append(running.save())
    running.close()
    return trails, saves


# Clocks at which the guests are busy with what they are about; the ROM takes about 4 ms.
HELLO = Script("hello", 20_000_000)
TICKS = Script("ticks", 120_000_000)
PRIMES = Script("primes", 60_000_000)
ECHO = Script(
    "echo",
    60_000_000,
    typed=(
        (8_000_000, b"hello\r"),
        (12_000_000, b"Hullo\x08\x7f\x08\x08ello\n"),
        (12_300_000, b"\r\n"),
        (20_000_000, b"a longer line, typed all at once, that fills the queue\rand more\r"),
        (45_000_000, b"\x08\x04"),
    ),
)
KEYS = Script("keys", 400_000_000, struck=((8_000_000, "Hello, World!\n"), (60_000_000, "more\n")))
# The chapters on protected mode, at fewer moments each: the processor's states are what they add.
PAGING = Script("paging", 97_000_000, stops=30)
NUMBERS = Script("numbers", 41_000_000, stops=30)
RING3 = Script("ring3", 39_000_000, stops=30)
TASKS = Script("tasks", 103_000_000, stops=30)
SCRIPTS = (HELLO, TICKS, ECHO, PRIMES, PAGING, NUMBERS, RING3, TASKS)
