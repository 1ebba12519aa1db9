"""Debian's SeaBIOS, unmodified: from the reset vector through POST to its boot attempt.

It is fetched by `tests/guests/fetch.py`.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import guests_fetched
import pytest

import emu
from emu.host.ends import Memory as MemoryEnd

END_NS = 2_500_000_000  # it has tried every device, and waits
MOMENTS = 20
LAST_WORDS = b"No bootable device."

# What each process does: restore, run to a clock, say the digest and the messages.
RESTORE = """
import sys, emu
from emu.host.ends import Memory
end = Memory()
vm = emu.load(sys.argv[1], debugcon=end, engine=sys.argv[3])
vm.run(emu.clock(int(sys.argv[2])))
sys.stdout.buffer.write(vm.digest().encode() + b"\\n" + bytes(end.sent))
"""


@pytest.fixture(scope="module")
def bios() -> Path:
    return guests_fetched.path("seabios/bios.bin")


def start(bios: Path, engine: str = "auto") -> tuple[emu.Machine, MemoryEnd]:
    end = MemoryEnd()
    return emu.Machine(bios=bios, memory="16M", debugcon=end, engine=engine), end


def test_it_comes_to_its_boot_attempt(bios: Path) -> None:
    vm, end = start(bios)
    vm.run(emu.clock(END_NS))

    messages = bytes(end.sent)
    for wanted in (b"SeaBIOS (version", b"Found 1 serial ports", b"Booting from", LAST_WORDS):
        assert wanted in messages


def test_saved_at_random_moments_each_restored_in_a_fresh_process(
    bios: Path, tmp_path: Path
) -> None:
    moments = sorted(random.Random("seabios").sample(range(1, END_NS), MOMENTS))
    # Where it works rather than waits, too: the first tenth of a second.
    moments = sorted(
        [*moments[::2], *random.Random("post").sample(range(1, END_NS // 25), MOMENTS)]
    )
    vm, end = start(bios)
    said = []
    for number, moment in enumerate(moments):
        vm.run(emu.clock(moment))
        said.append(len(end.sent))
        vm.save(tmp_path / f"{number}.emu")
    vm.run(emu.clock(END_NS))
    digest, messages = vm.digest(), bytes(end.sent)

    for number, before in enumerate(said):
        command = [sys.executable, "-c", RESTORE, tmp_path / f"{number}.emu", str(END_NS), "auto"]
        process = subprocess.run(command, capture_output=True, check=True)
        found, _, rest = process.stdout.partition(b"\n")
        assert found.decode() == digest
        assert messages[:before] + rest == messages


def test_both_engines_agree(bios: Path) -> None:
    """Over the part of POST that the reference engine does in a few seconds."""
    digests = []
    for engine in ("auto", "reference"):
        vm, _ = start(bios, engine)
        vm.run(emu.clock(20_000_000))
        digests.append(vm.digest())

    assert digests[0] == digests[1]
