"""What a source's requests are repeated for: values that the spec names, or the records of another source."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.rest_spec import RestRequests

_NAME = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Item:
    """What the requests are repeated for."""

    key: str
    context: Mapping[str, str]
    """What a contract may map beside the record; `{name}` in the path stands for a value of it."""

    def put_into(self, text: str, *, quoted: bool = False) -> str:
        """A text with the values in the place of their names, `quoted` for a path."""

        def value_of(name: re.Match[str]) -> str:
            if name[1] not in self.context:
                return name[0]
            value = self.context[name[1]]
            if not quoted:
                return value
            # a segment of dots alone would lead to another path (RFC 3986 5.2.4)
            return quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")

        return _NAME.sub(value_of, text)


def items_of(spec: RestRequests, request: Request) -> list[Item]:
    """The values of `for_each`, or the records of the parent; one item without a name where there is neither.

    Raises:
        PermanentUpstreamError: the parent has no records.
    """
    if spec.for_each:
        return [Item(value, {spec.for_each.param: value}) for value in spec.for_each.values]
    if spec.parent is None:
        return [Item("", {})]
    parents = request.parents(spec.parent.source, ("id", *spec.parent.include))
    if not parents:
        raise PermanentUpstreamError(
            f"the parent source `{spec.parent.source}` has no unified records: materialize it first,"
            " or correct `parent`"
        )
    return [
        Item(parent["id"], {f"parent.{name}": value for name, value in parent.items()})
        for parent in sorted(parents, key=lambda parent: parent["id"])
    ]


def as_text(value: str | float | bool) -> str:
    """A query parameter as JSON writes it: `true`, not Python's `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
