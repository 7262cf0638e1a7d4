"""A REST API as the params name it: asks it for an answer, and for the first pages by a paginator."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kasparro_pipeline.extract.auth import Credentials, credentials
from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.http_answer import Response
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
from kasparro_pipeline.extract.urls import with_params
from kasparro_pipeline.scaffold import sampling
from kasparro_pipeline.scaffold.errors import ScaffoldError
from kasparro_pipeline.scaffold.params import RestParams


class RestUpstream:
    """An API with the secrets that the params name."""

    def __init__(self, params: RestParams, secrets: Mapping[str, str]) -> None:
        self._params, self._secrets = params, secrets
        parts = urlsplit(params.url)
        self.base_url, self.path = f"{parts.scheme}://{parts.netloc}", parts.path
        query = parse_qsl(parts.query, keep_blank_values=True)
        if len(dict(query)) < len(query):
            raise ScaffoldError(
                f"A query parameter comes twice in {params.url}. Leave one of them out of `url`: a source"
                " sends each parameter once."
            )
        self.query: dict[str, Any] = {**dict(query), **params.params}
        self._http = sampling.PATIENCE.allowing(params.allow_private_hosts)

    def answer(self) -> Response:
        """The answer to the address as it was given.

        Raises:
            UpstreamError: there is none.
        """
        sent = {name: _as_text(value) for name, value in self.query.items()}
        with self._client() as client:
            return client.fetch(
                with_params(f"{self.base_url}{self.path}", sent), headers=self._params.headers
            )

    def pages(
        self, records: str, paginator: Mapping[str, Any], params: Mapping[str, Any], most: int
    ) -> list[list[object]]:
        """The records of the first pages, as a run would get them.

        Raises:
            UpstreamError: a page that does not come, or is none of the list.
        """
        spec = RestRequests.model_validate(
            {
                "path": self.path,
                "params": params,
                "headers": self._params.headers,
                "auth": self._params.auth,
                "records": records,
                "paginator": paginator,
            }
        )
        with self._client() as client:
            batches = RestExtraction(spec, self.base_url, Request(datetime.now(UTC).date()), client)
            return [[record.value for record in batch.records] for batch in islice(batches, most)]

    def proof(self) -> Credentials:
        """The secrets, to be kept out of what is written."""
        return credentials(self._params.auth, self._secrets)

    def _client(self) -> Client:
        return Client(self._http, self.proof())


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
