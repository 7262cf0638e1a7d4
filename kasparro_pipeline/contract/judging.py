"""Validates many records at once, column by column, with the outcome that `validation` has for each of them.

A record of which every value is plainly right is kept here. Any other one is judged by itself, by
`validation`: it may be right all the same, evolve, or be rejected with its reasons.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import compress
from typing import Any

import orjson

from kasparro_pipeline.contract.columns import LEFT, QUOTED, Program, program, rank_of, text_of
from kasparro_pipeline.contract.compiled import VERSION
from kasparro_pipeline.contract.evolution import added_attributes, unknown_leaves
from kasparro_pipeline.contract.field_spec import COLUMN_TYPES, FieldType, VersionSpec, exact
from kasparro_pipeline.contract.json_text import to_json
from kasparro_pipeline.contract.mapping import (
    DOCUMENT_PREFIX,
    MAX_KEY_LENGTH,
    MISSING,
    KeyRefusedError,
    is_encodable,
    source_id,
    value_at,
)
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.contract.validation import Rejected, Validated, compile_validator

Texts = Sequence[str | None]
Records = Table | Sequence[object]


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


@dataclass(frozen=True, slots=True)
class _Field:
    """How one field is read."""

    name: str
    path: str
    kind: FieldType
    program: Program
    always: bool
    """Without a value the record is judged by itself."""
    default: str | None
    """The text of the default; of a constant, for which `path` is empty."""


def compile_judge(contract: Contract) -> Judge:
    """Compile a contract to a function of (records of one document, the document's context)."""
    validate = compile_validator(contract)
    fields = [_field(contract, name) for name in contract.fields]
    version = _version_field(contract)
    unknown = unknown_leaves(contract)
    takes_unknown = contract.schema_contract.added == "evolve"
    hashes_of = _hasher(contract.kind)

    def judge(records: Records, context: Mapping[str, Any]) -> Judged:
        left: set[int] = set()
        apart = _unknown(records, unknown, contract, left if not takes_unknown else None)
        read = _Reader(records, context, left)
        texts = {field.name: read.texts(field) for field in fields}
        source_ids = read.keys(contract.key_paths)
        versions: Sequence[Decimal] | None = None
        if version is not None:
            found = texts[version.name] if version.name in texts else read.texts(version)
            versions = _ranks(found, rank_of(version.kind))
        columns: dict[str, Texts] = {
            name: texts.get(name, (None,) * len(records)) for name in COLUMN_TYPES if name != "tags"
        }
        tags = texts.get("tags", ("[]",) * len(records))
        columns["tags"] = [text or "[]" for text in tags]
        columns["attributes"] = _attributes(
            {field: texts[field.name] for field in fields if field.name not in COLUMN_TYPES},
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
        alone = [(index, _record(records, index)) for index in sorted(left)]
        _judge_one_by_one(judged, alone, validate, context)
        return judged

    return judge


def _field(contract: Contract, name: str) -> _Field:
    field, kind, modes = contract.fields[name], contract.type_of(name), contract.schema_contract
    largest = (None, None) if modes.explosion == "evolve" else contract.largest(name)
    run = program(name, kind, field, largest)
    given = field.default if field.value is None else field.value
    optional = modes.removed == modes.nullability == "evolve"
    return _Field(
        name,
        "" if field.value is not None else contract.path_of(name),
        kind,
        run,
        name == contract.version or (field.required and not optional),
        None if given is None else run([exact(given)])[0],
    )


def _version_field(contract: Contract) -> _Field | None:
    version = contract.version
    if isinstance(version, VersionSpec):
        run = program(VERSION, version.type, version.as_field(), (None, None))
        return _Field(VERSION, version.path, version.type, run, always=True, default=None)
    return None if version is None else _field(contract, version)


class _Reader:
    """Reads columns of records. Those with a value that is not plainly right are added to `left`."""

    def __init__(self, records: Records, context: Mapping[str, Any], left: set[int]) -> None:
        self._records, self._context, self._left = records, context, left
        self._objects: Sequence[dict[str, Any]] = ()
        if not isinstance(records, Table):
            strange = [index for index, record in enumerate(records) if type(record) is not dict]
            left.update(strange)
            self._objects = [record if type(record) is dict else {} for record in records]

    def texts(self, field: _Field) -> Texts:
        """The checked values of a field, None for null."""
        length = len(self._records)
        if not field.path or field.path.startswith(DOCUMENT_PREFIX):
            value = self._context.get(field.path.removeprefix(DOCUMENT_PREFIX)) if field.path else None
            text = field.default if value is None else field.program([value])[0]
            if text is LEFT and (value is not None or field.always):
                self._left.update(range(length))
            return (text,) * length
        values = self._values(field.path)
        nulls = values.count(None)
        if nulls == length:
            if field.default is None and field.always:
                self._left.update(range(length))
            return (field.default,) * length
        if not nulls:
            found = field.program(values)
            if LEFT in found:
                self._left.update(index for index, text in enumerate(found) if text is LEFT)
            return found
        given = field.program([value for value in values if value is not None])
        follows = iter(given)
        texts = [field.default if value is None else next(follows) for value in values]
        if LEFT in given:
            self._left.update(
                index
                for index, (value, text) in enumerate(zip(values, texts, strict=True))
                if text is LEFT and value is not None
            )
        if field.always and field.default is None:
            self._left.update(index for index, value in enumerate(values) if value is None)
        return texts

    def keys(self, paths: tuple[str, ...]) -> Sequence[str]:
        """The source_id of each record."""
        columns = [_plain_keys(self._values(path)) for path in paths]
        if any(column is None for column in columns):
            return [self._key(index, paths) for index in range(len(self._records))]
        parts = [column for column in columns if column is not None]
        if len(parts) == 1:
            keys = parts[0]
        else:
            keys = [":".join(_escaped(part) for part in row) for row in zip(*parts, strict=True)]
        if keys and max(map(len, keys)) > MAX_KEY_LENGTH:
            self._left.update(index for index, key in enumerate(keys) if len(key) > MAX_KEY_LENGTH)
        return keys

    def _key(self, index: int, paths: tuple[str, ...]) -> str:
        try:
            return source_id(_record(self._records, index), paths, self._context)
        except KeyRefusedError:
            self._left.add(index)
            return ""

    def _values(self, path: str) -> Sequence[Any]:
        """What the records have at a path; None where they have nothing."""
        if path.startswith(DOCUMENT_PREFIX):
            return (self._context.get(path.removeprefix(DOCUMENT_PREFIX)),) * len(self._records)
        if isinstance(self._records, Table):
            return self._records.columns.get(path) or (None,) * len(self._records)
        if "." not in path:
            return [record.get(path) for record in self._objects]
        found = [value_at(record, path, self._context) for record in self._objects]
        return [None if value is MISSING else value for value in found]


def _record(records: Records, index: int) -> object:
    return records.record(index) if isinstance(records, Table) else records[index]


def _plain_keys(values: Sequence[Any]) -> Sequence[str] | None:
    """Keys that `mapping.source_id` takes as they are; None if it has to look at each."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(str, values))
    if kinds != {str}:
        return None
    joined = "".join(values)
    plain = "\x00" not in joined and (joined.isascii() or is_encodable(joined))
    return values if plain and all(map(str.strip, values)) else None


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace(":", "\\:")


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


def _ranks(texts: Texts, rank: Callable[[str], Decimal]) -> Sequence[Decimal]:
    known = {text: rank(text) if text is not None else Decimal(0) for text in set(texts)}
    return [known[text] for text in texts]


def _attributes(
    fields: Mapping[_Field, Texts], apart: Mapping[int, Mapping[str, object]], length: int
) -> Texts:
    """The JSON of what is no column: the fields by name, and what was taken beside them."""
    ordered = sorted(fields.items(), key=lambda item: item[0].name)
    columns = [_as_json(field.kind, texts) for field, texts in ordered]
    form = ",".join(f'"{field.name}":%s' for field, _ in ordered)
    texts = list(map(f"{{{form}}}".__mod__, zip(*columns, strict=True))) if columns else ["{}"] * length
    for index, added in apart.items():
        own: dict[str, object] = {
            field.name: orjson.Fragment(column[index])
            for (field, _), column in zip(ordered, columns, strict=True)
        }
        texts[index] = to_json({**own, **added}).decode()
    return texts


def _as_json(kind: FieldType, texts: Texts) -> Sequence[str]:
    """Checked values as JSON."""
    if kind not in QUOTED:
        return [text or "null" for text in texts]
    return _quoted([text or "" for text in texts]) if None not in texts else list(map(_json_of, texts))


def _quoted(texts: Sequence[str]) -> Sequence[str]:
    """Texts as JSON (RFC 8259, 7), as orjson writes it: most need no more than quotes around them."""
    if not "".join(texts).isprintable():
        return list(map(_json_of, texts))
    return [_json_of(text) if '"' in text or "\\" in text else f'"{text}"' for text in texts]


def _is_plain(joined: str) -> bool:
    """Whether texts need no more than quotes around each of them."""
    return '"' not in joined and "\\" not in joined and joined.isprintable()


def _json_of(text: str | None) -> str:
    return orjson.dumps(text).decode()


def _hasher(kind: str) -> Callable[[Mapping[str, Texts], int], Sequence[bytes]]:
    """What makes the content hashes: `validation.content_hash` of each row, for many."""

    def hashes(columns: Mapping[str, Texts], length: int) -> Sequence[bytes]:
        form, filled = [], []
        for name in sorted([*columns, "kind"]):
            if name == "kind":
                form.append(f'"kind":{_json_of(kind)}')
                continue
            texts = columns[name]
            quoted = name == "attributes" or COLUMN_TYPES[name] in QUOTED
            if texts.count(texts[0]) == length:
                value = texts[0] if texts[0] is None or not quoted else _json_of(texts[0])
                form.append(f'"{name}":{value or "null"}'.replace("%", "%%"))
            elif quoted and None not in texts and _is_plain("".join(texts)):  # type: ignore[arg-type]
                form.append(f'"{name}":"%s"')
                filled.append(texts)
            else:
                form.append(f'"{name}":%s')
                filled.append(_as_json("string", texts) if quoted else [text or "null" for text in texts])
        whole = f"{{{','.join(form)}}}"
        rows = map(whole.__mod__, zip(*filled, strict=True)) if filled else [whole % ()] * length
        return [hashlib.blake2b(row.encode(), digest_size=16).digest() for row in rows]

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
