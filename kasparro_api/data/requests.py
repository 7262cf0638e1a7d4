"""From a query string to what is asked for. Knows no statement and no answer."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError

from kasparro_api.data import filters
from kasparro_api.data.columns import RECORD_COLUMNS
from kasparro_api.data.filters import Filter, FilterError, Kind
from kasparro_api.data.parameters import Parameters, RecordParameters, Selecting, named_filters
from kasparro_api.data.selection import Selection
from kasparro_api.problems import ParametersError

MAX_PARAMETERS = 1000
LONGEST_KEPT = 500
"""Bytes of a query string whose reading is remembered."""

P = TypeVar("P", bound=Parameters)


def read_query(query: bytes, model: type[P], attributes: Mapping[str, Kind]) -> tuple[P, Selection]:
    """The parameters of a query string, and the selection that they make.

    `attributes` has the declared attributes with what they compare as.

    Raises:
        ParametersError: a parameter is unknown, or has a value that is not allowed.
    """
    if len(query) <= LONGEST_KEPT:
        return _read_kept(query, model, _Attributes(attributes))  # type: ignore[return-value]
    return _read(query, model, attributes)


class _Attributes(dict[str, Kind]):
    """Declared attributes, compared by what they hold."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


@lru_cache(1024)
def _read_kept(
    query: bytes, model: type[Parameters], attributes: _Attributes
) -> tuple[Parameters, Selection]:
    return _read(query, model, attributes)


def _read(query: bytes, model: type[P], attributes: Mapping[str, Kind]) -> tuple[P, Selection]:
    named: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    errors: list[dict[str, object]] = []
    for name, value in _pairs(query):
        group = named if name in model.model_fields else others
        group.setdefault(name, []).append(value)
    found: list[Filter] = []
    for name, sent in others.items():
        known = filters.known_parameter(name, attributes) if issubclass(model, Selecting) else None
        if known is None:
            errors.append({"type": "extra_forbidden", "loc": ("query", name), "input": sent[-1]})
            continue
        try:
            found.append(filters.read_filter(*known, sent))
        except FilterError as error:
            errors.append(_wrong(name, sent[-1], str(error)))
    try:
        parameters = model.model_validate(named)
    except ValidationError as error:
        errors += [
            {**entry, "loc": ("query", *entry["loc"]), "input": _sent(entry["input"])}
            for entry in error.errors(include_url=False, include_context=False)
        ]
        raise ParametersError(errors, _known(model, attributes)) from None
    selection = Selection()
    if isinstance(parameters, Selecting):
        if parameters.sort == "-relevance" and parameters.q is None:
            errors.append(_wrong("sort", parameters.sort, "needs `q`: what should be relevant to?"))
        selection = Selection(
            filters=(*named_filters(parameters), *found),
            search=parameters.q,
            deleted=parameters.deleted,
            sort=parameters.sort,
            fields=_fields(parameters.fields, errors),
            as_of=parameters.as_of,
        )
    elif isinstance(parameters, RecordParameters):
        selection = Selection(fields=_fields(parameters.fields, errors), as_of=parameters.as_of)
    if errors:
        raise ParametersError(errors, _known(model, attributes))
    return parameters, selection


def _fields(text: str | None, errors: list[dict[str, object]]) -> tuple[str, ...]:
    """The members that `fields` names, in the table's order; unknown ones are added to `errors`."""
    if text is None:
        return RECORD_COLUMNS
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in RECORD_COLUMNS]
    if unknown or not names:
        message = f"unknown: {', '.join(unknown)}" if unknown else "names no member"
        errors.append(_wrong("fields", text, message))
    return tuple(name for name in RECORD_COLUMNS if name in names)


def _pairs(query: bytes) -> Iterable[tuple[str, str]]:
    try:
        return parse_qsl(
            query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        message = f"at most {MAX_PARAMETERS} parameters"
        raise ParametersError([_wrong("the query as a whole", "", message)], {}) from None


def _known(model: type[Parameters], attributes: Mapping[str, Kind]) -> dict[str, str]:
    """Every parameter by name, with what it allows."""
    known = {name: field.description or "" for name, field in model.model_fields.items()}
    if issubclass(model, Selecting):
        columns = [*filters.COLUMN_KINDS, *(f"attributes.{name}" for name in attributes)]
        known |= {name: "Also with a suffix: ." + ", .".join(filters.OPERATORS) for name in columns}
    return known


def _wrong(name: str, sent: object, message: str) -> dict[str, object]:
    return {"type": "value_error", "loc": ("query", name), "msg": message, "input": sent}


def _sent(value: object) -> object:
    """What was sent for a parameter that takes one value."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
