"""Saves that somebody has made up: every checksum is right, and what is in them is not.

    python tests/hostile.py SCRIPT NOW_NS ENGINE FIRST COUNT

loads COUNT of them, made from a save of SCRIPT at NOW_NS, into one machine.  Each must be refused
by StreamError; or it runs, for a millisecond, is saved, and that save is loaded: the same machine.
A line for each says what became of it.  Anything else ends the process: an exception by
its traceback, a crash by its signal, an endless loop by the time limit of whoever started this.
The memory that it may use is limited here.
"""

from __future__ import annotations

import faulthandler
import io
import random
import resource
import sys
from pathlib import Path

from guest_runs import KEYS, SCRIPTS, Running
from synthetic import Piece, put_together, take_apart

import emu
from emu import EmuError, StreamError
from emu.clock import NEVER
from emu.memory import MIB

RUN = "1ms"
SPARE_BYTES = 256 * MIB  # that a hostile save may have on top of the machine
MADE_UP = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF)
INSTANTS = (0, 1, NEVER - 2, NEVER - 1, NEVER, 1 << 61, (1 << 61) - 1, (1 << 63) - 1, 1 << 63)
STEPS_NS = (-1_000_000, -1, 0, 1, 1_000, 1_000_000, 10**9, 6 * 10**9, 10**12)


def change(payload: bytearray, dice: random.Random, now_ns: int) -> None:
    """Put something into *payload* that was not there."""
    at = dice.randrange(len(payload))
    match dice.choice(["bit", "byte", "number", "instant", "instant", "noise"]):
        case "bit":
            payload[at] ^= 1 << dice.randrange(8)
        case "byte":
            payload[at] = dice.choice(MADE_UP) & 0xFF
        case "number":
            size = min(dice.choice([1, 2, 4, 8]), len(payload))
            at = min(at, len(payload) - size)
            number = dice.choice([*MADE_UP, dice.getrandbits(64)])
            payload[at : at + size] = number.to_bytes(8, "big")[-size:]
        case "instant" if len(payload) >= 8:
            at = min(at, len(payload) - 8)
            instant = dice.choice([*INSTANTS, *(now_ns + step for step in STEPS_NS)])
            payload[at : at + 8] = (instant & (1 << 64) - 1).to_bytes(8, "big")
        case _:
            size = min(dice.randrange(1, 32), len(payload) - at)
            payload[at : at + size] = dice.randbytes(size)


def make_up(data: bytes, now_ns: int, seed: int) -> bytes:
    """*data* with values in one to four of its sections that nobody has saved."""
    dice = random.Random(seed)
    pieces: list[Piece] = take_apart(data)
    small = [piece for piece in pieces if piece.idstr not in {"emu/machine", "ram"}]
    for _ in range(dice.choice([1, 1, 2, 4])):
        piece = dice.choice([*small, *pieces[1:2]] if dice.random() < 0.1 else small)
        payload = bytearray(piece.payload)
        change(payload, dice, now_ns)
        piece.payload = bytes(payload)
    return put_together(data, pieces)


def limit_memory() -> None:
    """From here on, no more than SPARE_BYTES; who asks for more gets MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def refusal(error: EmuError, *, same_machine: bool) -> str:
    """A line that says so."""
    assert same_machine
    assert str(error).isprintable()
    return f"refused: {error}"


def what_becomes_of(running: Running, data: bytes) -> str:
    """Load *data*; see that it runs where it is not refused."""
    vm = running.vm
    before = vm.digest()
    try:
        vm.load(io.BytesIO(data))
    except StreamError as error:
        return refusal(error, same_machine=vm.digest() == before)
    try:
        stopped = vm.run(emu.after(RUN))
        ran = stopped.reason.name
    except EmuError as error:  # an input that is due, and that this machine cannot take
        ran = refusal(error, same_machine=True)
    file = io.BytesIO()
    vm.save(file)
    digest = vm.digest()
    file.seek(0)
    vm.load(file)
    assert vm.digest() == digest
    return f"ran: {ran}"


def main(name: str, now_ns: int, engine: str, first: int, count: int) -> None:
    faulthandler.enable()
    script = next(each for each in (*SCRIPTS, KEYS) if each.name == name)
    running = script.start(engine)
    running.run_to(now_ns)
    data = running.save().data
    what_becomes_of(running, data)
    if sys.platform == "linux":
        limit_memory()
    for seed in range(first, first + count):
        sys.stdout.write(f"{seed} ")
        sys.stdout.flush()
        sys.stdout.write(f"{what_becomes_of(running, make_up(data, now_ns, seed))}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
