"""The text of a `defs.yaml` with comments. Knows no kind of source; what is said is the kinds' business."""

import yaml

from kasparro_pipeline.scaffold.contract import Inferred

WIDEST = 10_000
WIDTH = 106
"""Characters of a comment's line."""


def flow(value: object) -> str:
    """A value as it is written on one line; Dagster reads YAML 1.1, so `no` and `1:30` get quotes."""
    text: str = yaml.safe_dump(
        [value], default_flow_style=True, sort_keys=False, width=WIDEST, allow_unicode=True
    )
    return text.strip()[1:-1]


class DefsText:
    """A `defs.yaml` that grows line by line."""

    def __init__(self, head: str, type_name: str) -> None:
        self._lines: list[str] = []
        self.comment(head, indent=0)
        self._lines += [f"type: {type_name}", "", "attributes:"]

    def comment(self, text: str, indent: int = 2) -> None:
        """A comment of as many lines as it needs."""
        margin = " " * indent
        for paragraph in map(_printable, text.split("\n")):
            line = f"{margin}#"
            for word in paragraph.split(" "):
                if len(line) + 1 + len(word) > WIDTH and line != f"{margin}#":
                    self._lines.append(line)
                    line = f"{margin}#"
                line += f" {word}"
            self._lines.append(line)

    def key(self, name: str, value: object, note: str = "") -> None:
        """A key of `attributes`."""
        self._lines.append(_noted(f"  {name}: {flow(value)}", note))

    def off(self, name: str, value: object, note: str = "") -> None:
        """A key that may be set, commented out."""
        self._lines.append(_noted(f"  # {name}: {flow(value)}", note))

    def gap(self) -> None:
        """An empty line."""
        self._lines.append("")

    def contract(self, inferred: Inferred) -> None:
        """The contract's fields, what is ignored, and what else may be said of a source."""
        self.comment(
            "The contract: docs/contracts.md. A field may also have required, default, transforms, minimum, …"
        )
        self._lines.append("  fields:")
        for name, spec in inferred.fields.items():
            self._lines.append(_noted(f"    {flow(name)}: {flow(spec)}", inferred.seen.get(name, "")))
        if inferred.ignore:
            self.comment("Not taken up: without a value in the whole sample, or with none that can be kept.")
            self.key("ignore", inferred.ignore)
        for left in inferred.left:
            self.comment(left)
        if inferred.rejected:
            self.comment(
                f"{inferred.rejected} records of the sample are rejected even so: `kasparro source try`."
            )
        self.gap()
        self.off("description", "What the source is, for the people who find it in Dagster.")
        self.off("owners", ["team:data"])
        self.off("fresh_within", "P1D", "stale if nothing landed for this long")
        self.off("schema_contract", {"added": "evolve", "retyped": "quarantine_row"}, "what drift does")

    def text(self) -> str:
        """All of it."""
        return "\n".join([*self._lines, ""])


def _noted(line: str, note: str) -> str:
    # a comment ends with its line, whatever the sample held
    return f"{line}  # {_printable(note)}" if note else line


def _printable(text: str) -> str:
    """A text that a comment can hold: YAML refuses control characters there too."""
    shown = (one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return "".join(shown)


def begun(name: str, made_from: str, type_name: str) -> DefsText:
    """The beginning of each of them."""
    return DefsText(
        f"Made from {made_from}. Every line may be changed: docs/sources.md.\n"
        f"What a run would do, without writing anything: kasparro source try {name}",
        type_name,
    )
