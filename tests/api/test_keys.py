"""Who may ask with which key, how often, and that no key is ever told to anybody."""

import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Literal

import psycopg
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from kasparro_api.access import guard
from kasparro_api.access.keys import KeyRing, presented
from kasparro_api.app import create_app
from kasparro_api.settings import ApiSettings
from kasparro_pipeline.warehouse import api_keys

Warehouse = psycopg.Connection[Any]
Serve = Callable[..., str]
LogLines = Callable[[Literal["text", "json"]], list[str]]

READ, TRIGGER, BOTH = ["read"], ["trigger"], ["read", "trigger"]
WRONG = "kas_0123456789ab_" + "x" * 43
OPEN_PATHS = ("/health", "/health/ready", "/metrics", "/docs", "/redoc", "/openapi.json")
PREFIXES = ("", "/api/v1")


@pytest.fixture
def closed_url(serve: Serve, database_url: str) -> str:
    """A server that needs a key for reading."""
    return serve(database_url, KASPARRO_API_READS="keys")


def ask(url: str, key: str | None = None, method: str = "GET", **headers: str) -> requests.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["X-API-Key"] = key
    return requests.request(method, url, headers=sent, timeout=30)


def id_of(key: str) -> str:
    return key.split("_")[1]


def assert_problem(response: requests.Response, status: int, kind: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["type"]) == (status, f"urn:kasparro:problem:{kind}")
    assert body["request_id"] == response.headers["X-Request-ID"]


# --- who may read, who may trigger ---


def test_open_reads_need_no_key(open_url: str, key: Callable[..., str]) -> None:
    assert ask(f"{open_url}/data").status_code == 200
    for scopes in (READ, TRIGGER, BOTH):
        assert ask(f"{open_url}/data", key(scopes)).status_code == 200


def test_a_key_that_is_wrong_is_refused_even_where_none_is_needed(open_url: str, closed_url: str) -> None:
    for sent in (WRONG, "", "secret", "kas_", "kas__", "é", "a b"):
        for url in (open_url, closed_url):
            response = ask(f"{url}/data", sent)
            assert_problem(response, 401, "invalid-key")
            challenge = response.headers["WWW-Authenticate"]
            assert challenge == 'Bearer realm="kasparro", error="invalid_token"'


def test_closed_reads_need_a_key_of_scope_read(closed_url: str, key: Callable[..., str]) -> None:
    for prefix in PREFIXES:
        missing = ask(f"{closed_url}{prefix}/data")
        assert_problem(missing, 401, "missing-key")
        assert missing.headers["WWW-Authenticate"] == 'Bearer realm="kasparro"'
        assert ask(f"{closed_url}{prefix}/data", key(READ)).status_code == 200
        assert ask(f"{closed_url}{prefix}/data", key(BOTH)).status_code == 200
        other = key(TRIGGER)
        refused = ask(f"{closed_url}{prefix}/data", other)
        assert_problem(refused, 403, "missing-scope")
        assert 'error="insufficient_scope", scope="read"' in refused.headers["WWW-Authenticate"]
        assert id_of(other) in refused.json()["detail"]


def test_an_unknown_path_tells_nothing_without_a_key(closed_url: str, key: Callable[..., str]) -> None:
    assert ask(f"{closed_url}/nowhere").status_code == 401
    assert ask(f"{closed_url}/nowhere", key()).status_code == 404


def test_head_needs_the_same_key_and_has_no_body(closed_url: str, key: Callable[..., str]) -> None:
    response = ask(f"{closed_url}/data", method="HEAD")
    assert (response.status_code, response.content) == (401, b"")
    assert ask(f"{closed_url}/data", key(), method="HEAD").status_code not in {401, 403}


def test_state_and_documentation_stay_open(closed_url: str) -> None:
    for path in OPEN_PATHS:
        for prefix in PREFIXES:
            for sent in (None, WRONG):
                assert ask(closed_url + prefix + path, sent).status_code in {200, 404}


