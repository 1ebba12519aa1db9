"""A save on disk: whole, or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from emu.errors import HostError
from emu.savevm.stream import Progress, Stream, open_file, untold

PREFIX_MOST = 16  # characters of the name that are in the temporary one, which must not be too long


def save_file(
    path: str | os.PathLike[str],
    write: Callable[[Stream], None],
    progress: Progress = untold,
) -> None:
    """Let *write* write the file at *path*.

    It writes to a temporary file beside it, which takes the name when it is complete and on the
    disk.  Where anything fails nothing is left behind, and a file that was there is as it was.
    Raises HostError where the host refuses.
    """
    place = Path(path)
    try:
        fd, name = tempfile.mkstemp(prefix=f".{place.name[:PREFIX_MOST]}.", dir=place.parent)
    except OSError as error:
        raise HostError(f"{place}: {error.strerror}") from error
    beside = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            f = open_file(file, writing=True, name=str(place), progress=progress)
            write(f)
            f.fflush()
            file.flush()
            os.fsync(fd)
            os.fchmod(fd, 0o666 & ~_umask())
        beside.replace(place)
        _sync_folder(place.parent)
    except OSError as error:
        raise HostError(f"{place}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):  # it has its final name
            beside.unlink()


def _umask() -> int:
    """The permissions that new files of this process lack; mkstemp gives fewer."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
