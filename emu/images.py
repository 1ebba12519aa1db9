"""Where the firmware is that comes with the emulator: the ROM and the guests of `firmware/`.

In a checkout that is `firmware/images`; an installed package carries a copy of it.
"""

from __future__ import annotations

from pathlib import Path

from emu.errors import ConfigError, HostError

ROM = "emu.rom"

_PLACES = (
    Path(__file__).parent / "_firmware",
    Path(__file__).parent.parent / "firmware" / "images",
)


def path(name: str) -> Path:
    """The file *name* of the firmware; ConfigError where there is no such thing."""
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise ConfigError(f"{name}: not among the firmware of this installation")


def find(name: str) -> Path:
    """The file a user means by *name*: a path, or else a guest's name such as ``hello``."""
    given = Path(name)
    if given.exists():
        return given
    if given.name == name and not given.suffix:
        for place in _PLACES:
            if (place / f"{name}.bin").is_file():
                return place / f"{name}.bin"
    return given


def read(file: str | Path, most: int) -> bytes:
    """The contents of *file*, *most* bytes at the most; HostError or ConfigError in one line."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise HostError(f"{file}: {error.strerror}") from error
    if len(data) > most:
        raise ConfigError(f"{file}: larger than {most} bytes")
    return data
