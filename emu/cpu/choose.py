"""Which engine runs: the native one where it can, the reference one otherwise."""

from __future__ import annotations

from emu import attrs
from emu.cpu import native
from emu.cpu.engine import EngineChoice, EngineFactory
from emu.errors import ConfigError


@attrs.frozen
class Chosen:
    """An engine and why it is this one, in one line."""

    name: str
    why: str
    make: EngineFactory


def choose(choice: EngineChoice) -> Chosen:
    """The engine for *choice*; ConfigError where the native one is insisted on and not to be had."""
    problem = native.UNAVAILABLE
    asked_for = choice is not EngineChoice.AUTO
    if choice is EngineChoice.REFERENCE:
        return _reference("asked for")
    if problem is None:
        why = "asked for" if asked_for else "its self-check passes"
        return Chosen("native", why, native.make)
    if asked_for:
        raise ConfigError(f"no native engine: {problem}")
    return _reference(f"no native engine: {problem}")


def _reference(why: str) -> Chosen:
    from emu.cpu import reference

    return Chosen("reference", why, reference.make)
