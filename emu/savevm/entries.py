"""What a registry holds: one entry for each section that a machine saves.

Declared    a chip of ours: a declared State
Handlers    a user's own functions
InParts     RAM: sent in stages, and loaded beside what is there
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from emu import attrs
from emu.savevm.description import Key
from emu.savevm.sections import Dialect, Foreign
from emu.savevm.stream import Stream
from emu.savevm.vmstate import Saved, Section, dump

SaveState = Callable[[Stream], None]
LoadState = Callable[[Stream, int], None]
SaveLiveState = Callable[[Stream, int], bool]  # stage 1, 2, 3; True: nothing left to send

STAGE_START, STAGE_PART, STAGE_END = 1, 2, 3


class Card(Protocol):
    """What is registered with its State."""

    state: Any

    def settle(self) -> None:
        """Make every output follow the state; change no State."""


class PartsLoading(Protocol):
    """The load of an entry that is sent in stages and put in place last."""

    def read(self, f: Stream, version: int) -> None:
        """Read what one stage has sent, and put it aside."""

    def check(self) -> None:
        """Raise StreamError where something has not been sent."""

    def commit(self) -> None:
        """Put in place what has been read."""

    def discard(self) -> None:
        """Forget it."""


class Parts(Protocol):
    """What `register_parts` is given: RAM."""

    def begin_save(self, dialect: Dialect, foreign: Foreign, *, live: bool) -> SaveLiveState:
        """The function that sends the stages of one save; *live*: the guest may run between."""

    def begin_load(self, dialect: Dialect, foreign: Foreign) -> PartsLoading: ...

    def digest(self) -> bytes:
        """What stands for the contents in the machine's digest."""


@attrs.frozen(eq=False)
class Declared:
    """A section of a chip's declared State."""

    key: Key
    section: Section
    saved: Saved[Any]
    card: Card
    head: bool = False  # it is written before everything else

    @property
    def version_id(self) -> int:
        return self.section.version

    def save(self, f: Stream) -> None:
        self.section.put(f, self.card.state)

    def save_bytes(self) -> bytes:
        return dump(self.section, self.card.state)


@attrs.frozen(eq=False)
class Handlers:
    """A section that a user's own functions write and read."""

    key: Key
    version_id: int
    save_live_state: SaveLiveState | None
    save_state: SaveState | None
    load_state: LoadState


@attrs.frozen(eq=False)
class InParts:
    """A section that is sent in stages and loaded beside what is there."""

    key: Key
    version_id: int
    parts: Parts


Entry = Declared | Handlers | InParts
