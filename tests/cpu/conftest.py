"""What most tests of the processor begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig import DELIVERIES, Rig


@pytest.fixture(params=DELIVERIES)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A processor on the bench, of each kind."""
    rig = Rig(request.param)
    yield rig
    rig.close()
