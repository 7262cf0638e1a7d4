"""Records that are nested in the items of a list: each entry of an inner list becomes a record of its own.

The payload of such a record is the entry's own text, to the byte. With fields of the outer item, it is an
object of these and the entry: what is put around them is new, what is in it is as received.
"""

from collections.abc import Sequence

from pydantic import Field

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract import json_records
from kasparro_pipeline.extract.documents import RawRecord


class Explode(StrictModel):
    """Makes records of the entries of a list that each item holds."""

    path: str = Field(min_length=1)
    """Path of the inner list: keys joined by dots."""
    include: tuple[str, ...] = ()
    """Paths in the outer item that its records carry. A record is then `{"outer": {…}, "item": {…}}`, and the
    contract reads `outer.id` and `item.price`. Default: a record is the entry alone."""


def exploded(spec: Explode, items: Sequence[RawRecord], encoding: str) -> list[RawRecord]:
    """The records that are nested in the items.

    An item without the list has no records. One that has something else there stays a record as it is, for
    validation to say what is wrong with it.
    """
    found: list[RawRecord] = []
    for item in items:
        text = item.payload.decode(encoding)
        span = json_records.span(text, spec.path)
        if span is None or text[slice(*span)] == "null":
            continue
        if text[span[0]] != "[":
            found.append(RawRecord(len(found), item.payload, item.value))
            continue
        outer = _outer(spec, text)
        for begin, end, value in json_records.entries(text, span[0]):
            entry = text[begin:end]
            if outer is None:
                found.append(RawRecord(len(found), entry.encode(encoding), value))
            else:
                payload = f'{{"outer":{outer},"item":{entry}}}'.encode(encoding)
                layout = {"encoding": encoding}
                found.append(RawRecord(len(found), payload, json_records.read(payload, layout)))
    return found


def _outer(spec: Explode, text: str) -> str | None:
    """The outer fields as JSON: a path with dots becomes nested objects again."""
    if not spec.include:
        return None
    tree: dict[str, object] = {}
    for path in spec.include:
        span = json_records.span(text, path)
        if span is None:
            continue
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            inner = node.setdefault(parent, {})
            node = inner if isinstance(inner, dict) else {}
        node[name] = text[slice(*span)]
    return _written(tree)


def _written(tree: dict[str, object]) -> str:
    members = (
        f"{json_records.quoted(name)}:{_written(value) if isinstance(value, dict) else value}"
        for name, value in tree.items()
    )
    return "{" + ",".join(members) + "}"