def test_what_the_documentation_loads_stays_open(closed_url: str) -> None:
    page = ask(f"{closed_url}/docs").text
    loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert loaded
    for path in loaded:
        assert ask(closed_url + path).status_code == 200


def test_nothing_behind_an_open_path_opens_another(closed_url: str) -> None:
    for path in (
        "/health/../data",
        "/static-docs/../data",
        "/static-docs/%2e%2e/data",
        "/health/",
        "//health",
    ):
        with requests.Session() as session:
            request = requests.Request("GET", closed_url).prepare()
            request.url = closed_url + path  # as it stands: a client would tidy it
            assert session.send(request, timeout=30).status_code in {401, 404}


@pytest.mark.parametrize("url", ["open_url", "closed_url"])
def test_whatever_is_not_a_read_needs_scope_trigger(
    request: pytest.FixtureRequest, key: Callable[..., str], url: str
) -> None:
    base = request.getfixturevalue(url)
    reader, trigger = key(READ), key(TRIGGER)
    for path in ("/etl/run", "/api/v1/etl/run", "/run-etl", "/sources/x/files?name=a.csv"):
        assert_problem(ask(base + path, method="POST"), 401, "missing-key")
        refused = ask(base + path, reader, "POST")
        assert_problem(refused, 403, "missing-scope")
        assert 'scope="trigger"' in refused.headers["WWW-Authenticate"]
        assert ask(base + path, trigger, "POST").status_code not in {401, 403}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/data", "/api/v1/data", "/health", "/docs", "/nowhere"):
            assert ask(base + path, method=method).status_code in {404, 405}


def test_every_route_that_is_not_a_read_needs_a_key(open_url: str) -> None:
    app = create_app(ApiSettings(_env_file=None, DATABASE_URL="postgresql://127.0.0.1:1/none"))
    written = [
        (path, method)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method != "get"
    ]
    assert len(written) >= 3
    for path, method in written:
        assert_problem(ask(open_url + path, method=method.upper()), 401, "missing-key")


def test_options_needs_no_key(closed_url: str) -> None:
    assert ask(f"{closed_url}/data", method="OPTIONS").status_code not in {401, 403}


def test_a_bearer_token_is_a_key_too(closed_url: str, key: Callable[..., str]) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert ask(f"{closed_url}/data", Authorization=f"{scheme} {key()}").status_code == 200
        assert_problem(ask(f"{closed_url}/data", Authorization=f"{scheme} {WRONG}"), 401, "invalid-key")


def test_another_kind_of_authorization_is_no_key(closed_url: str) -> None:
    assert_problem(ask(f"{closed_url}/data", Authorization="Basic dTpw"), 401, "missing-key")


def test_the_own_header_goes_before_the_bearer_token(closed_url: str, key: Callable[..., str]) -> None:
    assert ask(f"{closed_url}/data", key(), Authorization=f"Bearer {WRONG}").status_code == 200
    assert ask(f"{closed_url}/data", WRONG, Authorization=f"Bearer {key()}").status_code == 401


# --- which text is a key ---

[ID, SECRET] = ["0123456789ab", "s_-" + "e" * 40]
SALT = bytes(range(16))
TEXT = f"kas_{ID}_{SECRET}"
RING = KeyRing([(ID, "name", ["read"], SALT, api_keys.hash_of(SALT, SECRET), None)], "1")

near_keys = st.one_of(
    st.text(),
    st.binary(),
    st.builds(
        lambda at, put: TEXT[:at] + put + TEXT[at + 1 :], st.integers(0, len(TEXT)), st.text(max_size=2)
    ),
    st.builds(lambda a, b: f"kas_{a}_{b}", st.sampled_from([ID, "ba9876543210", ""]), st.text(max_size=50)),
)


