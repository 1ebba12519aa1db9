"""Whatever a guest does, the emulator does not raise: odd accesses to ports, and odd code."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import ENGINES, real_mode

import emu
from emu.machine import Machine
from emu.ports import PORTS, SIZES
from emu.until import Reason

SCRIPT = Path(__file__).parent / "odd_guests.py"
ACCESSES = 100_000
MACHINES = 10  # so many are they spread over
BY_CODE = 2_000
A_CODE = 200  # accesses in one piece of code
CASES = {"native": 1_000, "reference": 500}
PATIENCE_S = 120
IN_AND_OUT = ("ec", "ed", "66 ed", "ee", "ef", "66 ef")  # of 1, 2 and 4 bytes
CODE = 0x1000


@pytest.fixture(params=ENGINES)
def vm(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine("hello", memory="1M", engine=request.param) as vm:
        yield vm


def used_ports(vm: Machine) -> list[int]:
    """The ports at which somebody is."""
    ports = vm._board.slot.ports
    return sorted({port for tables in (ports._reads, ports._writes) for port in {*tables[1]}})


class TestPorts:
    """Every port, every width, every value: a card does what its data sheet says, or nothing."""

    @pytest.mark.parametrize("seed", range(MACHINES))
    def test_by_the_bus(self, seed: int) -> None:
        """Time passes between them, so that what they set going happens."""
        dice = random.Random(seed)
        with Machine("hello", memory="1M") as vm:
            ports, clock = vm._board.slot.ports, vm.clock
            used = used_ports(vm)
            for _ in range(ACCESSES // MACHINES):
                port = dice.choice(used) if dice.random() < 0.7 else dice.randrange(PORTS)
                size = dice.choice(SIZES)
                if dice.random() < 0.5:
                    assert 0 <= ports.read(port, size) < 1 << 8 * size
                else:
                    ports.write(port, dice.getrandbits(8 * size), size)
                if dice.random() < 0.1:
                    clock.advance(dice.randrange(1 << dice.randrange(20)))
            assert vm.run(emu.after("1ms")).reason in Reason

    def test_by_a_guest(self, vm: Machine) -> None:
        """With interrupts as they come, and resets; the debug exit ends a run, and it goes on."""
        dice = random.Random(1)
        used = used_ports(vm)
        for _ in range(BY_CODE // A_CODE):
            code = bytearray(b"\xfb" if dice.random() < 0.5 else b"\xfa")  # sti or cli
            for _ in range(A_CODE):
                port = dice.choice(used) if dice.random() < 0.7 else dice.randrange(PORTS)
                code += b"\xba" + port.to_bytes(2, "little")  # mov dx, port
                code += b"\x66\xb8" + dice.randbytes(4)  # mov eax, value
                code += bytes.fromhex(dice.choice(IN_AND_OUT))
            code += b"\xeb\xfe"  # jmp $
            vm.memory.write(CODE, bytes(code))
            state = real_mode(CODE, intr=vm.cpu.intr)
            vm._board.processor.state = state
            vm._board.processor.settle()

            assert vm.run(emu.after("1ms")).reason in Reason


class TestCode:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_random_bytes_from_random_states(self, engine: str) -> None:
        """In a process of its own, which is to come to its end."""
        done = subprocess.run(
            [sys.executable, str(SCRIPT), engine, "0", str(CASES[engine])],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

        assert done.returncode == 0, done.stderr[-2000:]
        counts = dict(line.split() for line in done.stdout.splitlines())
        assert sum(map(int, counts.values())) == CASES[engine]
        assert counts.keys() <= set(Reason.__members__)
