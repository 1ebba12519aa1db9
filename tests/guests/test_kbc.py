"""Keyboard controller, keyboard and mouse answer as QEMU's do, and boot sectors read keys.

`firmware/guests/kbc.asm` walks through what the three can be told.  The golden is QEMU 7.2's, which
test_firmware_images.py asks anew.  Ours says the same, but for the lines in `DEVIATIONS`.
"""

from __future__ import annotations

import enum
from pathlib import Path

import pytest

import emu
from emu.cpu import native
from emu.host.ends import Memory as MemoryEnd
from emu.machine import Machine
from emu.until import Reason

GOLDEN = Path(__file__).parent / "golden"
LONG = emu.after("30s")

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)
ENGINES = [pytest.param("native", marks=needs_native), "reference"]


class Cause(enum.Enum):
    """Why a line of ours is not QEMU's."""

    ANSWERS = "an answer waits until the one before has been read; in QEMU it takes its place"


DEVIATIONS = {
    " 64<AA 64<AB: k00 -": (" 64<AA 64<AB: k55 k00", Cause.ANSWERS),
    " 64<D2 60<11 64<D3 60<22: k22 -": (" 64<D2 60<11 64<D3 60<22: k11 m22", Cause.ANSWERS),
}


def lines(name: str) -> list[str]:
    return (GOLDEN / f"{name}.txt").read_text().splitlines()


def test_every_deviation_is_from_a_line_of_QEMU_s() -> None:
    assert DEVIATIONS.keys() <= set(lines("kbc"))
    assert {cause for _, cause in DEVIATIONS.values()} == set(Cause)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_walk_finds_what_it_finds_on_QEMU(engine: str) -> None:
    end = MemoryEnd()
    with Machine("kbc", memory="1M", serial=end, engine=engine) as vm:
        stopped = vm.run(LONG)

    assert (stopped.reason, stopped.value) == (Reason.EXIT, 0)
    expected = [DEVIATIONS.get(line, (line, None))[0] for line in lines("kbc")]
    assert bytes(end.sent).decode().splitlines() == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_a_boot_sector_reads_what_is_typed(engine: str) -> None:
    """Typed at power-on: each key waits until the guest reads it."""
    end = MemoryEnd()
    with Machine("keys", memory="1M", serial=end, engine=engine) as vm:
        vm.keyboard.type("\n".join([*lines("keys")[2:], "\x1b"]))
        stopped = vm.run(LONG)

    assert (stopped.reason, stopped.value) == (Reason.EXIT, 0)
    assert bytes(end.sent).decode().splitlines() == lines("keys")
