"""Columns of text on standard output. Knows nothing of what is in them."""

from collections.abc import Sequence

import click

from assetd.cli.output import one_line

GAP = "  "


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows, a line each, in columns as wide as they need; nothing where there are none.

    Titles stand out on a terminal. Tens of thousands of rows take a moment, not seconds: that is
    why rich does not lay them out.
    """
    if not rows:
        return
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*cells, titles or cells[0], strict=True)]
    if titles:
        click.secho(_line(titles, widths), bold=True)
    click.echo("\n".join(_line(row, widths) for row in cells))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (wide - _width(cell)) for cell, wide in zip(row, widths, strict=True)]
    return GAP.join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many columns of a terminal the text takes: some letters take two."""
    from rich.cells import cell_len

    return cell_len(text)
