"""Validates many records at once, column by column, with the outcome that `validation` has for each of them.

A record of which every value is plainly right is kept here. Any other one is judged by itself, by
`validation`: it may be right all the same, evolve, or be rejected with its reasons.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from itertools import chain, compress
from typing import Any

import orjson

from kasparro_pipeline.contract import joined
from kasparro_pipeline.contract.added import added_columns
from kasparro_pipeline.contract.columns import QUOTED, text_of
from kasparro_pipeline.contract.evolution import added_attributes, unknown_leaves
from kasparro_pipeline.contract.field_spec import COLUMN_TYPES, FieldType
from kasparro_pipeline.contract.json_text import to_json
from kasparro_pipeline.contract.reading import (
    Field,
    Reader,
    Records,
    Texts,
    added_field,
    field_of,
    record_at,
    version_field,
)
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.contract.validation import Rejected, Validated, comparable, compile_validator


@dataclass(slots=True)
class Judged:
    """What became of some records, told by their index: the kept ones column by column, and the others."""

    kept: Sequence[int]
    """Index of each kept record, rising; what follows is in the same order."""
    source_ids: Sequence[str]
    versions: Sequence[Decimal] | None
    """None without a version in the contract."""
    columns: dict[str, Texts]
    """The unified table's content columns but for `kind`, as text; `tags` and `attributes` as JSON."""
    hashes: Sequence[bytes]
    rejected: list[tuple[int, Rejected]]


Judge = Callable[[Records, Mapping[str, Any]], Judged]


def compile_judge(contract: Contract) -> Judge:
    """Compile a contract to a function of (records of one document, the document's context)."""
    validate = compile_validator(contract)
    fields = [field_of(contract, name) for name in contract.fields]
    version = version_field(contract)
    unknown = unknown_leaves(contract)
    takes_unknown = contract.schema_contract.added == "evolve"
    hashes_of = _hasher(contract.kind)

    def judge(records: Records, context: Mapping[str, Any]) -> Judged:
        left: set[int] = set()
        added: Mapping[str, Sequence[str]] | None = None
        if takes_unknown and not isinstance(records, Table):
            added = added_columns(records, unknown, contract.fields)
        apart: dict[int, dict[str, object]] = {}
        if added is None:
            apart = _unknown(records, unknown, contract, left if not takes_unknown else None)
        read = Reader(records, context, left)
        texts = {field.name: read.texts(field) for field in fields}
        source_ids = read.keys(contract.key_paths)
        versions: Sequence[Decimal] | None = None
        if version is not None:
            found = texts[version.name] if version.name in texts else read.texts(version)
            versions = _ranks(found, version.kind)
        columns: dict[str, Texts] = {
            name: texts.get(name, (None,) * len(records)) for name in COLUMN_TYPES if name != "tags"
        }
        tags = texts.get("tags", ("[]",) * len(records))
        columns["tags"] = tags if all(tags) else [text or "[]" for text in tags]
        columns["attributes"] = _attributes(
            {field: texts[field.name] for field in fields if field.name not in COLUMN_TYPES}
            | {added_field(name): found for name, found in (added or {}).items()},
            apart,
            len(records),
        )
        kept: Sequence[int] = range(len(records))
        if left:
            whole = [index not in left for index in kept]
            kept, source_ids = list(compress(kept, whole)), list(compress(source_ids, whole))
            versions = versions and list(compress(versions, whole))
            columns = {name: list(compress(column, whole)) for name, column in columns.items()}
        judged = Judged(kept, source_ids, versions, columns, hashes_of(columns, len(kept)), [])
        alone = [(index, record_at(records, index)) for index in sorted(left)]
        _judge_one_by_one(judged, alone, validate, context)
        return judged

    return judge


