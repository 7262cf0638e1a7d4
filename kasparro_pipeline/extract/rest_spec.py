"""What a user writes about the requests to a REST API. Sends nothing; how it is carried out is in `rest`."""

from datetime import date, timedelta
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.auth import Auth
from kasparro_pipeline.extract.counted_pages import Offset, PageNumber
from kasparro_pipeline.extract.cursor_values import Incremental
from kasparro_pipeline.extract.error_rules import ErrorRule
from kasparro_pipeline.extract.exploded import Explode
from kasparro_pipeline.extract.json_records import MEMBERS
from kasparro_pipeline.extract.linked_pages import Cursor, LinkHeader, NextUrl
from kasparro_pipeline.extract.paging import SinglePage

Paging = Annotated[
    SinglePage | PageNumber | Offset | Cursor | LinkHeader | NextUrl, Field(discriminator="type")
]
SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"}


class ForEach(StrictModel):
    """Repeats the request for each of some values."""

    param: str
    """Name of the value: `{name}` in the path stands for it, a contract reads it as `$document.<name>`."""
    values: tuple[str, ...] = Field(min_length=1)
    """The values."""


class Parent(StrictModel):
    """Repeats the requests for each record of another source: `{parent.id}` stands for its source_id."""

    source: str
    """The other source: its folder's name. Its unified records are taken as they are when the run begins."""
    include: tuple[str, ...] = ()
    """More of a record's fields, as the read API names them: `{parent.symbol}` in the path, or in a contract
    `$document.parent.symbol`. A record that lacks one of them is passed over."""


class DateWindow(StrictModel):
    """The upstream keeps history and answers for a range of days."""

    start_param: str
    """Query parameter of the first day, `YYYY-MM-DD`."""
    end_param: str
    """Query parameter of the last day, inclusive."""
    cursor: str
    """Path of a record's own day or instant: the newest one seen is where the next extraction starts."""
    lookback_window: timedelta = Field(default=timedelta(days=1), ge=timedelta(0))
    """How far before the cursor the next extraction starts: for records that come late or change."""
    initial_value: date | None = None
    """First day of the first extraction. Default: `lookback_window` before the current day."""
    step: timedelta | None = Field(default=None, ge=timedelta(days=1))
    """Most days of one request: a longer range is asked for in steps, the oldest first (`P30D`)."""

    @property
    def step_days(self) -> int | None:
        """Whole days of a step."""
        return self.step // timedelta(days=1) if self.step else None


class RestRequests(StrictModel):
    """What is asked of the API."""

    path: str
    """Path of the endpoint, below `base_url`."""
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Query parameters of every request; `{name}` stands for a value of `for_each` or `parent`."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers of every request. No secrets: these go into `auth`."""
    auth: Auth | None = None
    """How the source proves who it is. Secrets are named here, and come from the environment."""
    error_rules: tuple[ErrorRule, ...] = ()
    """What answers mean whose status does not tell it."""
    records: str = ""
    """Where the list of records is in an answer: keys joined by dots. Default: the answer is the list. With
    `*` at the end the records are the members of an object, each as `{"key": …, "value": …}`."""
    one_record: bool = False
    """Whether what `records` leads to is one record, an object, instead of a list: `/coins/{parent.id}`."""
    paginator: Paging = SinglePage()
    """How a list goes on."""
    explode: Explode | None = None
    """Set where a record is an entry of a list inside each item."""
    for_each: ForEach | None = None
    """Repeats the requests for each of some values."""
    parent: Parent | None = None
    """Repeats the requests for each record of another source, each with a checkpoint of its own."""
    date_window: DateWindow | None = None
    """Set where a past day can be asked for again; without it only the current day's partition runs."""
    incremental: Incremental | None = None
    """Set where records can be asked for from a cursor value on, instead of all of them each time."""

    @field_validator("headers")
    @classmethod
    def _headers_are_no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        if found := sorted(name for name in headers if name.lower() in SECRET_HEADERS):
            raise ValueError(
                f"`{found[0]}` would hold a secret: use `auth`, which takes it from the environment"
            )
        return headers

    @model_validator(mode="after")
    def _asks_in_one_way(self) -> "RestRequests":
        if self.date_window and self.incremental:
            raise ValueError("`date_window` and `incremental` are two ways to ask for what is new; give one")
        if self.one_record and not isinstance(self.paginator, SinglePage):
            raise ValueError("an answer of `one_record` has no pages: leave out the `paginator`")
        if self.one_record and self.records.split(".")[-1] == MEMBERS:
            raise ValueError("`records` that ends with `*` has many records: leave out `one_record`")
        if self.for_each and self.parent:
            raise ValueError("`for_each` and `parent` both say what the requests are repeated for; give one")
        return self
