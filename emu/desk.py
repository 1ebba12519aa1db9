r"""What stands on the desk: terminal, keyboard and mouse, for a user of the package to use.

    vm.serial.send("dir\n")            characters, as fast as the line takes them
    vm.keyboard.type("dir\n")          key by key, as fast as the guest reads them
    vm.keyboard.press("left_ctrl")     and held, until it is released
    vm.mouse.move(10, -3)              to the right and towards oneself
    vm.mouse.press("left")

Whatever is done here enters the machine through its one log of inputs (`emu.inputs`): as bytes,
which this module also reads again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from emu import attrs, keys
from emu.errors import ConfigError, HostError
from emu.host.ends import HostEnd
from emu.inputs import Source

Enter = Callable[[Source, bytes], None]

BUTTONS = {"left": 1 << 0, "right": 1 << 1, "middle": 1 << 2, "fourth": 1 << 3, "fifth": 1 << 4}
MOST_COUNTS = (1 << 15) - 1
MOST_TURNS = (1 << 7) - 1

_MOUSE = struct.Struct(">hhbB")  # right, away, the wheel's turns, the buttons that are down


@attrs.define(eq=False)
class SerialPort:
    """The host's side of the serial port; *space* tells how many more characters can wait."""

    enter: Enter
    space: Callable[[], int]
    end: HostEnd = attrs.field(init=False)  # where its characters go to and come from
    listening: bool = attrs.field(init=False, default=True)  # False: what *end* has stays there

    def send(self, data: bytes | str) -> None:
        """Send *data* to the guest; it arrives at the line's speed, and none of it is lost.

        Raises HostError, with nothing sent, where it is more than can wait for the guest: 64 KiB.
        """
        characters = data.encode() if isinstance(data, str) else data
        if len(characters) > self.space():
            raise HostError(
                f"serial port: {len(characters)} bytes, and room for {self.space()} more"
            )
        self.enter(Source.SERIAL, characters)


@attrs.define(eq=False)
class Keyboard:
    """The machine's keyboard; *space* tells how many more strokes can wait for the guest."""

    enter: Enter
    space: Callable[[], int]

    def type(self, text: str) -> None:
        """Type *text* on a US keyboard, after what is still being typed.

        Each key waits until the guest has read those before; so a text may be typed before the
        guest has set up its keyboard.  Raises ConfigError for a character that is on no key, and
        HostError, with nothing typed, where it is more than can wait: 64 Ki strokes.
        """
        self._strike(keys.strokes(text))

    def press(self, key: str) -> None:
        """Press the key called *key* (`emu.keys.key_named`) and hold it down; in turn, like `type`."""
        self._strike(keys.pressed(keys.key_named(key)))

    def release(self, key: str) -> None:
        """Let go the key called *key*; in turn, like `type`."""
        self._strike(keys.released(keys.key_named(key)))

    def _strike(self, strokes: bytes) -> None:
        if len(strokes) > self.space():
            raise HostError(f"keyboard: {len(strokes)} strokes, and room for {self.space()} more")
        self.enter(Source.KEYBOARD, strokes)


@attrs.define(eq=False)
class Mouse:
    """The machine's mouse; *held* tells which of its buttons are down."""

    enter: Enter
    held: Callable[[], int]

    def move(self, right: int, away: int, wheel: int = 0) -> None:
        """Move it by so many counts, and turn its wheel by so many steps towards oneself.

        Raises ConfigError beyond 32,767 counts or 127 steps.
        """
        if max(abs(right), abs(away)) > MOST_COUNTS or abs(wheel) > MOST_TURNS:
            raise ConfigError(f"the mouse cannot be moved so far: {right}, {away}, {wheel}")
        self.enter(Source.MOUSE, _MOUSE.pack(right, away, wheel, self.held()))

    def press(self, button: str) -> None:
        """Press a button, "left", "right", "middle", "fourth" or "fifth", and hold it down."""
        self._hold(self.held() | _button(button))

    def release(self, button: str) -> None:
        """Let a button go."""
        self._hold(self.held() & ~_button(button))

    def _hold(self, buttons: int) -> None:
        self.enter(Source.MOUSE, _MOUSE.pack(0, 0, 0, buttons))


def mouse_events(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """What *data*, that of an input, does to the mouse: right, away, wheel, buttons held."""
    return _MOUSE.iter_unpack(data[: len(data) // _MOUSE.size * _MOUSE.size])


def _button(name: str) -> int:
    if name not in BUTTONS:
        raise ConfigError(f"no button {name!r}: there are {', '.join(BUTTONS)}")
    return BUTTONS[name]
