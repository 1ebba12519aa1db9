"""Saves, looked at without a machine: inspect, verify, diff.

What each section means is declared by the chips; here their declarations are put together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from emu import inputs, nameplate, qemu, timebase
from emu.cpu import state as cpu_state
from emu.errors import HostError, StreamError
from emu.hw import (
    cable,
    fpu_error,
    fw_cfg,
    i8042,
    i8254,
    i8259,
    loader,
    mc146818,
    ns16550a,
    port61,
    port92,
    ps2_keyboard,
    ps2_mouse,
    reset_control,
    typist,
)
from emu.savevm import inspect as save_inspect
from emu.savevm.compare import Comparison, compare
from emu.savevm.contents import Contents, reading, schemas_of
from emu.savevm.inspect import Report
from emu.savevm.stream import Progress
from emu.tools import progress as progress_line

SCHEMAS = schemas_of(
    [
        nameplate.SAVED,
        timebase.SAVED,
        cpu_state.SAVED,
        i8259.SAVED,
        i8254.SAVED,
        port61.SAVED,
        mc146818.SAVED,
        i8042.SAVED,
        ps2_keyboard.SAVED,
        ps2_mouse.SAVED,
        typist.SAVED,
        port92.SAVED,
        fpu_error.SAVED,
        ns16550a.SAVED,
        cable.SAVED,
        fw_cfg.SAVED,
        fw_cfg.SAVED_CONTENTS,
        reset_control.SAVED,
        loader.SAVED,
        inputs.SAVED,
    ]
)


def inspect(path: str) -> Report:
    """What is in the save at *path*, wrong checksums reported; StreamError where it cannot be read."""
    with _open(path) as file, _shown("inspecting", path, file) as progress:
        return save_inspect.inspect(file, SCHEMAS, qemu.FOREIGN, progress=progress)


def verify(path: str) -> str:
    """The digest of the save at *path*, everything checked; StreamError where anything is wrong."""
    with _open(path) as file, _shown("verifying", path, file) as progress:
        return save_inspect.verify(file, SCHEMAS, qemu.FOREIGN, progress=progress)


@contextmanager
def diff(a: str, b: str, *, wire: bool = False) -> Iterator[Comparison]:
    """How two saves differ; *wire*: in what is in the streams, not in the machines."""
    with (
        _open(a) as file_a,
        _open(b) as file_b,
        _reading(a, file_a) as left,
        _reading(b, file_b) as right,
    ):
        yield compare(left, right, wire=wire)


@contextmanager
def _reading(path: str, file: BinaryIO) -> Iterator[Contents]:
    """The save in *file*; errors say that it is the one at *path*."""
    with ExitStack() as stack:
        try:
            with _shown("comparing", path, file) as progress:
                contents = stack.enter_context(
                    reading(file, SCHEMAS, qemu.FOREIGN, progress=progress)
                )
        except StreamError as error:
            raise StreamError(f"{path}: {error}") from error
        yield contents


def _shown(doing: str, path: str, file: BinaryIO) -> AbstractContextManager[Progress]:
    """Shows how much of *file* has been read; of a pipe nobody knows how much that will be."""
    return progress_line.shown(f"{doing} {path}", os.fstat(file.fileno()).st_size or None)


def _open(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
