"""Where the firmware is that comes with the emulator: the ROM and the guests of `firmware/`.

In a checkout that is `firmware/images`; an installed package carries a copy of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from emu.errors import ConfigError, HostError

ROM = "emu.rom"

_PLACES = (
    Path(__file__).parent / "_firmware",
    Path(__file__).parent.parent / "firmware" / "images",
)

Source = str | os.PathLike[str] | bytes  # a file, or what would be in it


def path(name: str) -> Path:
    """The file *name* of the firmware; HostError where there is no such thing."""
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise HostError(f"{name}: not among the firmware of this installation")


def guests() -> list[str]:
    """The names of the guests that come along, such as ``hello``."""
    return sorted({file.stem for place in _PLACES for file in place.glob("*.bin")})


def find(name: str) -> Path:
    """The file a user means by *name*: a path, or else a guest's name such as ``hello``."""
    given = Path(name)
    if given.exists() and not given.is_dir():
        return given
    known = guests()
    if name in known:
        return path(f"{name}.bin")
    if given.is_dir():
        raise HostError(f"{name}: a folder, not a guest")
    raise HostError(
        f"{name}: no such file, and no guest of this name: there are {', '.join(known)}"
    )


def guest(source: Source, most: int) -> bytes:
    """A guest of *most* bytes at the most, by its file, its name or its contents."""
    if not isinstance(source, bytes):
        return read(find(os.fspath(source)), most)
    if len(source) > most:
        raise ConfigError(f"a guest of {len(source)} bytes, {most} at the most")
    return source


def rom(source: Source | None, most: int) -> bytes:
    """A ROM of *most* bytes at the most, by its file or its contents; None is ours."""
    if source is None:
        source = path(ROM)
    return source if isinstance(source, bytes) else read(source, most)


def read(file: str | os.PathLike[str], most: int) -> bytes:
    """The contents of *file*; HostError where it cannot be read, ConfigError for over *most* bytes."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise HostError(f"{file}: {error.strerror}") from error
    if len(data) > most:
        raise ConfigError(f"{file}: larger than {most} bytes")
    return data
