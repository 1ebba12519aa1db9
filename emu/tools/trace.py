r"""Watching a machine at work: a line for each thing that happens, with its time.

    ports        each access:     `       1234000 ns  IN    03fd  1  60`       port, size, value
    interrupts   each delivery:   `       1234000 ns  INT   08  hardware at 00007c4d`
    inputs       what enters:     `       1234000 ns  FROM  serial  b'hello\r'`

Watching changes nothing: the machine's time is virtual, and a line costs none of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from emu import attrs
from emu.cpu.delivery import Event
from emu.cpu.processor import PortAccess
from emu.errors import ConfigError
from emu.inputs import Input
from emu.machine import Machine

Say = Callable[[str], None]


class What(enum.Enum):
    """What can be watched."""

    PORTS = "ports"
    INTERRUPTS = "interrupts"
    INPUTS = "inputs"


def parse(text: str) -> set[What]:
    """What ``--trace`` names: one or more, with commas between them."""
    try:
        return {What(name) for name in text.split(",")}
    except ValueError:
        names = ", ".join(each.value for each in What)
        raise ConfigError(f"trace {text!r}: expected {names}, with commas between") from None


@attrs.define(eq=False)
class TracedPorts:
    """The machine's ports, with somebody looking on."""

    ports: PortAccess
    say: Say
    shadows: None = None  # each access is to be seen

    def read(self, port: int, size: int) -> int:
        value = self.ports.read(port, size)
        self.say(f"IN    {port:04x}  {size}  {value:0{2 * size}x}")
        return value

    def write(self, port: int, value: int, size: int) -> None:
        self.say(f"OUT   {port:04x}  {size}  {value:0{2 * size}x}")
        self.ports.write(port, value, size)


def install(vm: Machine, what: set[What], write: Say) -> None:
    """Have *vm* tell *write*, line by line, of what happens from now on."""
    processor = vm.board.processor

    def say(line: str) -> None:
        write(f"{vm.clock.now_ns:>14} ns  {line}")

    def delivered(event: Event) -> None:
        code = "" if event.error_code is None else f", error code {event.error_code:x}"
        kind = event.kind.name.lower().replace("_", " ")
        say(f"INT   {event.vector:02x}  {kind} at {event.return_eip:08x}{code}")

    def entered(what: Input) -> None:
        say(f"FROM  {what.source.name.lower()}  {what.data!r}")

    if What.PORTS in what:
        processor.ports = TracedPorts(processor.ports, say)
    if What.INTERRUPTS in what:
        processor.watch_deliveries(delivered)
    if What.INPUTS in what:
        vm.inputs.listeners.append(entered)
