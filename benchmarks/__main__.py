"""``python -m benchmarks``: measure, print the table, keep the samples.

Exit status: 0 done, 1 a row could not be measured, 2 bad usage.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks import contest, peers, table
from benchmarks.results import Results, UnreadableResults
from benchmarks.rows import ROWS

DONE, FAILED, BAD_USAGE = 0, 1, 2
REPEAT = 5

Each = TypeVar("Each")


class BadUsage(Exception):  # noqa: N818 - argparse's word for it
    """What was asked for cannot be; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns the exit status."""
    options = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            earlier = read(options.compare) if options.compare is not None else None
            rows = chosen({row.name: row for row in ROWS}, options.rows, "row")
            here = peers.find(Path(folder) / "installed")
            taking_part = chosen({peer.name: peer for peer in here}, options.peers, "peer")
        except BadUsage as error:
            sys.stderr.write(f"benchmarks: {error}\n")
            return BAD_USAGE
        measured = [
            contest.measure(row, taking_part, options.repeat, Path(folder), tell) for row in rows
        ]
    results = Results.here({peer.name: peer.version for peer in taking_part}, measured)
    sys.stdout.write(table.render(results, earlier))
    if options.output is not None:
        options.output.write_text(results.to_json(), encoding="utf-8")
    return FAILED if any(row.problem for row in measured) else DONE


def parser() -> argparse.ArgumentParser:
    """What may be said on the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="CPU seconds of this emulator and of the others that are installed here:\n"
        "the median of runs that alternate, and ours divided by theirs.",
        epilog=f"{peers.INSTALL}\n{textwrap.fill('Rows: ' + ', '.join(row.name for row in ROWS))}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--rows", metavar="A,B", help="only these")
    made.add_argument("--peers", metavar="A,B", help="only these, such as emu,qemu-tcg")
    made.add_argument("--repeat", type=count, default=REPEAT, metavar="N", help="runs of each (5)")
    made.add_argument("--output", type=Path, metavar="FILE", help="keep every sample, as JSON")
    made.add_argument(
        "--compare", type=Path, metavar="FILE", help="an --output of earlier: what ours took then"
    )
    return made


def count(text: str) -> int:
    """A number of at least 1; ValueError where it is none."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def chosen(known: dict[str, Each], wanted: str | None, kind: str) -> list[Each]:
    """Those that *wanted* names, or else all; BadUsage for a name that is not known."""
    if wanted is None:
        return list(known.values())
    names = wanted.split(",")
    for name in names:
        if name not in known:
            raise BadUsage(f"no {kind} {name!r}: there are {', '.join(known)}")
    return [known[name] for name in names]


def read(file: Path) -> Results:
    """The results in *file*; BadUsage where there are none."""
    try:
        return Results.from_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, UnreadableResults) as error:
        raise BadUsage(f"{file}: {error}") from error


def tell(line: str) -> None:
    """Progress, beside the table."""
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
