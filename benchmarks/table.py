"""The table: a row a guest, CPU seconds and how ours compare with each peer's.

It is Markdown that reads well as it stands.  A ratio is ours divided by theirs: below 1, we are
faster.
"""

from __future__ import annotations

from benchmarks.results import Measured, Results

OURS = "emu"
NONE = "-"


def render(results: Results, earlier: Results | None = None) -> str:
    """The table of *results*; with *earlier*, what ours took then, and now divided by then."""
    peers = list(results.versions)
    head = ["", *_pairs(peers), *([f"{OURS} then", "ratio"] if earlier else [])]
    body = [_cells(row, peers, earlier) for row in results.rows]
    lines = _aligned([head, *body])
    notes = [note for row in results.rows for note in _notes(row)]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _notes(row: Measured) -> list[str]:
    """Why there are gaps."""
    left_out = [f"{row.name}: {peer} has {lack}" for peer, lack in row.left_out.items()]
    return [f"{row.name}: {row.problem}"] if row.problem else left_out


def _pairs(peers: list[str]) -> list[str]:
    return [name for peer in peers for name in ([peer] if peer == OURS else [peer, "ratio"])]


def _cells(row: Measured, peers: list[str], earlier: Results | None) -> list[str]:
    ours_s = row.median_s(OURS)
    cells = [row.what]
    for peer in peers:
        theirs_s = row.median_s(peer)
        cells.append(_seconds(theirs_s))
        if peer != OURS:
            cells.append(_ratio(ours_s, theirs_s))
    if earlier:
        before = earlier.row(row.name)
        same_work = before is not None and before.rounds == row.rounds
        then_s = before.median_s(OURS) if before is not None and same_work else None
        cells += [_seconds(then_s), _ratio(ours_s, then_s)]
    return cells


def _seconds(value_s: float | None) -> str:
    return NONE if value_s is None else f"{value_s:.2f} s"


def _ratio(ours_s: float | None, theirs_s: float | None) -> str:
    return NONE if ours_s is None or not theirs_s else f"{ours_s / theirs_s:.2f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Text to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    text, *figures = widths
    rule = [["-" * text, *("-" * (width - 1) + ":" for width in figures)]]
    return [
        "| " + " | ".join([cell.ljust(text), *map(str.rjust, cells, figures)]) + " |"
        for cell, *cells in [rows[0], *rule, *rows[1:]]
    ]
