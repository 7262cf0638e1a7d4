"""What a user gives to have a source made; `dg` makes options of it. What is done with it is elsewhere."""

import re
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.auth import Auth
from kasparro_pipeline.extract.rest_spec import SECRET_HEADERS

_SECRET = re.compile(
    r"(^|[_\-.])(key|token|secret|password|passwd|pwd|signature|sig|auth|appid)$"
    r"|api_?key$|(access|auth|secret|api)_?token$",
    re.IGNORECASE,
)
_CURSOR = re.compile(r"page|next|continuation|cursor", re.IGNORECASE)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
"""Some texts; a single one may stand for itself."""


class SourceParams(StrictModel):
    """What the params of every kind of source have in common."""

    kind: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    """What one record is: asset, price, article. Default: made of the source's name."""
    key: Names = ()
    """Path of the upstream's own key of a record, or several. Default: found in the sample."""
    sample: bool = True
    """Whether to ask the upstream; `false`: a commented skeleton is written without asking."""


class HttpParams(SourceParams):
    """A source behind HTTP."""

    url: str = Field(pattern=r"^https?://[^/@\s]+(/\S*)?$")
    """The address, as it would be opened in a browser. No secrets in it."""
    allow_private_hosts: Names = ()
    """Hosts that may be reached at addresses which are not public, such as `127.0.0.1`: written into the
    source's `http`."""

    @field_validator("url")
    @classmethod
    def _no_secret_in_the_address(cls, url: str) -> str:
        _refuse_secrets(name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True))
        return url


class RestParams(HttpParams):
    """A REST API. The query of `url` becomes the source's `params`."""

    records: str | None = None
    """Where the list of records is in an answer: keys joined by dots. Default: found in the sample."""
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """More query parameters of every request."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers of every request. No secrets."""
    auth: Auth | None = Field(default=None, json_schema_extra={"type": "object"})
    """How the source proves who it is: `{"type": "bearer", "token_env": "MY_TOKEN"}` names the environment
    variable that holds the secret."""

    @model_validator(mode="after")
    def _no_secret_is_written(self) -> "RestParams":
        _refuse_secrets([*self.params, *self.headers])
        return self


class CsvParams(SourceParams):
    """CSV files."""

    files: str = Field(min_length=1)
    """A path with wildcards (`data/coins/*.csv`), from the project. The newest file is the sample."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """What separates cells. Default: found in the sample."""
    encoding: str | None = None
    """How the files are encoded. Default: found in the sample."""


class FeedParams(HttpParams):
    """An RSS or Atom feed."""


_INSTEAD = (
    'use `auth`, which names an environment variable: {"type": "api_key", "name": "…", "location": "query",'
    ' "value_env": "MY_KEY"}'
)


def _refuse_secrets(names: Iterable[str]) -> None:
    for name in names:
        if (_SECRET.search(name) and not _CURSOR.search(name)) or name.lower() in SECRET_HEADERS:
            raise ValueError(f"`{name}` looks like the name of a secret: {_INSTEAD}")
