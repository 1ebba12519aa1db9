r"""Saves of boards with fewer parts load, and go on as they would have.

``golden/emu-eleven-parts.gz`` was saved when an isapc had eleven parts: no keyboard controller,
keyboard, typist or mouse, and no reset control register.  This is how it was made then:

    vm = emu.Machine("ticks", memory="1M")
    vm.run(until=emu.serial("tick 5\r\n"))
    vm.save(path)

and then ``gzip -9n``; it went on to the end of tick 9.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import emu
from emu.cpu import native
from emu.errors import ConfigError
from emu.host.ends import Memory as MemoryEnd
from emu.machine import Machine

GOLDEN = Path(__file__).parent / "golden" / "emu-eleven-parts.gz"
SAVED = "e1:6c5ad00e8d385c693b581d1025a74818", 53_497_509
TICK_9 = "e1:08d136d54c98f11ddf4d884fbca0fec6", 93_498_112

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)


@pytest.fixture(params=[pytest.param("native", marks=needs_native), "reference"])
def vm(request: pytest.FixtureRequest) -> Iterator[Machine]:
    data = gzip.decompress(GOLDEN.read_bytes())
    with emu.load(io.BytesIO(data), serial=MemoryEnd(), engine=request.param) as vm:
        yield vm


def test_it_is_the_machine_that_was_saved(vm: Machine) -> None:
    assert (vm.digest(), vm.clock.now_ns) == SAVED
    assert len(vm.description.parts.split(",")) == 11


def test_it_goes_on_as_it_did_then(vm: Machine) -> None:
    """To the same digest at the same clock."""
    vm.run(until=emu.serial("tick 9\r\n"))

    assert (vm.digest(), vm.clock.now_ns) == TICK_9


def test_it_has_no_keyboard(vm: Machine) -> None:
    """Nobody is at its ports; A20 is port 92h's, as it was."""
    ports = vm.board.slot.ports

    assert [ports.read(port, 1) for port in (0x60, 0x64, 0xCF9)] == [0xFF] * 3
    ports.write(0x92, 0, 1)
    assert not vm.cpu.a20
    with pytest.raises(ConfigError, match="no keyboard"):
        vm.keyboard.type("a")
    with pytest.raises(ConfigError, match="no mouse"):
        vm.mouse.press("left")


def test_a_machine_of_today_is_another(vm: Machine) -> None:
    """Its save is not loaded into one with more parts, which would lack their sections."""
    file = io.BytesIO()
    vm.save(file)
    file.seek(0)

    with (
        Machine("ticks", memory="1M") as other,
        pytest.raises(emu.StreamError, match="'parts': saved on another machine"),
    ):
        other.load(file)