@given(near_keys)
def test_a_key_is_found_by_its_whole_text_and_by_no_other(sent: str | bytes) -> None:
    for text in (TEXT, TEXT.encode()):
        found = RING.find(text)
        assert found is not None
        assert (found.id, found.name, found.scopes) == (ID, "name", frozenset({"read"}))
    assert sent in (TEXT, TEXT.encode()) or RING.find(sent) is None


def test_a_key_ends_after_its_seconds() -> None:
    row = (ID, "name", ["read"], SALT, api_keys.hash_of(SALT, SECRET))
    now = time.monotonic()
    assert KeyRing([(*row, 5.0)], "1", now).find(TEXT)
    assert KeyRing([(*row, float("inf"))], "1", now).find(TEXT)
    assert KeyRing([(*row, 5.0)], "1", now - 6).find(TEXT) is None


def test_an_empty_key_counts_as_sent() -> None:
    assert presented([(b"accept", b"*/*")]) is None
    assert presented([(b"authorization", b"Basic dTpw")]) is None
    assert presented([(b"x-api-key", b"")]) == b""
    assert presented([(b"authorization", b"Bearer ")]) == b""
    assert presented([(b"authorization", b"bEaReR  a "), (b"x-api-key", b"b")]) == b"b"


# --- how fast a change holds ---


def test_a_revoked_key_is_refused_on_the_next_request_by_every_worker(
    serve: Serve, database_url: str, warehouse: Warehouse, key: Callable[..., str]
) -> None:
    workers = [serve(database_url, KASPARRO_API_READS="keys") for _ in range(2)]
    for _ in range(5):
        text = key()
        for url in workers:
            assert ask(f"{url}/data", text).status_code == 200
        api_keys.revoke(warehouse, id_of(text))
        for url in workers:
            assert_problem(ask(f"{url}/data", text), 401, "invalid-key")


EVERY_READ = (
    *("/data", "/data?limit=0", "/data?cursor=x", "/data/1", "/data/x", "/data.ndjson", "/data.csv"),
    *("/data?as_of=2026-01-01", "/data/1/lineage", "/changes", "/sources", "/categories"),
    *("/runs", "/runs/x", "/compare-runs?a=x&b=y", "/stats", "/nowhere"),
)


@pytest.mark.parametrize("cache_mb", [0, 64])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_revoked_key_is_refused_by_every_read(
    serve: Serve,
    database_url: str,
    warehouse: Warehouse,
    add_record: Callable[..., int],
    key: Callable[..., str],
    method: str,
    cache_mb: int,
) -> None:
    settings = {
        "KASPARRO_API_READS": "keys",
        "KASPARRO_API_CACHE_MB": cache_mb,
        "KASPARRO_API_KEY_ATTEMPTS": 0,
    }
    url = serve(database_url, **settings)
    add_record()
    other = key()
    for path in EVERY_READ:
        text = key()
        etag = None
        for _ in range(2):  # the second time it is known by heart, and so is the answer
            answer = ask(url + path, text, method)
            assert answer.status_code not in {401, 403}, path
            etag = answer.headers.get("ETag")
        api_keys.revoke(warehouse, id_of(text))
        assert ask(url + path, text, method).status_code == 401, path
        # that another request has met the change makes no difference, nor has the client's own copy
        ask(f"{url}/data", other)
        known = {"If-None-Match": etag} if etag else {}
        assert ask(url + path, text, method, **known).status_code == 401, path


def test_a_refusal_is_never_given_by_memory(
    closed_url: str, warehouse: Warehouse, key: Callable[..., str]
) -> None:
    text = key(TRIGGER)
    for _ in range(2):
        assert_problem(ask(f"{closed_url}/data", text), 403, "missing-scope")
    warehouse.execute("update kasparro.api_key set scopes = '{read}' where id = %s", [id_of(text)])
    assert ask(f"{closed_url}/data", text).status_code == 200
    warehouse.execute("update kasparro.api_key set scopes = '{trigger}' where id = %s", [id_of(text)])
    assert_problem(ask(f"{closed_url}/data", text), 403, "missing-scope")
    api_keys.revoke(warehouse, id_of(text))
    assert_problem(ask(f"{closed_url}/data", text), 401, "invalid-key")


