"""How the command line writes: plain lines and aligned tables. What it says is decided elsewhere."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

RIGHT = ">"


def say(text: str = "") -> None:
    """Write a line at once. A terminal that is gone does not keep the stack from stopping in order."""
    with suppress(OSError):
        print(text, flush=True)


def table(rows: Iterable[Sequence[object]], header: Sequence[str], right: Iterable[str] = ()) -> str:
    """Rows under a header, in columns as wide as they need; those named in `right` are set to the right."""
    lines = [list(header), *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    signs = [RIGHT if name in set(right) else "<" for name in header]
    return "\n".join(
        "  ".join(
            f"{cell:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True)
        ).rstrip()
        for line in lines
    )
