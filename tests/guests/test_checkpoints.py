"""Nobody can tell: guests saved at any moment and restored, on either engine.

Two generations deep: from each save a fresh machine runs to the next moment, is saved there, and
another one runs from that save to the moment after; output and digest at every stop must be
those of a run that was never restored.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from guest_runs import SCRIPTS, Script, Trail, walk

from emu.cpu import native

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)
ENGINES = [pytest.param("native", marks=needs_native), "reference"]

scripts = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
engines = pytest.mark.parametrize("engine", ENGINES)


@scripts
@engines
def test_two_generations_of_restores_are_invisible(script: Script, engine: str) -> None:
    moments = script.moments(script.stops, seed=1)
    straight, saves = walk(script, moments, engine)

    restored: list[Trail] = []
    for save, next_moment, last_moment in zip(saves, moments[1:], moments[2:], strict=False):
        child = save.restore()
        restored.append(child.run_to(next_moment))
        grandchild = child.save().restore()
        child.close()
        restored.append(grandchild.run_to(last_moment))
        grandchild.close()

    expected = [trail for pair in pairwise(straight[1:]) for trail in pair]
    assert restored == expected


@scripts
@engines
def test_a_save_restored_at_once_is_the_same_machine(script: Script, engine: str) -> None:
    trails, saves = walk(script, script.moments(10, seed=2), engine)

    for trail, save in zip(trails, saves, strict=True):
        child = save.restore()
        assert child.look() == trail
        assert child.save().data == save.data
        child.close()


@scripts
@engines
def test_stops_change_nothing(script: Script, engine: str) -> None:
    """The same run with stops at random clocks and with none."""
    whole = script.start(engine)
    expected = whole.run_to(script.length_ns)
    whole.close()

    stopped = script.start(engine)
    for moment in script.moments(script.stops, seed=3):
        stopped.run_to(moment)
    found = stopped.run_to(script.length_ns)
    stopped.close()

    assert found == expected


@needs_native
@scripts
def test_both_engines_are_one_machine(script: Script) -> None:
    """The same output, digest and clock at every moment; the saves are the same bytes."""
    moments = script.moments(script.stops, seed=4)
    native_trails, native_saves = walk(script, moments, "native")
    reference_trails, reference_saves = walk(script, moments, "reference")

    assert native_trails == reference_trails
    assert [save.data for save in native_saves] == [save.data for save in reference_saves]


@needs_native
@scripts
def test_a_save_of_one_engine_goes_on_with_the_other(script: Script) -> None:
    moments = script.moments(script.stops, seed=5)
    straight, saves = walk(script, moments, "native")

    for index, save in enumerate(saves[:-1]):
        other = save.restore("reference" if index % 2 else "native").save()
        child = other.restore("native" if index % 2 else "reference")
        assert child.run_to(moments[index + 1]) == straight[index + 1]
        child.close()
