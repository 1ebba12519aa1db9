"""What tests need and may not find: programs, and guests that are fetched."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str) -> None:
    """Skip the test if *program* is not there, or fail it where guests are required."""
    if shutil.which(program) is None:
        missing(f"{program} is not installed")


def missing(reason: str) -> None:
    """Skip the test for *reason*, or fail it where guests are required."""
    if os.environ.get("EMU_REQUIRE_GUESTS") == "1":
        pytest.fail(f"{reason}, and EMU_REQUIRE_GUESTS is 1")
    pytest.skip(reason)
