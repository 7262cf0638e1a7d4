"""What answers mean beside their status: rules of a source on status, header or body.

An API may say with status 200 that something failed, or with 404 that there is nothing today. A rule tells
what to do about it; where none fits, the status decides.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import orjson
from pydantic import Field, field_validator, model_validator

from kasparro_pipeline.contract.mapping import MISSING
from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.body_path import value_in

Action = Literal["retry", "rate_limited", "fail", "ignore"]


class ErrorRule(StrictModel):
    """What to do about some answers. All that a rule names has to fit; the first rule that fits decides."""

    status: tuple[int, ...] = ()
    """Statuses that it is about. Default: all."""
    header: str | None = None
    """Header that has to be there."""
    path: str | None = None
    """Path in the body (`status`, `errors[0].code`) that has to be there with a value other than null."""
    matches: str | None = None
    """A regular expression for the value of `header` or `path`, to be found somewhere in it."""
    action: Action
    """`retry`: ask again later. `rate_limited`: the same, and let all requests to the host rest meanwhile.
    `fail`: the run fails for good. `ignore`: take it as an answer without records."""
    wait_header: str = "Retry-After"
    """Header that says how long to wait: seconds, a date, or Unix seconds (`X-RateLimit-Reset`)."""
    message: str | None = Field(default=None, min_length=1)
    """What to say instead of the answer's own words."""

    @field_validator("matches")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"`{pattern}` is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _is_about_something(self) -> "ErrorRule":
        if not self.status and self.header is None and self.path is None:
            raise ValueError("a rule needs a `status`, a `header` or a `path`")
        if self.header is not None and self.path is not None:
            raise ValueError("a rule is about a `header` or about a `path`; write two rules")
        if self.matches is not None and self.header is None and self.path is None:
            raise ValueError("`matches` needs a `header` or a `path`")
        return self


def first_that_fits(
    rules: Sequence[ErrorRule], status: int, headers: Mapping[str, str], body: bytes | None
) -> ErrorRule | None:
    """The rule that decides about an answer, if any. `body` is needed where a rule has a `path`."""
    parsed: object = MISSING
    for rule in rules:
        if rule.status and status not in rule.status:
            continue
        if rule.path is not None:
            parsed = _parse(body) if parsed is MISSING else parsed
            told = value_in(parsed, rule.path)
        else:
            told = headers.get(rule.header, MISSING) if rule.header is not None else ""
        if told is MISSING or told is None:
            continue
        if rule.matches is None or re.search(rule.matches, _text(told)):
            return rule
    return None


def _parse(body: bytes | None) -> object:
    try:
        return orjson.loads(body or b"")
    except orjson.JSONDecodeError:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
