"""The BIOS as something to be called, here and on QEMU: `start` for the tests of its services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bios_calls import Bios, assemble, starter

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The boot sector that calls it."""
    return assemble(HERE / "caller.asm", tmp_path_factory.mktemp("caller"))


@pytest.fixture(scope="module", params=["auto", "qemu"])
def start(
    request: pytest.FixtureRequest, caller: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Bios]:
    """Starts a machine with the drives that it is told."""
    return starter(request.param, caller, tmp_path_factory.mktemp(request.param))
