"""TLS is verified: expired, self-signed and wrong-host certificates are refused, and so is no TLS at all."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kasparro_pipeline.extract import http_connection
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from tests.unit.conftest import ScriptedUpstream

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
FAST = HttpSettings(attempts=1, connect_timeout=5, allow_private_hosts=("127.0.0.1",))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Certificate = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(
    signer: Certificate | None = None, host: str = "127.0.0.1", until: datetime = NOW + DAY
) -> Certificate:
    """A certificate for a host; without a signer, of an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test" if signer is None else "host")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer[0].subject if signer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 9 * DAY)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(signer[1] if signer else key, hashes.SHA256())
    )
    return made, key


@contextmanager
def serving(made: Certificate, folder: Path, answer: bytes = OK) -> Iterator[str]:
    """A server of one answer a connection, with this certificate."""
    file = folder / f"{made[0].serial_number}.pem"
    private = made[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(made[0].public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = server.accept()
                with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as opened:
                    opened.recv(9999)
                    opened.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Certificate:
    """An authority that this test's machine trusts."""
    made = certificate()
    file = tmp_path / "authority.pem"
    file.write_bytes(made[0].public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    http_connection.trusted.cache_clear()
    return made


@pytest.fixture(autouse=True)
def _trust_anew() -> Iterator[None]:
    yield
    http_connection.trusted.cache_clear()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Certificate], str]]:
    with ExitStack() as stack:
        yield lambda made: stack.enter_context(serving(made, tmp_path))


def fetch(url: str) -> bytes | None:
    with Client(FAST) as client:
        return client.fetch(url).body


def test_a_certificate_of_a_trusted_authority_is_taken(
    authority: Certificate, serve: Callable[[Certificate], str]
) -> None:
    assert fetch(serve(certificate(authority))) == b"ok"


def test_a_certificate_that_signs_itself_is_refused(serve: Callable[[Certificate], str]) -> None:
    with pytest.raises(PermanentUpstreamError, match=r"the TLS certificate is not trusted: self.signed"):
        fetch(serve(certificate()))


def test_an_expired_certificate_is_refused(
    authority: Certificate, serve: Callable[[Certificate], str]
) -> None:
    with pytest.raises(PermanentUpstreamError, match="not trusted: certificate has expired"):
        fetch(serve(certificate(authority, until=NOW - DAY)))


def test_a_certificate_of_another_host_is_refused(
    authority: Certificate, serve: Callable[[Certificate], str]
) -> None:
    with pytest.raises(PermanentUpstreamError, match="not trusted: IP address mismatch"):
        fetch(serve(certificate(authority, host="127.0.0.9")))


def test_a_permanent_redirect_away_from_tls_is_followed_and_not_remembered(
    authority: Certificate, tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    moved = f"HTTP/1.1 301 Moved\r\nLocation: {upstream.url}/x\r\nContent-Length: 0\r\n\r\n"
    with serving(certificate(authority), tmp_path, moved.encode()) as url, Client(FAST) as client:
        assert client.fetch(url).moved_to is None
    assert upstream.paths == ["/x"]


def test_a_server_that_speaks_no_tls_is_no_answer(upstream: ScriptedUpstream) -> None:
    with pytest.raises(TransientUpstreamError, match="no whole answer"):
        fetch(upstream.url.replace("http://", "https://"))
    assert upstream.seen == []


def test_a_server_that_never_ends_its_handshake_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = FAST.model_copy(update={"connect_timeout": 0.3})
        with (
            Client(settings) as client,
            pytest.raises(TransientUpstreamError, match="no whole answer"),
        ):
            client.fetch(f"https://127.0.0.1:{silent.getsockname()[1]}/")
