"""Reads the fields of many records column by column. What follows from them is in `judging`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kasparro_pipeline.contract.columns import LEFT, Program, program
from kasparro_pipeline.contract.compiled import VERSION
from kasparro_pipeline.contract.field_spec import FieldType, VersionSpec, exact
from kasparro_pipeline.contract.mapping import (
    DOCUMENT_PREFIX,
    MAX_KEY_LENGTH,
    MISSING,
    KeyRefusedError,
    is_encodable,
    source_id,
    value_at,
)
from kasparro_pipeline.contract.record_hash import RECORD_HASH, record_hashes
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.table import Table

Texts = Sequence[str | None]
Records = Table | Sequence[object]


@dataclass(frozen=True, slots=True)
class Field:
    """How one field is read."""

    name: str
    path: str
    kind: FieldType
    program: Program
    always: bool
    """Without a value the record is judged by itself."""
    default: str | None
    """The text of the default; of a constant, for which `path` is empty."""


def field_of(contract: Contract, name: str) -> Field:
    """A field of the contract."""
    field, kind, modes = contract.fields[name], contract.type_of(name), contract.schema_contract
    largest = (None, None) if modes.explosion == "evolve" else contract.largest(name)
    run = program(name, kind, field, largest)
    given = field.default if field.value is None else field.value
    optional = modes.removed == modes.nullability == "evolve"
    return Field(
        name,
        "" if field.value is not None else contract.path_of(name),
        kind,
        run,
        name == contract.version or (field.required and not optional),
        None if given is None else run([exact(given)])[0],
    )


def version_field(contract: Contract) -> Field | None:
    """What the contract reads the version from, if there is one."""
    version = contract.version
    if isinstance(version, VersionSpec):
        run = program(VERSION, version.type, version.as_field(), (None, None))
        return Field(VERSION, version.path, version.type, run, always=True, default=None)
    return None if version is None else field_of(contract, version)


def added_field(name: str) -> Field:
    """A field that the contract does not name, whose values are there as JSON."""
    return Field(name, name, "json", lambda values: values, always=False, default=None)


class Reader:
    """Reads columns of records. Those with a value that is not plainly right are added to `left`."""

    def __init__(self, records: Records, context: Mapping[str, Any], left: set[int]) -> None:
        self._records, self._context, self._left = records, context, left
        self._objects: Sequence[dict[str, Any]] = ()
        if not isinstance(records, Table):
            strange = [index for index, record in enumerate(records) if type(record) is not dict]
            left.update(strange)
            self._objects = [record if type(record) is dict else {} for record in records]

    def texts(self, field: Field) -> Texts:
        """The checked values of a field, None for null."""
        length = len(self._records)
        if not field.path or field.path.startswith(DOCUMENT_PREFIX):
            value = self._context.get(field.path.removeprefix(DOCUMENT_PREFIX)) if field.path else None
            text = field.default if value is None else field.program([value])[0]
            if text is LEFT and (value is not None or field.always):
                self._left.update(range(length))
            return (text,) * length
        values = self._values(field.path)
        nulls = 0 if all(values) else values.count(None)  # most columns hold something in each record
        if nulls == length:
            if field.default is None and field.always:
                self._left.update(range(length))
            return (field.default,) * length
        if not nulls:
            found = field.program(values)
            if found is not values and LEFT in found:
                self._left.update(index for index, text in enumerate(found) if text is LEFT)
            return found
        empty = [index for index, value in enumerate(values) if value is None]
        given = field.program([value for value in values if value is not None])
        texts = _put_in(given, empty, field.default)
        if LEFT in given:
            self._left.update(
                index for index, text in enumerate(texts) if text is LEFT and values[index] is not None
            )
        if field.always and field.default is None:
            self._left.update(empty)
        return texts

    def keys(self, paths: tuple[str, ...]) -> Sequence[str]:
        """The source_id of each record."""
        columns = [self._plain_keys(path) for path in paths]
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

    def _plain_keys(self, path: str) -> Sequence[str] | None:
        """The records' part of a key, as it is; None if each has to be looked at."""
        if path != RECORD_HASH:
            return _plain_keys(self._values(path))
        if not isinstance(self._records, Table):
            return None
        hashes = record_hashes(self._records)
        return None if None in hashes else hashes  # type: ignore[return-value]  # no None is in it

    def _key(self, index: int, paths: tuple[str, ...]) -> str:
        try:
            return source_id(record_at(self._records, index), paths, self._context)
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


def record_at(records: Records, index: int) -> object:
    """One of the records."""
    return records.record(index) if isinstance(records, Table) else records[index]


def _put_in(given: Texts, places: Sequence[int], text: str | None) -> Texts:
    """The given ones, and a text so that it comes to stand at each of the places, which rise."""
    texts: list[str | None] = []
    start = 0
    for number, place in enumerate(places):
        texts += given[start : place - number]
        texts.append(text)
        start = place - number
    texts += given[start:]
    return texts


def _plain_keys(values: Sequence[Any]) -> Sequence[str] | None:
    """Keys that `mapping.source_id` takes as they are; None if it has to look at each."""
    try:
        joined = "".join(values)
    except TypeError:
        return list(map(str, values)) if set(map(type, values)) == {int} else None
    plain = "\x00" not in joined and (joined.isascii() or is_encodable(joined))
    return values if plain and all(map(str.strip, values)) else None


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace(":", "\\:")
