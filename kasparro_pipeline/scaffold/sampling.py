"""Asking an upstream for a sample: patience for a person who waits, and errors that say what to do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kasparro_pipeline.extract.errors import UpstreamError
from kasparro_pipeline.extract.http import HttpSettings
from kasparro_pipeline.scaffold.errors import ScaffoldError
from kasparro_pipeline.scaffold.keys import Key, find_key, measure

PATIENCE = HttpSettings(
    attempts=2, backoff=0.5, max_wait=5, connect_timeout=10, read_timeout=20, total_timeout=60, concurrency=1
)
INSTEAD = "With `sample` set to false, a skeleton is written without asking."


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Tell what goes wrong while an upstream is asked, and what to do.

    Raises:
        ScaffoldError: the upstream did not give what it should.
    """
    try:
        yield
    except UpstreamError as error:
        hint = f"Correct {what}, or try again when the upstream answers."
        if "allow_private_hosts" in error.message:
            hint = 'In the params that is `"allow_private_hosts": ["…"]`; it is written into the source.'
        raise ScaffoldError(f"There is no sample to make a source from: {error}. {hint} {INSTEAD}") from error


def key_of(given: tuple[str, ...], records: Sequence[object], kind: str, where: str) -> Key:
    """The key that was given, or found in the records.

    Raises:
        ScaffoldError: the given one is not in each record, or there is none.
    """
    if given:
        key = measure(records, given)
        if key is None:
            raise ScaffoldError(
                f"The key `{', '.join(given)}` is missing in a record of {where}, or is no text or integer"
                " there. Correct `key`, or leave it out to have one found."
            )
        return key
    found = find_key(records, kind)
    if found is None:
        raise ScaffoldError(
            f"No field of the {len(records)} records of {where}, nor two of them together, are unique and"
            f" never empty. Name what tells the records apart in `key`, as many paths as it takes. {INSTEAD}"
        )
    return found


def seen_of(key: Key) -> str:
    """What was seen of a key, for people."""
    return f"{' and '.join(key.paths)}: {key.distinct} of {key.records} values differ"
