"""One row: the peers take turns, and must agree on the result.

They alternate, so that whatever else the machine does meanwhile falls on all alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import End, Run, run
from benchmarks.peers import Peer
from benchmarks.results import Measured, Sample
from benchmarks.rows import ROOT, Boot, CannotRun, Row

RESULT = re.compile(rb"[0-9a-f]{8}\n")  # of a ROM of ours

Tell = Callable[[str], None]


def measure(row: Row, peers: Sequence[Peer], repeat: int, folder: Path, tell: Tell) -> Measured:
    """Run each of *peers* *repeat* times; *tell* of each run.  What goes wrong is in the result."""
    samples: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
    result = b""
    try:
        boot = row.prepare(folder)
        for turn in range(repeat):
            for peer in peers:
                done = run(peer.command(boot), ROOT, boot.until)
                tell(f"{row.name} {turn + 1}/{repeat}  {peer.name:<12} {done.cpu_s:7.2f} s")
                result = printed_by(peer, boot, done, result)
                samples[peer.name].append(Sample(done.cpu_s, done.wall_s))
    except CannotRun as reason:
        return Measured(row.name, row.what, row.rounds, problem=str(reason))
    return Measured(row.name, row.what, row.rounds, result.decode(), samples=samples)


def printed_by(peer: Peer, boot: Boot, done: Run, expected: bytes) -> bytes:
    """The result that a run has printed; CannotRun where it has none, or not that of the others."""
    match done.end:
        case End.SEEN if boot.until is not None:
            return boot.until
        case End.EXIT if boot.until is None and RESULT.fullmatch(done.output):
            if expected not in (b"", done.output):
                raise CannotRun(f"{peer.name} printed {done.output!r}, not {expected!r}")
            return done.output
        case End.LATE:
            raise CannotRun(f"{peer.name} took more than {done.wall_s:.0f} s")
        case _:
            raise CannotRun(f"{peer.name} printed {done.output[:40]!r}: {done.complaint}")
