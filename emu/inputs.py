"""Everything that reaches the machine from outside goes through here, with its time.

What a user types, a test sends or a button does enters between two blocks, at a virtual time.  So a
run is told completely by where it began and by this log; recorded and replayed, it is the
same run.

There are two ways to know an input before its time.  What is scheduled is part of the machine: it
is saved with it, and counts in its digest.  What is played from a recording is not: a
machine in the middle of a replay is the machine that was recorded, which had no future yet.

A recording is a text file, one JSON object a line:

    {"emu-record": 1, "digest": "e1:..."}                   the machine it began with
    {"ns": 1500000, "source": "serial", "data": "68690d"}   an input, its data in hexadecimal
    {"end": 9000000, "digest": "e1:..."}                    the machine it ended with

It holds what came from outside, not what was scheduled: that is in the machine it began with.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from emu import attrs, images
from emu.clock import NEVER
from emu.errors import HostError, StreamError
from emu.isa import Slot
from emu.savevm.vmstate import Saved, UnfitError, Values, blob, choice, queue, reg, whole

if TYPE_CHECKING:
    from pathlib import Path

DATA_MOST = 1 << 16  # of one input
PENDING_MOST = 1 << 16  # inputs in the queue
RECORDING_VERSION = 1
RECORDING_MOST = 64 << 20  # bytes: a million inputs


class Source(enum.Enum):
    """Where an input comes from."""

    SERIAL = 0  # characters for the serial port
    RESET = 1  # the reset button
    BOOT_SET = 2  # a new boot order
    KEYBOARD = 3  # keystrokes, as in emu/keys.py
    MOUSE = 4  # movements and buttons, as in emu/desk.py


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


def _decode(found: Mapping[str, Values]) -> State:
    state = State(**found["emu/inputs"])
    for index, (first, second) in enumerate(itertools.pairwise(state.pending)):
        if first.ns > second.ns:
            raise UnfitError(
                f"pending[{index + 1}].ns", f" = {second.ns} comes before the one before"
            )
    return state


SAVED = Saved(State, (whole(State, "emu/inputs"),), _decode)

Apply = Callable[[Input], None]


@attrs.define(eq=False)
class Inputs:
    """The machine's one way in; *apply* does what an input says."""

    apply: Apply
    state: State = attrs.field(init=False, factory=State)
    listeners: list[Apply] = attrs.field(init=False, factory=list)  # told of all that enters
    recorders: list[Apply] = attrs.field(init=False, factory=list)  # ... and was not scheduled
    _playing: deque[Input] = attrs.field(init=False, factory=deque)

    def settle(self) -> None:
        """No outputs: the run loop looks at `next_ns`."""

    @property
    def next_ns(self) -> int:
        """When the next input is due."""
        return min(
            self.state.pending[0].ns if self.state.pending else NEVER,
            self._playing[0].ns if self._playing else NEVER,
        )

    def enter(self, what: Input) -> None:
        """Let *what* happen now, between two blocks."""
        for recorder in self.recorders:
            recorder(what)
        self._happen(what)

    def schedule(self, inputs: Iterable[Input]) -> None:
        """Have *inputs* enter at their times; equal times keep the order of scheduling."""
        pending = [*self.state.pending, *inputs]
        pending.sort(key=lambda each: each.ns)  # stable
        self.state.pending = pending

    def play(self, inputs: Iterable[Input]) -> None:
        """Have *inputs*, in the order of their times, enter as if they came from outside then."""
        self._playing.extend(inputs)

    def enter_due(self, now_ns: int) -> None:
        """Let every input happen whose time has come, what was scheduled first."""
        while self.state.pending and self.state.pending[0].ns <= now_ns:
            self._happen(self.state.pending.pop(0))
        while self._playing and self._playing[0].ns <= now_ns:
            self.enter(self._playing.popleft())

    def _happen(self, what: Input) -> None:
        for listener in self.listeners:
            listener(what)
        self.apply(what)


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
    """Writes a recording as it happens, each line at once: nothing is lost where the host fails."""

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
        import json

        try:
            with self.path.open(mode) as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise HostError(f"{self.path}: {error.strerror}") from error


_HEAD = {"emu-record": int, "digest": str}
_INPUT = {"ns": int, "source": str, "data": str}
_END = {"end": int, "digest": str}

_SOURCES = {source.name.lower(): source for source in Source}


def read_recording(path: Path) -> Recording:
    """Read a recording; StreamError naming the line that is wrong, HostError for no such file."""
    try:
        texts = images.read(path, RECORDING_MOST).decode().splitlines()
    except UnicodeDecodeError:
        raise StreamError(f"{path}: not a recording") from None
    lines = [_Line(f"{path}, line {number}", text) for number, text in enumerate(texts, start=1)]
    if not lines:
        raise StreamError(f"{path}: not a recording: it is empty")
    head = lines[0].fields(_HEAD)
    if head["emu-record"] != RECORDING_VERSION:
        raise StreamError(
            f"{lines[0].place}: version", found=head["emu-record"], expected=RECORDING_VERSION
        )
    if "end" not in lines[-1].read():
        raise StreamError(f"{lines[-1].place}: the recording breaks off here")
    inputs: list[Input] = []
    for line in lines[1:-1]:
        inputs.append(_read_input(line, inputs[-1].ns if inputs else 0))
    end = lines[-1].fields(_END)
    _check_time(lines[-1], end["end"], inputs[-1].ns if inputs else 0)
    return Recording(head["digest"], tuple(inputs), end["end"], end["digest"])


@attrs.frozen
class _Line:
    """A line of a recording, and how an error calls it."""

    place: str
    text: str

    def read(self) -> dict[str, Any]:
        """The JSON object that it is."""
        import json

        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise StreamError(f"{self.place}: not a JSON object: damaged, or not of a recording")
        return found

    def fields(self, expected: dict[str, type]) -> dict[str, Any]:
        """The same, with the fields *expected* and no other."""
        found = self.read()
        if {key: type(value) for key, value in found.items()} != expected:
            raise StreamError(
                f"{self.place}: not its fields",
                found=", ".join(found),
                expected=", ".join(expected),
            )
        return found


def _read_input(line: _Line, earliest_ns: int) -> Input:
    found = line.fields(_INPUT)
    _check_time(line, found["ns"], earliest_ns)
    if found["source"] not in _SOURCES:
        raise StreamError(f"{line.place}: an unknown source", found=repr(found["source"]))
    try:
        data = bytes.fromhex(found["data"])
    except ValueError:
        raise StreamError(f"{line.place}: data is not hexadecimal") from None
    if len(data) > DATA_MOST:
        raise StreamError(f"{line.place}: too much data", found=len(data), expected=DATA_MOST)
    return Input(found["ns"], _SOURCES[found["source"]], data)


def _check_time(line: _Line, time_ns: int, earliest_ns: int) -> None:
    """Time does not go back, nor beyond what a clock can show."""
    if not earliest_ns <= time_ns < NEVER:
        raise StreamError(f"{line.place}: out of order", found=time_ns)
