"""Asks feeds: conditionally, several at a time, and each for itself, so that one that fails stops no other.

What a body holds is in `feed`, when to ask again in `feed_pace`. Knows no state but what it is given.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from kasparro_pipeline.extract import feed
from kasparro_pipeline.extract.documents import Batch, Document, KnownDocument, sha256
from kasparro_pipeline.extract.errors import UpstreamError
from kasparro_pipeline.extract.feed import FeedBody
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.http_answer import Response
from kasparro_pipeline.extract.lookahead import Lookahead
from kasparro_pipeline.extract.opml import Subscription


@dataclass(frozen=True, slots=True)
class Question:
    """A feed to be asked. `address` is where it is now, its subscription's where it was when it was named."""

    subscription: Subscription
    address: str


@dataclass(frozen=True, slots=True)
class FeedAnswer:
    """What came of a question: an answer, or why there is none."""

    question: Question
    known: KnownDocument | None
    response: Response | None = None
    error: UpstreamError | None = None

    @property
    def is_news(self) -> bool:
        """Whether there is a body, and it is not that of the known document."""
        body = self.response.body if self.response else None
        return body is not None and (self.known is None or self.known.sha256 != sha256(body))


def ask(
    questions: Sequence[Question], known: Callable[[str], KnownDocument | None], client: Client
) -> Generator[FeedAnswer, None, None]:
    """The answers in the order of the questions, several under way at a time. The client is used up by it.

    `known` gives the stored document of a subscription's address; it is called in the caller's thread.
    """
    course = _InTurn(questions, known, client)
    with Lookahead(client, course) as lookahead:
        for place, question in enumerate(questions):
            try:
                response = lookahead.take(place)
            except UpstreamError as error:
                yield FeedAnswer(question, course.known.pop(place), error=error)
            else:
                yield FeedAnswer(question, course.known.pop(place), response)


class _InTurn:
    """One feed after the other: a `Course` of one list, whose places are the numbers of the questions."""

    def __init__(
        self, questions: Sequence[Question], known: Callable[[str], KnownDocument | None], client: Client
    ) -> None:
        self._questions, self._known, self._client = questions, known, client
        self.known: dict[int, KnownDocument | None] = {}
        """Of each question under way the stored document."""

    def ask(self, place: int) -> Callable[[], Response]:
        """The request of a question; what is known is looked up in the caller's thread."""
        question = self._questions[place]
        document = self.known[place] = self._known(question.subscription.url)
        return lambda: self._client.fetch(question.address, known=document)

    def guess(self, place: int) -> int | None:
        """The question behind it."""
        return place + 1 if place + 1 < len(self._questions) else None

    def behind(self, place: int, response: Response) -> int | None:  # noqa: ARG002 - the answer does not matter
        """The same."""
        return self.guess(place)

    def next_list(self, place: int) -> int | None:  # noqa: ARG002 - there is one list
        """There is none."""
        return None

    def ahead(self) -> tuple[int, int]:
        """As many feeds are under way or waiting."""
        most = 2 * self._client.settings.concurrency
        return most, most


def batch(answer: FeedAnswer, *, lenient: bool = True) -> tuple[Batch, FeedBody | None]:
    """The feed's entries as a batch, and its body; without both if it has not changed.

    Each feed is a document of its own: no other one has to come for it to be complete.

    Raises:
        UpstreamError: there was no answer, or it is no feed that can be read.
    """
    if answer.error is not None:
        raise answer.error
    response, one = answer.response, answer.question.subscription
    if response is None or response.body is None:
        return Batch(None, [], {}, done=True), None
    body = feed.entries(response.body, one.url, response.headers.get("content-type"), lenient=lenient)
    told = {
        "feed": one.url,
        "feed_title": one.title,
        "feed_category": one.category,
        "feed_problem": body.problem,
    }
    document = Document(
        one.url,
        len(response.body),
        sha256(response.body),
        response.fetched_at,
        body.layout,
        context={name: value for name, value in told.items() if value is not None},
        headers=response.headers,
    )
    return Batch(document, body.records, {}, done=True), body