def test_a_revoked_key_beyond_its_quota_is_told_that_it_is_revoked(
    serve: Serve, database_url: str, warehouse: Warehouse, key: Callable[..., str]
) -> None:
    url = serve(database_url, KASPARRO_API_RATE_LIMIT=2)
    text = key()
    for status in (200, 200, 429):
        assert ask(f"{url}/data", text).status_code == status
    api_keys.revoke(warehouse, id_of(text))
    assert ask(f"{url}/data", text).status_code == 401


def test_a_rotated_key_and_its_successor_overlap(
    closed_url: str, warehouse: Warehouse, key: Callable[..., str]
) -> None:
    old = key()
    new = api_keys.rotate(warehouse, id_of(old), timedelta(minutes=1))
    assert [ask(f"{closed_url}/data", text).status_code for text in (old, new)] == [200, 200]
    newest = api_keys.rotate(warehouse, id_of(new))
    assert [ask(f"{closed_url}/data", text).status_code for text in (old, new, newest)] == [200, 401, 200]


def test_the_overlap_ends_by_itself(closed_url: str, warehouse: Warehouse, key: Callable[..., str]) -> None:
    old = key()
    api_keys.rotate(warehouse, id_of(old), timedelta(seconds=0.5))
    assert ask(f"{closed_url}/data", old).status_code == 200
    deadline = time.monotonic() + 10
    while ask(f"{closed_url}/data", old).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert_problem(ask(f"{closed_url}/data", old), 401, "invalid-key")
    [[end_is_past]] = warehouse.execute(
        "select revoked_at <= clock_timestamp() + interval '0.2 s' from kasparro.api_key where id = %s",
        [id_of(old)],
    ).fetchall()
    assert end_is_past


def test_many_requests_with_many_keys_while_keys_come_and_go(
    closed_url: str, warehouse: Warehouse, key: Callable[..., str]
) -> None:
    kept = [key() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, f"{closed_url}/data", kept[number % 4]) for number in range(80)]
        for _ in range(10):
            text = key()
            assert ask(f"{closed_url}/data", text).status_code == 200
            api_keys.revoke(warehouse, id_of(text))
            assert ask(f"{closed_url}/data", text).status_code == 401
        assert {answer.result().status_code for answer in asked} == {200}


def test_a_key_that_cannot_be_checked_is_not_let_pass(url_without_database: str) -> None:
    response = ask(f"{url_without_database}/data", WRONG)
    assert_problem(response, 503, "database-unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert_problem(ask(f"{url_without_database}/etl/run", method="POST"), 401, "missing-key")
    assert ask(f"{url_without_database}/docs", WRONG).status_code == 200


def test_a_database_before_its_migration_says_so(
    open_url: str, warehouse: Warehouse, key: Callable[..., str]
) -> None:
    text = key()
    warehouse.execute("drop table kasparro.api_key")
    assert_problem(ask(f"{open_url}/data", text), 503, "migrations-pending")


# --- attempts ---


def test_an_address_with_too_many_wrong_keys_is_not_listened_to(
    serve: Serve, database_url: str, key: Callable[..., str]
) -> None:
    url = f"{serve(database_url, KASPARRO_API_KEY_ATTEMPTS=3)}/data"
    right = key()
    for _ in range(3):
        assert ask(url, right).status_code == 200
        assert ask(url, WRONG).status_code == 401
    for text in (WRONG, right):
        response = ask(url, text)
        assert_problem(response, 429, "too-many-wrong-keys")
        assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert ask(url).status_code == 200
    # the server believes a proxy on its own machine
    assert ask(url, right, X_Forwarded_For="192.0.2.7").status_code == 200


def test_attempts_at_the_same_time_are_counted_too(serve: Serve, database_url: str) -> None:
    url = f"{serve(database_url, KASPARRO_API_KEY_ATTEMPTS=5)}/data"
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(lambda _: ask(url, WRONG).status_code, range(48)))
    assert statuses == {401: 5, 429: 43}


