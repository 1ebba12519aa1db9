"""Which engine runs: the native one where it can, the reference one otherwise."""

from __future__ import annotations

import attrs

from emu.cpu import native, reference
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
    match choice:
        case EngineChoice.REFERENCE:
            return Chosen("reference", "asked for", reference.make)
        case EngineChoice.NATIVE if problem is not None:
            raise ConfigError(f"no native engine: {problem}")
        case EngineChoice.NATIVE:
            return Chosen("native", "asked for", native.make)
        case EngineChoice.AUTO if problem is not None:
            return Chosen("reference", f"no native engine: {problem}", reference.make)
        case EngineChoice.AUTO:
            return Chosen("native", "its self-check passes", native.make)
