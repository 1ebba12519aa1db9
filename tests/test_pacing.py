"""The pacer holds a machine's time to the host's, and only ever by waiting."""

from __future__ import annotations

import pytest

from emu import attrs
from emu.tools.pacing import AHEAD_NS, BEHIND_NS, Pacer

MS = 1_000_000
S = 1_000 * MS


@attrs.define
class Host:
    """A host whose time passes as it is told, and in its sleep."""

    now_ns: int = 123_456_789
    slept_s: list[float] = attrs.field(factory=list)

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_ns += round(seconds * S)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def pacer(host: Host) -> Pacer:
    """A pacer that has looked for the first time, at a machine that has run for a second."""
    pacer = Pacer(host.clock, host.sleep)
    pacer.pace(1 * S)
    return pacer


def test_it_begins_wherever_the_machine_is(host: Host, pacer: Pacer) -> None:
    """A restored machine has years behind it, perhaps."""
    assert pacer.host_ns() == 123_456_789
    assert host.slept_s == []


def test_a_machine_that_is_ahead_is_held(host: Host, pacer: Pacer) -> None:
    """For just as long as it is ahead."""
    pacer.pace(1 * S + 8 * MS)

    assert host.slept_s == [pytest.approx(0.008)]


def test_a_little_ahead_is_let_be(host: Host, pacer: Pacer) -> None:
    """A short sleep is imprecise, and waking up is not free."""
    pacer.pace(1 * S + AHEAD_NS)

    assert host.slept_s == []


def test_a_hundred_ticks_take_a_second(host: Host, pacer: Pacer) -> None:
    """Many small steps do not drift."""
    began_ns = host.now_ns
    for step in range(1, 501):
        host.now_ns += 300_000  # what the host needs for a slice
        pacer.pace(1 * S + step * 2 * MS)

    assert host.now_ns - began_ns == pytest.approx(1 * S, abs=AHEAD_NS)
    assert max(host.slept_s) < 0.01


def test_a_little_behind_is_caught_up(host: Host, pacer: Pacer) -> None:
    """The host was busy elsewhere: the machine runs without a rest until they are even."""
    host.now_ns += 100 * MS
    pacer.pace(1 * S + 50 * MS)
    pacer.pace(1 * S + 108 * MS)

    assert host.slept_s == [pytest.approx(0.008)]


def test_far_behind_is_forgiven(host: Host, pacer: Pacer) -> None:
    """A guest that is too much for the host, or a host that was asleep: they are even from here."""
    host.now_ns += BEHIND_NS + 10 * MS
    pacer.pace(1 * S)
    pacer.pace(1 * S + 8 * MS)

    assert host.slept_s == [pytest.approx(0.008)]
