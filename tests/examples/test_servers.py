"""Both servers of the example, against a real daemon."""

import hashlib
import json
import shutil
import signal
import struct
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.examples import reference
from tests.examples.serving import Command, failing, serving
from tests.examples.tiny_model import VOCABULARY, Tensors, random_tensors, write_model
from tests.support.daemon import Daemon, Daemons
from tests.support.waiting import wait_until

TENSORS: Tensors = random_tensors(1)
SERVERS = ["python_server", pytest.param("go_server", marks=pytest.mark.needs_program("go"))]
MAX_BODY_BYTES = 1 << 20


@pytest.fixture
def daemon(daemons: Daemons, tmp_path: Path) -> Daemon:
    """A daemon whose store has the tiny model."""
    daemon = daemons(store=tmp_path / "store")
    with daemon.client() as client:
        client.push(write_model(tmp_path / "tiny", TENSORS), "nlp/tiny", new=True)
    return daemon


@pytest.fixture(params=SERVERS)
def command(request: pytest.FixtureRequest) -> Command:
    """The command of each server."""
    found: Command = request.getfixturevalue(request.param)
    return found


def holders(daemon: Daemon) -> list[str]:
    """Who holds something, as the daemon knows them."""
    with daemon.client() as client:
        return [hold.caller for hold in client.status().holds]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_holds_until_it_ends(
    daemon: Daemon, command: Command, tmp_path: Path, number: signal.Signals
) -> None:
    """It says how its asset came, is listed with its name, and ends well, its hold with it."""
    with serving(command, daemon, tmp_path) as server:
        name = server.output.partition(":")[0]
        assert name in {"python-server", "go-server"}
        assert holders(daemon) == [name]
        assert server.got["asset"] == "nlp/tiny:0.0"
        assert server.got["source"] == "store"
        assert int(server.got["transferred"]) > 0
        assert server.got["joined"] == "false"
        assert Path(server.got["path"]) == daemon.assets_dir / "nlp/tiny/0.0"
        assert server.ask("/healthz") == (200, {"status": "ok", "asset": "nlp/tiny:0.0"})
        with daemon.client() as client:
            (entry,) = client.evict("nlp/tiny:0.0").entries
            assert entry.outcome == entry.OUTCOME_LEASED
        server.send(number)
        assert server.wait() == 0
    wait_until(lambda: not holders(daemon), "the end of the hold")


def test_what_is_here_is_a_hit(daemon: Daemon, command: Command, tmp_path: Path) -> None:
    """A server that starts again transfers nothing."""
    with daemon.client() as client:
        client.fetch("nlp/tiny")
    with serving(command, daemon, tmp_path) as server:
        assert (server.got["source"], server.got["transferred"]) == ("cache", "0")


def test_a_server_may_start_before_the_daemon(
    daemon: Daemon, command: Command, tmp_path: Path
) -> None:
    """As the containers of a pod do; and it goes on holding when the daemon starts again."""
    daemon.stop()
    daemon.launch()
    with serving(command, daemon, tmp_path) as server:
        assert server.ask("/healthz").status == 200
        daemon.stop()
        daemon.start()
        wait_until(lambda: holders(daemon), "the hold after the restart")
        assert server.ask("/healthz").status == 200


def test_a_hold_that_is_lost_shows_in_the_health(
    daemon: Daemon, command: Command, tmp_path: Path
) -> None:
    """When the daemon, back again, has the version no more, whoever looks is told to act."""
    with serving(command, daemon, tmp_path) as server:
        daemon.stop()
        shutil.rmtree(tmp_path / "store/nlp")
        shutil.rmtree(daemon.assets_dir / "nlp")
        daemon.start()
        wait_until(lambda: server.ask("/healthz").status == 503, "the loss")
        assert server.ask("/healthz").body == {"error": "the model is no longer held"}


def test_what_cannot_be_served_ends_the_server(
    daemon: Daemon, command: Command, tmp_path: Path
) -> None:
    """With a line that says why, and exit code 1."""
    assert "no asset nlp/none" in failing(command, daemon, "--asset", "nlp/none")
    broken = write_model(tmp_path / "broken", TENSORS)
    (broken / "model.safetensors").write_bytes(b"\xff" * 64)
    with daemon.client() as client:
        client.push(broken, "nlp/broken")
    assert "broken" in failing(command, daemon, "--asset", "nlp/broken")


