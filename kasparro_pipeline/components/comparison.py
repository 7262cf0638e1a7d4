"""Begins the comparison of a document with the one before it, if there is one that it may repeat.

What repeats what is told in `repeats`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial

from kasparro_pipeline.components.ahead import ahead
from kasparro_pipeline.components.matching import Matching
from kasparro_pipeline.components.repeats import Asked, Repeats
from kasparro_pipeline.contract.keys import Keys, keys_by_record
from kasparro_pipeline.contract.profile_change import can_change
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.extract import csv_lines
from kasparro_pipeline.extract.documents import Batch, payloads_of
from kasparro_pipeline.warehouse import base_keys, document_reader, repeated
from kasparro_pipeline.warehouse.ledger import Connection, Hold

ENOUGH = 0.5
"""Share of a document's first batch that has to repeat the base; with less, little is gained."""
WINDOW = 40_000
"""Records of the base around the place of the last match that the next ones are looked for among."""
WINDOW_BYTES = 16 * 1024 * 1024
"""Their bytes, roughly, where records are large."""
READ_AHEAD = 3
"""Ten thousand records of the base each, that are read while the document is cut."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How documents of a source are compared. `another` opens a connection that reads the base meanwhile."""

    contract: Contract
    keys: Keys
    another: Callable[[], AbstractContextManager[Connection]]

    @contextmanager
    def begun(self, connection: Connection, hold: Hold, first: Batch) -> Iterator[Repeats | None]:
        """What compares the document of this first batch; None if it repeats no base, or too little of it."""
        document = first.document
        is_candidate = document is not None and document.layout["format"] == "csv"
        if document is None or not is_candidate:
            yield None
            return
        base = repeated.base_of(connection, hold, self.contract.digest(), document.byte_count)
        if base is None or base.layout != document.layout or not can_change(base.profile):
            yield None
            return
        of_lines = csv_lines.is_bytewise(base.layout["encoding"])
        with ExitStack() as stack:
            reader, connection = (stack.enter_context(self.another()) for _ in range(2))
            read = document_reader.fetch(reader, base.document_id, record_bytes=base.record_bytes)
            fetched = stack.enter_context(closing(ahead(stack.enter_context(closing(read)), most=READ_AHEAD)))
            stored = (some.cut(connection, of_lines=of_lines) for some in fetched)
            matching = Matching(stored, min(WINDOW, WINDOW_BYTES // base.record_bytes))
            unknown = matching.unknown(payloads_of(first.records))
            if len(unknown) > len(first.records) * (1 - ENOUGH):
                stack.close()
                yield None
            else:
                asked = Asked(
                    partial(base_keys.groups, connection, base),
                    partial(base_keys.with_keys, connection, base),
                    partial(document_reader.payloads, connection, of_lines=of_lines),
                )
                yield Repeats(base, matching, self.keys, asked)


def comparison_of(
    contract: Contract, another: Callable[[], AbstractContextManager[Connection]]
) -> Comparison | None:
    """How documents under the contract are compared; None if outcomes depend on more than the records."""
    keys = keys_by_record(contract)
    return None if keys is None else Comparison(contract, keys, another)
