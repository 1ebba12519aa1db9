"""Where the firmware is that comes with the emulator: the ROM and the guests of `firmware/`.

In a checkout that is `firmware/images`; an installed package carries a copy of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emu.errors import ConfigError, HostError

if TYPE_CHECKING:
    from pathlib import Path

ROM = "emu.rom"

_HERE = os.path.dirname(__file__)
_PLACES = (f"{_HERE}/_firmware", f"{os.path.dirname(_HERE)}/firmware/images")

Source = str | os.PathLike[str] | bytes  # a file, or what would be in it


def path(name: str) -> Path:
    """The file *name* of the firmware; HostError where there is no such thing."""
    from pathlib import Path

    return Path(_path(name))


def _path(name: str) -> str:
    for place in _PLACES:
        if os.path.isfile(f"{place}/{name}"):
            return f"{place}/{name}"
    raise HostError(f"{name}: not among the firmware of this installation")


def guests() -> list[str]:
    """The names of the guests that come along, such as ``hello``."""
    files = [file for place in _PLACES if os.path.isdir(place) for file in os.listdir(place)]
    return sorted({file.removesuffix(".bin") for file in files if file.endswith(".bin")})


def find(name: str) -> str:
    """The file a user means by *name*: a path, or else a guest's name such as ``hello``."""
    if os.path.exists(name) and not os.path.isdir(name):
        return name
    known = guests()
    if name in known:
        return _path(f"{name}.bin")
    if os.path.isdir(name):
        raise HostError(f"{name}: a folder, not a guest")
    raise HostError(
        f"{name}: no such file, and no guest of this name: there are {', '.join(known)}"
    )


def guest(source: Source, most: int) -> bytes:
    """A guest of *most* bytes at the most, by its file, its name or its contents."""
    if not isinstance(source, bytes):
        file = find(os.fspath(source))
        if not (data := read(file, most)):
            raise ConfigError(f"{file}: an empty file is no guest")
        return data
    if len(source) > most:
        raise ConfigError(f"a guest of {len(source)} bytes, {most} at the most")
    return source


def rom(source: Source | None, most: int) -> bytes:
    """A ROM of *most* bytes at the most, by its file or its contents; None is ours."""
    if source is None:
        source = _path(ROM)
    return source if isinstance(source, bytes) else read(source, most)


def read(file: str | os.PathLike[str], most: int) -> bytes:
    """The contents of *file*; HostError where it cannot be read, ConfigError for over *most* bytes."""
    try:
        with open(file, "rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise HostError(f"{file}: {error.strerror}") from error
    if len(data) > most:
        raise ConfigError(f"{file}: larger than {most} bytes")
    return data