def test_the_next_window_forgets_the_attempts(
    serve: Serve, database_url: str, key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "ATTEMPTS_WINDOW", 1)
    url = f"{serve(database_url, KASPARRO_API_KEY_ATTEMPTS=1)}/data"
    right = key()
    assert ask(url, WRONG).status_code == 401
    deadline = time.monotonic() + 10
    while ask(url, right).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_zero_attempts_is_no_limit(serve: Serve, database_url: str, key: Callable[..., str]) -> None:
    url = f"{serve(database_url, KASPARRO_API_KEY_ATTEMPTS=0)}/data"
    assert {ask(url, WRONG).status_code for _ in range(30)} == {401}
    assert ask(url, key()).status_code == 200


# --- rates ---


def left_of(response: requests.Response) -> int:
    found = re.fullmatch(r'"default";r=(\d+);t=(\d+)', response.headers["RateLimit"])
    assert found
    assert 1 <= int(found[2]) <= 60
    return int(found[1])


def test_a_caller_is_told_its_quota_and_refused_beyond_it(
    serve: Serve, database_url: str, key: Callable[..., str]
) -> None:
    url = serve(database_url, KASPARRO_API_RATE_LIMIT=4)
    paths = ("/data", "/data?limit=0", "/nowhere", "/api/v1/data")
    for left, path in zip((3, 2, 1, 0), paths, strict=True):
        response = ask(url + path)
        assert response.headers["RateLimit-Policy"] == '"default";q=4;w=60'
        assert left_of(response) == left
    response = ask(f"{url}/data")
    assert_problem(response, 429, "too-many-requests")
    assert left_of(response) == 0
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    # each key is a caller of its own, wherever it asks from
    first, second = key(), key()
    assert left_of(ask(f"{url}/data", first)) == 3
    assert left_of(ask(f"{url}/data", first, X_Forwarded_For="192.0.2.7")) == 2
    assert left_of(ask(f"{url}/data", second)) == 3
    assert left_of(ask(f"{url}/data", X_Forwarded_For="192.0.2.7")) == 3


def test_refusals_count_and_say_so(serve: Serve, database_url: str, key: Callable[..., str]) -> None:
    url = f"{serve(database_url, KASPARRO_API_RATE_LIMIT=2, KASPARRO_API_READS='keys')}/data"
    assert [left_of(ask(url)), left_of(ask(url))] == [1, 0]
    assert ask(url).status_code == 429
    trigger = key(TRIGGER)
    assert [ask(url, trigger).status_code for _ in range(3)] == [403, 403, 429]


def test_health_and_metrics_are_not_limited(serve: Serve, database_url: str) -> None:
    url = serve(database_url, KASPARRO_API_RATE_LIMIT=1)
    assert ask(f"{url}/data").status_code == 200
    assert ask(f"{url}/data").status_code == 429
    for path in ("/health", "/health/ready", "/metrics", "/api/v1/health"):
        response = ask(url + path)
        assert response.status_code in {200, 404}
        assert "RateLimit" not in response.headers


def test_the_next_window_has_the_full_quota(serve: Serve, database_url: str) -> None:
    url = f"{serve(database_url, KASPARRO_API_RATE_LIMIT=1, KASPARRO_API_RATE_WINDOW=1)}/data"
    deadline = time.monotonic() + 10
    while ask(url).status_code != 429:
        assert time.monotonic() < deadline
    while ask(url).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_limit_of_zero_is_none(serve: Serve, database_url: str) -> None:
    response = ask(f"{serve(database_url, KASPARRO_API_RATE_LIMIT=0)}/data")
    assert response.status_code == 200
    assert "RateLimit" not in response.headers
    assert "RateLimit-Policy" not in response.headers
