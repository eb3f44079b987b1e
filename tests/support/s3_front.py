"""A proxy before a real S3 server that takes conditions away from it, each in a way of its own.

What it changes it signs anew, as a gateway with credentials of its own does. Runs in threads, so
that the server behind it sees at once what comes at once.
"""

import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.ports import LOOPBACK
from tests.support.versitygw import S3Server

_TIMEOUT_SECONDS = 60
_CONDITIONS = ("if-match", "if-none-match")
# What belongs to one connection, or to the signature.
_OWN = {"host", "connection", "expect", "authorization", "x-amz-date", "content-length"}


class Fault(Enum):
    """What the front does to conditions."""

    STRIPS = "strips the headers"
    LOOKS_FIRST = "looks whether they hold, and writes later without them"
    DENIES = "says of what is absent that access is denied"


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class S3Front(ThreadingHTTPServer):
    """The proxy. `window_seconds` are between the look and the write."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: S3Server, fault: Fault, window_seconds: float) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.fault = fault
        self._server = server
        self._window_seconds = window_seconds

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which assetd goes through the front."""
        endpoint = {"S3_ENDPOINT": f"http://{LOOPBACK}:{self.server_port}"}
        return {**self._server.environment, **endpoint}

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Answer:
        """Return the server's answer, to what is left of the request."""
        conditions = {name: headers[name] for name in _CONDITIONS if name in headers}
        if method in ("PUT", "POST") and self.fault is not Fault.DENIES:
            headers = {name: headers[name] for name in headers if name not in conditions}
            if conditions and self.fault is Fault.LOOKS_FIRST:
                if not self._holds(path, conditions):
                    return _refusal(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
                # The fault itself: whoever comes in this time finds that the condition holds.
                time.sleep(self._window_seconds)
        answer = self.ask(method, path, headers, body)
        if self.fault is Fault.DENIES and answer.status == HTTPStatus.NOT_FOUND:
            return _refusal(HTTPStatus.FORBIDDEN, "AccessDenied", has_body=method != "HEAD")
        return answer

    def _holds(self, path: str, conditions: Mapping[str, str]) -> bool:
        found = self.ask("HEAD", path.partition("?")[0], {}, b"")
        if "if-none-match" in conditions:
            return found.status == HTTPStatus.NOT_FOUND
        etag = found.headers.get("ETag", "")
        return etag.strip('"') == conditions["if-match"].strip('"') != ""

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        """Send a request to the server, signed."""
        request = AWSRequest(method, f"{self._server.endpoint_url}{path}", headers, body)
        credentials = Credentials(self._server.access_key, self._server.secret_key)
        S3SigV4Auth(credentials, "s3", self._server.region).add_auth(request)
        connection = http.client.HTTPConnection(
            LOOPBACK, self._server.port, timeout=_TIMEOUT_SECONDS
        )
        try:
            connection.request(method, path, body, dict(request.headers.items()))
            answer = connection.getresponse()
            return _Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Front

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers = {name: value for name, value in headers.items() if name not in _OWN}
        answer = self.server.answer(self.command, self.path, headers, body)
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        # That of HEAD tells of a body that does not come.
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - the library's names


def _refusal(status: HTTPStatus, code: str, *, has_body: bool = True) -> _Answer:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return _Answer(status, {"Content-Type": "application/xml"}, body if has_body else b"")


@contextmanager
def s3_front(server: S3Server, fault: Fault, window_seconds: float = 0.0) -> Iterator[S3Front]:
    """Runs a front on a free port for the length of the block."""
    with S3Front(server, fault, window_seconds) as front:
        thread = threading.Thread(target=front.serve_forever, name="s3-front", daemon=True)
        thread.start()
        try:
            yield front
        finally:
            front.shutdown()
            thread.join()
