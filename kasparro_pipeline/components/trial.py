"""Runs a source once without storing anything: `python -m kasparro_pipeline.components.trial SOURCE`.

Writes what a run would do as JSON. Upstreams are asked as by a first run: no checkpoint counts, no document
is known. Only a source with a parent reads the warehouse, in a transaction that cannot write.
"""

import argparse
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg

import kasparro_pipeline
from kasparro_pipeline.components import defs_folder
from kasparro_pipeline.components.component import SourceComponent
from kasparro_pipeline.components.csv_source import CsvSourceSpec
from kasparro_pipeline.components.defs_folder import DefsFileError
from kasparro_pipeline.components.feed_source import FeedSourceSpec
from kasparro_pipeline.components.parents import parents
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.rest_source import RestSourceSpec
from kasparro_pipeline.components.settings import PipelineSettings, secrets
from kasparro_pipeline.contract.json_text import to_json
from kasparro_pipeline.contract.validation import (
    Outcome,
    Reason,
    Rejected,
    Validated,
    compile_validator,
    winners,
)
from kasparro_pipeline.extract import feeds, opml, records
from kasparro_pipeline.extract.auth import credentials
from kasparro_pipeline.extract.csv_files import CsvExtraction
from kasparro_pipeline.extract.csv_places import place_of
from kasparro_pipeline.extract.documents import Batch, Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, UpstreamError
from kasparro_pipeline.extract.feed_spec import named
from kasparro_pipeline.extract.feeds import Question
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.unreadable import UnreadableRecordError
from kasparro_pipeline.warehouse.errors import WarehouseError

DEFS = Path(kasparro_pipeline.__file__).parent / "defs"
SANDBOX = "It has a stand-in in the sandbox, which runs with `make up`; KASPARRO_UPSTREAM=live asks the API."
ATTEMPTS = 2
"""Tries of a request: somebody waits."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A record and what would become of it."""

    location: str
    position: int
    outcome: Outcome


@dataclass(slots=True)
class Trial:
    """What a run would do."""

    documents: int = 0
    judged: list[_Judged] = field(default_factory=list)
    has_more: bool = False
    """Whether the bound was reached before the end of the extraction."""

    def as_json(self, source: str, component: SourceComponent) -> dict[str, Any]:
        """All of it, for people and programs."""
        kept = [one for one in self.judged if isinstance(one.outcome, Validated)]
        best = winners(
            (place, (one.location, one.outcome.source_id), one.outcome.version)
            for place, one in enumerate(kept)
            if isinstance(one.outcome, Validated)
        )
        rejected = [_rejection(one, one.outcome) for one in self.judged if isinstance(one.outcome, Rejected)]
        return {
            "source": source,
            "type": type(component).__name__,
            "counts": {
                "documents": self.documents,
                "read": len(self.judged),
                "validated": len(best),
                "rejected": len(rejected),
                "superseded": len(kept) - len(best),
            },
            "has_more": self.has_more,
            "records": [_record(one.outcome) for one in kept if isinstance(one.outcome, Validated)],
            "rejected": rejected,
        }


def run(component: SourceComponent, most: int) -> Trial:
    """Extract and validate at most so many records.

    Raises:
        UpstreamError: the upstream does not give what it should.
        WarehouseError, psycopg.Error: the source has a parent, whose records cannot be read.
    """
    trial = Trial()
    validate = compile_validator(component.spec.contract())
    with closing(_batches(component)) as batches:
        for batch in batches:
            if batch.document is None:
                continue
            left = most - len(trial.judged)
            if left <= 0:
                trial.has_more = trial.has_more or bool(batch.records)
                break
            trial.documents += 1
            document = batch.document
            for record in batch.records[:left]:
                outcome = _outcome(record.payload, document.layout, document.context, validate)
                trial.judged.append(_Judged(document.location, record.position, outcome))
            trial.has_more = len(batch.records) > left or (len(batch.records) == left and not batch.done)
            if trial.has_more:
                break
    return trial


