r"""What was found, and the file it is kept in, so that runs compare over time.

The file is JSON:

    {"date": "2026-01-31T12:00:00+00:00", "machine": "...",
     "versions": {"emu": "...", "qemu-tcg": "..."},
     "rows": [{"name": "sieve", "what": "...", "rounds": 100, "result": "be2da9e7\n",
               "problem": "", "samples": {"emu": [{"cpu_s": 1.52, "wall_s": 1.6}], ...},
               "left_out": {"bochs": "..."}}]}
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emu import attrs


class UnreadableResults(Exception):  # noqa: N818 - what a file is, not what went wrong
    """A file that is no results of ours."""


@attrs.frozen
class Sample:
    """One run of one peer."""

    cpu_s: float
    wall_s: float


@attrs.frozen
class Measured:
    """One row: what each peer took for it, or why there is no telling."""

    name: str
    what: str
    rounds: int
    result: str = ""  # what they all printed
    problem: str = ""
    samples: Mapping[str, Sequence[Sample]] = attrs.field(factory=dict)  # by peer
    left_out: Mapping[str, str] = attrs.field(factory=dict)  # why, by peer

    def median_s(self, peer: str) -> float | None:
        """The median of its CPU seconds; None where it has none."""
        samples = self.samples.get(peer)
        return statistics.median(each.cpu_s for each in samples) if samples else None


@attrs.frozen
class Results:
    """One run of the benchmarks."""

    date: str
    machine: str
    versions: Mapping[str, str]  # by peer
    rows: Sequence[Measured]

    @classmethod
    def here(cls, versions: Mapping[str, str], rows: Sequence[Measured]) -> Results:
        """Of *rows* that have just been measured on this machine."""
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), machine(), versions, rows)

    def row(self, name: str) -> Measured | None:
        return next((row for row in self.rows if row.name == name), None)

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Raises UnreadableResults."""
        try:
            return _results(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadableResults(
                f"not the results of a run of these benchmarks: {error}"
            ) from error


def _results(value: dict[str, Any]) -> Results:
    return Results(**{**value, "rows": [_measured(row) for row in value["rows"]]})


def _measured(value: dict[str, Any]) -> Measured:
    samples = {peer: [Sample(**each) for each in found] for peer, found in value["samples"].items()}
    return Measured(**{**value, "samples": samples})


def machine() -> str:
    """The processor, how many of it, and the system."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.platform()}"


def _processor() -> str:
    """Its name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
