"""What the OpenAPI document cannot say of parameters, told to schemathesis. `test_schemathesis` loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

if TYPE_CHECKING:
    from schemathesis import Case, HookContext, Response
    from schemathesis.core.failures import Failure

SAID_IN_WORDS = (
    "Not together with `cursor`",
    "needs `q`",
    "Only together with `source`",
    "must not lie in the future",  # of `as_of`
    "unknown: ",  # a name in `fields`: the description lists them
)


@schemathesis.hook
def filter_failure(
    context: HookContext,  # noqa: ARG001 - schemathesis goes by the names
    failure: Failure,
    case: Case[Any],  # noqa: ARG001
    response: Response,
) -> bool:
    """Whether a failure is one: a page's cursor cannot be made up, and words say more than schemas."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    if problem["type"] == "urn:kasparro:problem:invalid-cursor":
        return False
    return not all(
        error["message"].startswith(SAID_IN_WORDS) for error in problem.get("errors", [{"message": ""}])
    )