def _outcome(payload: bytes, layout: Any, context: Any, validate: Any) -> Outcome:  # noqa: ANN401 - as a batch has them
    """As in a run: the stored payload is read again, then validated."""
    try:
        value = records.read(payload, layout)
    except UnreadableRecordError as error:
        return Rejected(None, (Reason("record", error.rule, None, str(error)),))
    found: Outcome = validate(value, context)
    return found


def _batches(component: SourceComponent) -> Generator[Batch]:
    spec, settings = component.spec, PipelineSettings()
    request = Request(datetime.now(UTC).date(), parents=_parents)
    if isinstance(spec, CsvSourceSpec):
        place = place_of(spec, secrets())
        for file in reversed(place.listing(lambda _: None)):
            yield from CsvExtraction(spec, place, file.name, request)
    elif isinstance(spec, FeedSourceSpec):
        with Client(_http(spec.http, spec.sandbox)) as client:
            yield from _feeds(spec, settings.base_url(spec.url, spec.sandbox) if spec.url else None, client)
    elif isinstance(spec, RestSourceSpec):
        proof = credentials(spec.auth, secrets())
        with Client(_http(spec.http, spec.sandbox), proof, spec.error_rules) as client:
            base_url = settings.base_url(spec.base_url, spec.sandbox)
            yield from RestExtraction(spec, base_url, request, client)
    else:
        raise DefsFileError(f"a {type(component).__name__} cannot be tried")


def _feeds(spec: FeedSourceSpec, url: str | None, client: Client) -> Iterator[Batch]:
    """The feeds one after the other. One that fails is said; it stops no other, unless none works."""
    listed = opml.subscriptions(_opml(spec.opml, client), spec.opml) if spec.opml is not None else []
    questions = [Question(one, one.url) for one in named(spec, url, listed)]
    failed: list[UpstreamError] = []
    for answer in feeds.ask(questions, lambda _: None, client):
        try:
            yield feeds.batch(answer, lenient=spec.not_well_formed == "read")[0]
        except UpstreamError as error:
            failed.append(error)
            if len(failed) == len(questions):
                raise
            print(error, file=sys.stderr)


def _opml(address: str, client: Client) -> bytes:
    if address.lower().startswith(opml.WEB):
        return client.fetch(address).body or b""
    try:
        return Path(address).read_bytes()
    except OSError as error:
        raise PermanentUpstreamError(f"the OPML cannot be read: {error.strerror}", address) from error


def _http(http: HttpSettings, sandbox: str | None) -> HttpSettings:
    """As patient as a person, and one page after the other: none is asked for in vain."""
    patience = {"attempts": min(http.attempts, ATTEMPTS), "concurrency": 1}
    return http.allowing(PipelineSettings().private_hosts(sandbox)).model_copy(update=patience)


def _parents(source: str, names: Sequence[str]) -> Sequence[dict[str, str]]:
    with Warehouse().connect() as connection:
        connection.read_only = True
        with connection.transaction():
            return parents(connection, source, names)


def _record(outcome: Validated) -> dict[str, Any]:
    columns = {name: value for name, value in outcome.columns.items() if name != "attributes"}
    attributes = outcome.columns.get("attributes")
    whole = orjson.Fragment(attributes) if attributes else {}
    return {"source_id": outcome.source_id, **columns, "attributes": whole}


def _rejection(one: _Judged, outcome: Rejected) -> dict[str, Any]:
    return {
        "document": one.location,
        "position": one.position,
        "source_id": outcome.source_id,
        "reasons": [asdict(reason) for reason in outcome.reasons],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the trial of a source as JSON; a refusal is a sentence on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--records", type=int, default=100)
    parser.add_argument("--defs", type=Path, default=DEFS)
    chosen = parser.parse_args(arguments)
    spec: Any = None
    try:
        component = defs_folder.component(chosen.defs, chosen.source)
        spec = component.spec
        found = run(component, chosen.records).as_json(chosen.source, component)
    except (DefsFileError, UpstreamError, WarehouseError, psycopg.Error) as error:
        print(f"{chosen.source}: {error}", file=sys.stderr)
        if getattr(spec, "sandbox", None) and PipelineSettings().upstream == "sandbox":
            print(SANDBOX, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(to_json(found) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
