"""One row: the peers take turns, and must agree on the result.

They alternate, so that whatever else the machine does meanwhile falls on all alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import End, Run, run
from benchmarks.peers import CannotBoot, Peer
from benchmarks.results import Measured, Sample
from benchmarks.rows import ROOT, Boot, CannotRun, Row

RESULT = re.compile(rb"[0-9a-f]{8}\n")  # of a ROM of ours
END_OF_RESULT = b"\n"

Tell = Callable[[str], None]


def measure(row: Row, peers: Sequence[Peer], repeat: int, folder: Path, tell: Tell) -> Measured:
    """Run each of *peers* *repeat* times; *tell* of each run.  What goes wrong is in the result."""
    result = b""
    try:
        boot = row.prepare(folder)
        commands, left_out = prepared(boot, peers)
        samples: dict[str, list[Sample]] = {peer.name: [] for peer, _ in commands}
        for turn in range(repeat):
            for peer, command in commands:
                done = run(command, ROOT, last_of(peer, boot), since=boot.since)
                tell(f"{row.name} {turn + 1}/{repeat}  {peer.name:<12} {done.cpu_s:7.2f} s")
                result = printed_by(peer, boot, done, result)
                samples[peer.name].append(Sample(done.cpu_s, done.wall_s))
    except CannotRun as reason:
        return Measured(row.name, row.what, row.rounds, problem=str(reason))
    return Measured(
        row.name, row.what, row.rounds, result.decode(), samples=samples, left_out=left_out
    )


def prepared(
    boot: Boot, peers: Sequence[Peer]
) -> tuple[list[tuple[Peer, list[str]]], dict[str, str]]:
    """The peers that can boot so, each with its command; and why the others cannot, by their names."""
    commands = []
    left_out = {}
    for peer in peers:
        try:
            commands.append((peer, peer.command(boot)))
        except CannotBoot as reason:
            left_out[peer.name] = str(reason)
    return commands, left_out


def last_of(peer: Peer, boot: Boot) -> bytes | None:
    """The text that ends a run when it has been printed; None where the peer ends it."""
    return boot.until or (None if peer.exits else END_OF_RESULT)


def is_result(boot: Boot, done: Run) -> bool:
    """It has printed something that all must: a ROM's checksum, or what a job has found out."""
    if boot.since is not None:
        return done.end is End.SEEN
    return boot.until is None and RESULT.fullmatch(done.output) is not None


def printed_by(peer: Peer, boot: Boot, done: Run, expected: bytes) -> bytes:
    """The result that a run has printed; CannotRun where it has none, or not that of the others."""
    match done.end:
        case End.SEEN if boot.until is not None and boot.since is None:
            return boot.until
        case End.EXIT | End.SEEN if is_result(boot, done):
            if expected not in (b"", done.output):
                raise CannotRun(f"{peer.name} printed {done.output!r}, not {expected!r}")
            return done.output
        case End.LATE:
            raise CannotRun(f"{peer.name} took more than {done.wall_s:.0f} s")
        case _:
            raise CannotRun(f"{peer.name} printed {done.output[:40]!r}: {done.complaint}")
