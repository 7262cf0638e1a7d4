"""The keys of the records of a base: which of them stand several times, and which records have some of them.

All records that are a base's count whose key could be read, also those that it repeats itself. What follows
from it for a document that is compared with the base is decided in `components.repeats`.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import LiteralString

from kasparro_pipeline.warehouse import planning
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.repeated import REJECTED, Base, of_documents
from kasparro_pipeline.warehouse.tables import SCHEMA

_AT_ONCE = 10_000

# Arrays are unpacked in the list of columns: as a function beside the table they would be kept a second time
_VALIDATED: LiteralString = (
    f"from {SCHEMA}.validated_batch where source = %(source)s and partition_key = %(partition_key)s"
)
_OF_BASE: LiteralString = f"""select raw_id, source_id from (
        select unnest(raw_id) as raw_id, unnest(document_id) as document_id, unnest(source_id) as source_id
        {_VALIDATED}
    ) own where document_id = %(document_id)s"""
_OF_PARTITION: LiteralString = f"select unnest(raw_id) as raw_id, unnest(source_id) as source_id {_VALIDATED}"


def _records(own: LiteralString) -> LiteralString:
    """SQL of the records of the base whose key could be read; `own` are those that it does not repeat."""
    return f"""
with repeated as materialized (select {of_documents("%(document_id)s")} as ids),
records as (
    {own}
    union all
    select raw_id, source_id from (
        select ids, unnest(b.raw_id) as raw_id, unnest(b.source_id) as source_id
        from repeated join {SCHEMA}.validated_batch b on b.source = %(source)s and not isempty(ids)
            and ids && int8range(b.first_raw_id, b.last_raw_id, '[]')
    ) beside where ids @> raw_id
    union all
    select raw_id, source_id from {SCHEMA}.rejected_record
    where document_id = %(document_id)s and source_id is not null
    union all
    select raw_id, source_id from {REJECTED} x where source_id is not null
)"""


_SHARED = f"""{_records(_OF_BASE)}
select min(raw_id), max(raw_id), case when count(*) > 2 then source_id end from records
group by source_id having count(*) > 1"""
_OF_KEYS = f"""{_records(_OF_BASE)}
select raw_id, source_id from records where source_id = any (%(keys)s::text[])"""
# `offset 0`: PostgreSQL would estimate of each part by itself how many have each key, a tenth of it all
_WITH_KEYS = f"""{_records(_OF_PARTITION)}
select array_agg(raw_id) from (select * from records offset 0) r where source_id = any (%(keys)s::text[])"""


@dataclass(frozen=True, slots=True)
class Groups:
    """Records that share a key: of each key the raw ids, which rise as the positions of the records do."""

    _raw_ids: "array[int]" = field(default_factory=lambda: array("q"))
    _ends: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, raw_ids: Sequence[int]) -> None:
        """Add the records of one key."""
        self._raw_ids.extend(raw_ids)
        self._ends.append(len(self._raw_ids))

    def __iter__(self) -> "Iterator[array[int]]":
        begin = 0
        for end in self._ends:
            yield self._raw_ids[begin:end]
            begin = end


def groups(connection: Connection, base: Base) -> Groups:
    """The records whose key stands in several records of the base."""
    found = Groups()
    many: list[str] = []
    with connection.transaction(), connection.cursor(name="groups", binary=True) as cursor:
        planning.group_keys(connection)
        cursor.itersize = _AT_ONCE
        for first, last, key in cursor.execute(_SHARED, _facts(base)):
            if key is None:
                found.add((first, last))
            else:
                many.append(key)
    by_key: dict[str, list[int]] = {}
    for start in range(0, len(many), _AT_ONCE):
        for raw_id, key in _of_keys(connection, base, many[start : start + _AT_ONCE]):
            by_key.setdefault(key, []).append(raw_id)
    for raw_ids in by_key.values():
        found.add(sorted(raw_ids))
    return found


def with_keys(connection: Connection, base: Base, keys: Sequence[str]) -> Sequence[int]:
    """The raw ids of the base's records that have one of the keys; and of others, which it has not.

    To leave those out would cost a fifth more.
    """
    with connection.transaction():
        planning.compare_files(connection)
        row = connection.execute(_WITH_KEYS, {**_facts(base), "keys": list(keys)}, binary=True).fetchone()
    return (row and row[0]) or ()


def _of_keys(connection: Connection, base: Base, keys: Sequence[str]) -> list[tuple[int, str]]:
    with connection.transaction():
        planning.compare_files(connection)
        return connection.execute(_OF_KEYS, {**_facts(base), "keys": list(keys)}, binary=True).fetchall()


def _facts(base: Base) -> Mapping[str, object]:
    return {"source": base.source, "partition_key": base.partition_key, "document_id": base.document_id}
