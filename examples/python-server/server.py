"""A model server: sentence embeddings over HTTP, from a model that assetd keeps on this node.

    python server.py --asset nlp/minilm:0 --listen 127.0.0.1:8001

The model is held for as long as the server runs: whoever needs room on this node meanwhile, the
cache does not take it from under us. SIGTERM ends it once what is being answered has been.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any, NoReturn

import assetd
from minilm import ModelError, SentenceModel

NAME = "python-server"
MAX_BODY_BYTES = 1 << 20
MAX_TEXTS = 32
IDLE_SECONDS = 10.0
# In a pod the daemon may start after us.
PATIENCE = assetd.RetryPolicy(patience_seconds=60.0, connect_patience_seconds=60.0)


class RequestError(Exception):
    """A request that cannot be answered, and the status that says so."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class EmbeddingServer(ThreadingHTTPServer):
    """Answers with the vectors of one model. Closing it waits for what is being answered."""

    daemon_threads = False

    def __init__(self, address: tuple[str, int], asset: assetd.Asset, model: SentenceModel) -> None:
        """Listen at the address; port 0 takes a free one."""
        super().__init__(address, Handler)
        self._asset = asset
        self._model = model
        # numpy uses all processors for one batch; a second one would only need more memory.
        self._one_batch = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def health(self) -> dict[str, Any]:
        """Return what is served, and whether it is held.

        Raises:
            RequestError: the hold is lost, so that the files may go: restart us.
        """
        if not self._asset.is_held:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the model is no longer held")
        return {"status": "ok", "asset": f"{self._asset.name}:{self._asset.version}"}

    def embed(self, body: bytes) -> dict[str, Any]:
        """Return the vectors of the texts that a request names.

        Raises:
            RequestError: it names none, or too many.
        """
        texts = read_texts(body)
        with self._one_batch:
            vectors = self._model.embed(texts)
        return {
            "asset": f"{self._asset.name}:{self._asset.version}",
            "dimension": self._model.dimension,
            "embeddings": vectors.tolist(),
        }


class Handler(BaseHTTPRequestHandler):
    """Reads one request, and answers it with JSON."""

    server: EmbeddingServer
    # A caller that falls silent must not keep the server from ending.
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Answer /healthz."""
        self._answer("/healthz", self.server.health)

    def do_POST(self) -> None:
        """Answer /embed."""
        self._answer("/embed", lambda: self.server.embed(self._body()))

    def _answer(self, path: str, work: Callable[[], dict[str, Any]]) -> None:
        try:
            if self.path != path:
                raise RequestError(HTTPStatus.NOT_FOUND, "GET /healthz and POST /embed are here")
            status, answer = HTTPStatus.OK, work()
        except RequestError as error:
            status, answer = error.status, {"error": str(error)}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is needed")
        # Python refuses to read a number of thousands of digits.
        if len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
            message = f"at most {MAX_BODY_BYTES} bytes are read"
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        return self.rfile.read(int(length))


def read_texts(body: bytes) -> list[str]:
    """Return the texts of a request's body, `{"texts": ["...", ...]}`.

    Raises:
        RequestError: it is something else.
    """
    try:
        request = json.loads(body)
        texts = request["texts"]
        for text in texts:
            # JSON can say half a surrogate pair, which is no text.
            text.encode()
        if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_TEXTS:
            raise ValueError(f"{MAX_TEXTS} texts at most, and one at least")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f'{{"texts": ["..."]}} is wanted, 1 to {MAX_TEXTS} of them'
        raise RequestError(HTTPStatus.BAD_REQUEST, message) from error
    return texts


def fetch(client: assetd.Client, spec: str) -> assetd.Asset:
    """Return the asset, held, and say how it came."""
    asset = client.fetch(spec, hold=True)
    joined = str(asset.joined).lower()
    say(
        f"got asset={asset.name}:{asset.version} source={asset.source} "
        f"transferred={asset.transferred_bytes} joined={joined} path={asset.path}"
    )
    return asset


def say(message: str) -> None:
    """Print a line for whoever started us."""
    print(f"{NAME}: {message}", flush=True)


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """End the program as if it had come to its end, so that every `with` does its part."""
    sys.exit(0)


def main() -> None:
    """Fetch, hold, serve, until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--asset", default="nlp/minilm:0", help="default: %(default)s")
    parser.add_argument("--listen", default="127.0.0.1:8001", help="default: %(default)s")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        with (
            assetd.Client(caller=NAME, retry=PATIENCE) as client,
            fetch(client, options.asset) as asset,
            EmbeddingServer((host, int(port)), asset, SentenceModel.load(asset.path)) as server,
        ):
            say(f"serves {server.url}")
            server.serve_forever()
    except (assetd.AssetdError, ModelError, OSError, ValueError) as error:
        sys.exit(f"{NAME}: {error}")


if __name__ == "__main__":
    main()