def _unknown(
    records: Records,
    unknown: Callable[[dict[str, Any]], dict[str, object]],
    contract: Contract,
    refused: set[int] | None,
) -> dict[int, dict[str, object]]:
    """What evolves of each record that has fields which the contract does not name, by index.

    With `refused`, nothing does: the records are added to it.
    """
    if isinstance(records, Table):
        names = unknown(dict.fromkeys(records.columns)).keys() if len(records) else ()
        leaves: Iterable[tuple[int, dict[str, object]]] = ()
        if names:
            columns = [records.columns[name] for name in names]
            leaves = enumerate(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    else:
        leaves = (
            (index, found)
            for index, record in enumerate(records)
            if type(record) is dict and (found := unknown(record))
        )
    if refused is not None:
        refused.update(index for index, _ in leaves)
        return {}
    return {index: added_attributes(found, contract.fields.keys()) for index, found in leaves}


_READ: dict[FieldType, Callable[[str], Decimal | datetime | date]] = {
    "timestamp": datetime.fromisoformat,
    "date": date.fromisoformat,
}


def _ranks(texts: Texts, kind: FieldType) -> Sequence[Decimal]:
    """Checked versions as numbers that compare."""
    read = _READ.get(kind, Decimal)
    known = {text: Decimal(0) if text is None else comparable(read(text)) for text in set(texts)}
    return [known[text] for text in texts]


def _attributes(
    fields: Mapping[Field, Texts], apart: Mapping[int, Mapping[str, object]], length: int
) -> Texts:
    """The JSON of what is no column: the fields by name, and what was taken beside them."""
    ordered = sorted(fields.items(), key=lambda item: item[0].name)
    columns = [_as_json(field.kind, texts) for field, texts in ordered]
    if not apart and (not columns or not length):
        return ("{}",) * length
    members = [
        (f'{"," if place else ""}"{field.name}":', column)
        for place, ((field, _), column) in enumerate(zip(ordered, columns, strict=True))
    ]
    texts = joined.rows(["{", *chain.from_iterable(members), "}"], length).split(joined.LINE)
    for index, added in apart.items():
        own: dict[str, object] = {
            field.name: orjson.Fragment(column[index])
            for (field, _), column in zip(ordered, columns, strict=True)
        }
        texts[index] = to_json({**own, **added}).decode()
    return texts


def _as_json(kind: FieldType, texts: Texts) -> Sequence[str]:
    """Checked values as JSON."""
    return joined.quoted(texts) if kind in QUOTED else [text or "null" for text in texts]


def _hasher(kind: str) -> Callable[[Mapping[str, Texts], int], Sequence[bytes]]:
    """What makes the content hashes: `validation.content_hash` of each row, for many."""
    digest_of = partial(hashlib.blake2b, digest_size=16)

    def hashes(columns: Mapping[str, Texts], length: int) -> Sequence[bytes]:
        parts: list[str | Sequence[str]] = []
        for name in sorted([*columns, "kind"]):
            before = f'{"," if parts else "{"}"{name}":'
            if name == "kind":
                parts.append(f"{before}{orjson.dumps(kind).decode()}")
                continue
            texts = columns[name]
            is_quoted = name == "attributes" or COLUMN_TYPES[name] in QUOTED
            if texts[0] == texts[-1] and texts.count(texts[0]) == length:
                value = orjson.dumps(texts[0]).decode() if is_quoted else texts[0]
                parts.append(f"{before}{value or 'null'}")
            elif is_quoted and all(texts):
                parts += [f'{before}"', joined.escaped(texts), '"']  # type: ignore[arg-type]  # no None is in it
            else:
                whole = joined.quoted(texts) if is_quoted else [text or "null" for text in texts]
                parts += [before, whole]
        rows = joined.rows([*parts, "}"], length).encode().split(joined.LINE.encode())
        return [one.digest() for one in map(digest_of, rows)]

    return lambda columns, length: hashes(columns, length) if length else []


def _judge_one_by_one(
    judged: Judged,
    records: Iterable[tuple[int, object]],
    validate: Callable[[object, Mapping[str, Any]], Validated | Rejected],
    context: Mapping[str, Any],
) -> None:
    """Add the outcomes of records that are judged by themselves."""
    kept: list[tuple[int, Validated]] = []
    for index, record in records:
        outcome = validate(record, context)
        if isinstance(outcome, Validated):
            kept.append((index, outcome))
        else:
            judged.rejected.append((index, outcome))
    if not kept:
        return
    indices = [*judged.kept, *(index for index, _ in kept)]
    order = sorted(range(len(indices)), key=indices.__getitem__)

    def merged(found: Sequence[Any], more: Iterable[Any]) -> list[Any]:
        whole = [*found, *more]
        return [whole[place] for place in order]

    judged.kept = [indices[place] for place in order]
    judged.source_ids = merged(judged.source_ids, (one.source_id for _, one in kept))
    if judged.versions is not None:
        judged.versions = merged(judged.versions, (one.version for _, one in kept))
    judged.hashes = merged(judged.hashes, (one.content_hash for _, one in kept))
    judged.columns = {
        name: merged(column, (_text(name, one.columns[name]) for _, one in kept))
        for name, column in judged.columns.items()
    }


def _text(name: str, value: object) -> str | None:
    if value is None or name == "attributes":
        return value  # type: ignore[return-value]
    return text_of(COLUMN_TYPES[name], value)
