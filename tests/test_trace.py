"""A trace tells what happens and when, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import emu
from emu import attrs
from emu.errors import ConfigError
from emu.host.ends import Memory
from emu.inputs import Input, Source
from emu.machine import Machine
from emu.tools import trace
from emu.tools.trace import What

LENGTH = emu.clock("20ms")
TYPED = Input(8_000_000, Source.SERIAL, b"hi\r")

# mov al, 42h; out E9h, al; in ax, E9h; mov eax, 12345678h; out 80h, eax; int3; cli; hlt
PORTS = bytes.fromhex("b042 e6e9 e5e9 66b878563412 66e780 cc fa f4")


@attrs.define
class Traced:
    """A machine that is being watched."""

    vm: Machine
    end: Memory
    lines: list[str]

    def texts(self, kind: str) -> list[str]:
        """The lines of a *kind*, without their time."""
        texts = [line.split(" ns  ")[1] for line in self.lines]
        return [text for text in texts if text.startswith(f"{kind} ")]


def start(image: str | bytes, *what: What) -> Traced:
    end = Memory()
    traced = Traced(Machine(image, memory="1M", serial=end), end, [])
    trace.install(traced.vm, set(what), traced.lines.append)
    return traced


@pytest.fixture
def echo() -> Iterator[Traced]:
    """The guest that echoes, with everything traced, after a line was typed to it."""
    traced = start("echo", *What)
    traced.vm.inputs.schedule([TYPED])
    traced.vm.run(LENGTH)
    yield traced
    traced.vm.close()


class TestLines:
    def test_ports(self) -> None:
        """Port, size in bytes, value in as many digits."""
        traced = start(PORTS, What.PORTS)
        traced.vm.run()
        traced.vm.close()

        assert traced.texts("OUT")[-2:] == ["OUT   00e9  1  42", "OUT   0080  4  12345678"]
        assert traced.texts("IN")[-1] == "IN    00e9  2  ffe9"

    def test_interrupts(self, echo: Traced) -> None:
        """Its vector, what it is and where the guest was."""
        texts = echo.texts("INT")

        assert any(re.fullmatch(r"INT   0c  hardware at 0000[0-9a-f]{4}", text) for text in texts)

    def test_software_interrupts(self) -> None:
        """A call of the ROM's, between two ticks of the timer."""
        traced = start("ticks", What.INTERRUPTS)
        traced.vm.run(emu.serial("tick"))
        traced.vm.close()

        kinds = {text.partition(" at ")[0] for text in traced.texts("INT")}
        assert {"INT   08  hardware", "INT   10  software"} <= kinds

    def test_faults(self) -> None:
        """In protected mode some have an error code."""
        traced = start("primes", What.INTERRUPTS)
        traced.vm.run(emu.after("60ms"))
        traced.vm.close()

        assert any(
            re.fullmatch(r"INT   0d  exception at [0-9a-f]{8}, error code [0-9a-f]+", text)
            for text in traced.texts("INT")
        )

    def test_breakpoints(self) -> None:
        """INT3 is the guest's own doing."""
        traced = start(PORTS, What.INTERRUPTS)
        traced.vm.run(emu.after("10ms"))
        traced.vm.close()

        assert traced.texts("INT")[-1] == "INT   03  software exception at 00007c10"

    def test_inputs(self, echo: Traced) -> None:
        """What was typed, and when it entered: at the first moment it could."""
        echo.vm.reset()
        lines = [line for line in echo.lines if "FROM" in line]

        assert re.fullmatch(r" +80000\d\d ns  FROM  serial  b'hi\\r'", lines[0])
        assert lines[1:] == [f"{echo.vm.clock.now_ns:>14} ns  FROM  reset  b''"]

    def test_in_the_order_of_time(self, echo: Traced) -> None:
        """A line for each thing as it happens."""
        times = [int(line.split()[0]) for line in echo.lines]

        assert times == sorted(times)
        assert len(times) > 1000

    @pytest.mark.parametrize("what", What)
    def test_nothing_but_what_was_asked_for(self, what: What) -> None:
        """Each kind is told by itself."""
        traced = start("echo", what)
        traced.vm.inputs.schedule([TYPED])
        traced.vm.run(LENGTH)
        traced.vm.close()

        kinds = {line.split()[2] for line in traced.lines}
        expected = {What.PORTS: {"IN", "OUT"}, What.INTERRUPTS: {"INT"}, What.INPUTS: {"FROM"}}
        assert kinds == expected[what]


def test_changes_nothing(echo: Traced) -> None:
    """The same output, digest and clock with a trace and without."""
    other = start("echo")
    other.vm.inputs.schedule([TYPED])
    other.vm.run(LENGTH)

    assert other.end.sent == echo.end.sent
    assert other.vm.clock.now_ns == echo.vm.clock.now_ns
    assert other.vm.digest() == echo.vm.digest()
    other.vm.close()


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("ports", {What.PORTS}),
            ("interrupts,inputs", {What.INTERRUPTS, What.INPUTS}),
            ("ports,ports", {What.PORTS}),
        ],
    )
    def test_names(self, text: str, what: set[What]) -> None:
        """One or more, in any order."""
        assert trace.parse(text) == what

    @pytest.mark.parametrize("text", ["", "port", "ports,", "ports inputs"])
    def test_anything_else_is_refused(self, text: str) -> None:
        """With the names there are."""
        with pytest.raises(ConfigError, match=r"expected ports, interrupts, inputs"):
            trace.parse(text)
