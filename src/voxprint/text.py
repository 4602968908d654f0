"""Text for people: names that cannot steer a terminal, and aligned tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def printable(text: object) -> str:
    """Return ``text`` with control characters written out.

    Names come from people and folders: none may move the cursor, or forge a row of a table.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns under their headings, numbers to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(widths))]
    lines = []
    for line in ([*headings], ["-" * width for width in widths], *cells):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).replace("-", "", 1).isdigit()
