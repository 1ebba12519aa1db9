"""Everything that reaches the machine from outside goes through here, with its time.

What a user types, a test sends or a button does enters between two blocks, at a virtual time.  So a
run is told completely by where it began and by this log; recorded and replayed, it is the
same run.  Inputs that lie in the future are kept in a queue, which is saved with the machine.

A recording is a text file, one JSON object a line:

    {"emu-record": 1, "digest": "e1:..."}                   the machine it began with
    {"ns": 1500000, "source": "serial", "data": "68690d"}   an input, its data in hexadecimal
    {"end": 9000000, "digest": "e1:..."}                    the machine it ended with
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from emu.clock import NEVER
from emu.errors import HostError, StreamError
from emu.isa import Slot
from emu.savevm.vmstate import Saved, blob, choice, queue, reg, whole

DATA_MOST = 1 << 16  # of one input
PENDING_MOST = 1 << 16  # inputs in the queue
RECORDING_VERSION = 1


class Source(enum.Enum):
    """Where an input comes from."""

    SERIAL = 0  # characters for the serial port
    RESET = 1  # the reset button
    BOOT_SET = 2  # a new boot order


@attrs.define
class Input:
    """One thing that happens to the machine."""

    ns: int = reg(bits=62, doc="when it enters, in virtual nanoseconds")
    source: Source = choice(Source, reset=Source.SERIAL, doc="where it comes from")
    data: bytes = blob(most=DATA_MOST, doc="what it brings")


@attrs.define
class State:
    """The inputs that are still to come."""

    pending: list[Input] = queue(Input, most=PENDING_MOST, doc="in the order of their times")


SAVED = Saved(State, (whole(State, "emu/inputs"),))

Apply = Callable[[Input], None]


@attrs.define(eq=False)
class Inputs:
    """The machine's one way in; *apply* does what an input says."""

    apply: Apply
    state: State = attrs.field(init=False, factory=State)
    listeners: list[Callable[[Input], None]] = attrs.field(init=False, factory=list)

    def settle(self) -> None:
        """No outputs: the run loop looks at `next_ns`."""

    @property
    def next_ns(self) -> int:
        """When the next input is due."""
        return self.state.pending[0].ns if self.state.pending else NEVER

    def enter(self, what: Input) -> None:
        """Let *what* happen now, between two blocks."""
        for listener in self.listeners:
            listener(what)
        self.apply(what)

    def schedule(self, inputs: Iterable[Input]) -> None:
        """Have *inputs* enter at their times; equal times keep the order of scheduling."""
        pending = [*self.state.pending, *inputs]
        pending.sort(key=lambda each: each.ns)  # stable
        self.state.pending = pending

    def enter_due(self, now_ns: int) -> None:
        """Let every input happen whose time has come."""
        while self.next_ns <= now_ns:
            self.enter(self.state.pending.pop(0))


def attach(slot: Slot, apply: Apply) -> Inputs:
    """Have the inputs of a machine saved."""
    inputs = Inputs(apply)
    slot.register_state(SAVED, inputs)
    return inputs


# ==== recordings ==========================================================================


@attrs.frozen
class Recording:
    """What a recording's file says."""

    start_digest: str
    inputs: tuple[Input, ...]
    end_ns: int
    end_digest: str


@attrs.define(eq=False)
class Recorder:
    """Writes a recording as it happens, so that a run that is cut short has most of one."""

    path: Path
    start_digest: str

    def __attrs_post_init__(self) -> None:
        self._write("w", {"emu-record": RECORDING_VERSION, "digest": self.start_digest})

    def record(self, what: Input) -> None:
        self._write(
            "a", {"ns": what.ns, "source": what.source.name.lower(), "data": what.data.hex()}
        )

    def finish(self, end_ns: int, digest: str) -> None:
        self._write("a", {"end": end_ns, "digest": digest})

    def _write(self, mode: str, line: dict[str, object]) -> None:
        try:
            with self.path.open(mode) as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise HostError(f"{self.path}: {error.strerror}") from error


def read_recording(path: Path) -> Recording:
    """Read a recording; StreamError with the line that is wrong."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StreamError(f"{path}: not a recording: {error.reason}") from error
    number = 0
    try:
        head, *middle, end = [json.loads(line) for line in lines]
        number = 1
        if head["emu-record"] != RECORDING_VERSION:
            raise StreamError(
                f"{path}: recording version {head['emu-record']}, expected {RECORDING_VERSION}"
            )
        inputs = []
        for number, line in enumerate(middle, start=2):  # noqa: B007 - for the message
            source = Source[line["source"].upper()]
            inputs.append(Input(line["ns"], source, bytes.fromhex(line["data"])))
        number = len(lines)
        return Recording(head["digest"], tuple(inputs), int(end["end"]), end["digest"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        where = f"line {number}" if number else "the whole"
        raise StreamError(f"{path}: {where}: not a finished recording ({error})") from error