def test_vectors_over_http(daemon: Daemon, python_server: Command, tmp_path: Path) -> None:
    """They are those of the model that was fetched."""
    texts = ["the sun", "a cafe, unknown"]
    with serving(python_server, daemon, tmp_path) as server:
        status, body = server.ask("/embed", json.dumps({"texts": texts}).encode())
    assert (status, body["asset"], body["dimension"]) == (200, "nlp/tiny:0.0", 8)
    for text, vector in zip(texts, body["embeddings"], strict=True):
        assert vector == pytest.approx(reference.embed(TENSORS, text), abs=1e-5)


def test_requests_that_are_refused(daemon: Daemon, python_server: Command, tmp_path: Path) -> None:
    """Each with a status and a reason; and the next one is answered all the same."""
    bodies: list[Any] = [None, [], {}, "the sun", {"texts": "the sun"}, {"texts": []}]
    bodies += [{"texts": None}, {"texts": ["a", 1]}, {"texts": ["a"] * 33}, {"texts": {"a": "b"}}]
    texts = [json.dumps(body).encode() for body in bodies]
    texts += [b"", b"{", b"\xff", b'{"texts": ["\\ud800"]}', b"[" * 100_000]
    with serving(python_server, daemon, tmp_path) as server:
        for text in texts:
            status, body = server.ask("/embed", text)
            assert (status, list(body)) == (400, ["error"]), text[:50]
        for length, expected in [
            (str(MAX_BODY_BYTES + 1), 413),
            ("9" * 5000, 413),
            ("-1", 411),
            ("²", 411),
        ]:
            answer = server.ask("/embed", b"", {"Content-Length": length})
            assert answer.status == expected, length[:50]
        assert server.ask("/healthz", b"").status == 404
        assert server.ask("/embed").status == 404
        assert server.ask("/embed", b'{"texts": ["the sun"]}').status == 200
        assert "Traceback" not in server.output


def test_what_is_being_asked_is_answered_before_the_end(
    daemon: Daemon, python_server: Command, tmp_path: Path
) -> None:
    """SIGTERM ends the server once it has answered, and the hold not before."""
    body = b'{"texts": ["the sun"]}'
    with serving(python_server, daemon, tmp_path) as server, closing(server.connect()) as slow:
        slow.putrequest("POST", "/embed")
        slow.putheader("Content-Length", str(len(body)))
        slow.endheaders(body[:5])
        # Connections are taken in their order: that one has been by now.
        server.ask("/healthz")
        server.send(signal.SIGTERM)
        slow.send(body[5:])
        assert slow.getresponse().status == 200
        assert server.wait() == 0


@pytest.mark.needs_program("go")
def test_tensors_and_tokens_over_http(daemon: Daemon, go_server: Command, tmp_path: Path) -> None:
    """They are those of the files, as another reader of the format finds them."""
    weights = (tmp_path / "tiny/model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", weights)
    header = json.loads(weights[8 : 8 + length])
    data = weights[8 + length :]
    del header["__metadata__"]
    with serving(go_server, daemon, tmp_path) as server:
        listed = server.ask("/tensors").body
        assert listed["asset"] == "nlp/tiny:0.0"
        assert [tensor["name"] for tensor in listed["tensors"]] == sorted(header)
        for facts in listed["tensors"]:
            entry = header[facts["name"]]
            begin, end = entry["data_offsets"]
            assert facts["dtype"] == entry["dtype"]
            assert facts["shape"] == entry["shape"]
            assert facts["bytes"] == end - begin
            digest = hashlib.sha256(data[begin:end]).hexdigest()
            assert server.ask(f"/tensors/{facts['name']}") == (200, {**facts, "sha256": digest})
        for number, token in enumerate(VOCABULARY):
            # A dot alone means something else in a URL.
            if token != ".":
                answer = server.ask(f"/tokens/{quote(token, safe='')}")
                assert answer == (200, {"token": token, "id": number})
        assert server.ask("/tensors/none") == (404, {"error": "there is no such tensor"})
        assert server.ask("/tokens/none") == (404, {"error": "there is no such token"})
