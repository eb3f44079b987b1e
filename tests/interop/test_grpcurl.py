"""grpcurl over the unix socket, without a file of ours: what somebody types who has no client."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from assetd.v1 import asset_service_pb2, cache_service_pb2

from tests.conftest import PROGRAM_FOLDERS
from tests.support.daemon import Daemon, Daemons, running_daemons
from tests.support.proxied_store import ProxiedStore, proxied_store
from tests.support.trees import read_tree, write_random_file

pytestmark = [pytest.mark.needs_program("grpcurl"), pytest.mark.xdist_group("grpcurl")]

ASSETS = "assetd.v1.AssetService"
CACHE = "assetd.v1.CacheService"
# grpcurl exits with 64 and the code's number.
NOT_FOUND = 64 + 5
INVALID_ARGUMENT = 64 + 3
UNIMPLEMENTED = 64 + 12


@dataclass(frozen=True)
class Ended:
    """What grpcurl left."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that it printed."""
        decoder, text, messages = json.JSONDecoder(), self.out.strip(), []
        while text:
            message, end = decoder.raw_decode(text)
            messages.append(message)
            text = text[end:].lstrip()
        return messages


def grpcurl(daemon: Daemon, *arguments: str, sent: str = "") -> Ended:
    """Run grpcurl against the daemon; options come before the address, and `sent` by `-d @`."""
    program = shutil.which("grpcurl", path=PROGRAM_FOLDERS) or "grpcurl"
    *options, what = arguments
    command = [program, "-plaintext", *options, daemon.address, *what.split()]
    done = subprocess.run(command, input=sent, capture_output=True, text=True, timeout=60)
    return Ended(done.returncode, done.stdout, done.stderr)


def call(daemon: Daemon, method: str, *requests: Mapping[str, Any]) -> Ended:
    """Call a method; all requests are sent at once."""
    return grpcurl(daemon, "-d", "@", method, sent="\n".join(map(json.dumps, requests)))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a plain directory as its store; each test has assets of its own."""
    folder = tmp_path_factory.mktemp("daemon")
    with running_daemons(folder) as daemons:
        yield daemons(store=folder / "store")


def test_list_names_the_services(daemon: Daemon) -> None:
    """Reflection is on, on a unix socket."""
    services = grpcurl(daemon, "list").out.split()
    assert {ASSETS, CACHE, "grpc.health.v1.Health"} <= set(services)


@pytest.mark.parametrize("file", [asset_service_pb2, cache_service_pb2])
def test_describe_shows_every_method(daemon: Daemon, file: Any) -> None:
    """Of both services, as the contract has them."""
    (service,) = file.DESCRIPTOR.services_by_name.values()
    listed = grpcurl(daemon, f"list {service.full_name}").out.split()
    assert listed == sorted(method.full_name for method in service.methods)
    described = grpcurl(daemon, f"describe {service.full_name}").out
    for method in service.methods:
        assert f"rpc {method.name} ( " in described
        message = grpcurl(daemon, f"describe {method.input_type.full_name}").out
        assert all(field.name in message for field in method.input_type.fields)


def test_health_serves(daemon: Daemon) -> None:
    """As a probe asks."""
    for service in ("", ASSETS, CACHE):
        answer = call(daemon, "grpc.health.v1.Health/Check", {"service": service})
        assert answer.messages == [{"status": "SERVING"}]


def push_steps(name: str, content: bytes) -> list[dict[str, Any]]:
    """All messages of a push, as somebody writes them by hand: without any digest."""
    return [
        {"header": {"spec": name, "kind": "ASSET_KIND_FILE"}},
        {"files": {"files": [{"size_bytes": len(content)}]}},
        {"chunk": {"data": base64.b64encode(content).decode()}},
        {"commit": {}},
    ]


def test_a_small_file_is_pushed_and_fetched(daemon: Daemon) -> None:
    """All messages of the push at once, no digests; the fetch gives the path."""
    content = b"pushed by hand\n"
    pushed = call(daemon, f"{ASSETS}/Push", *push_steps("by/hand", content))
    assert pushed.code == 0, pushed.err
    events = [event for message in pushed.messages for event in message if event != "event_time"]
    assert [event for event in events if event != "progress"] == ["accepted", "wanted", "completed"]
    version = pushed.messages[-1]["completed"]["asset_version"]
    assert (version["version"], version["size_bytes"]) == ("0.0", str(len(content)))

    (resolved,) = call(daemon, f"{ASSETS}/ResolveVersion", {"spec": "by/hand"}).messages
    assert resolved["asset_version"]["digest"] == version["digest"]
    fetched = call(daemon, f"{ASSETS}/Fetch", {"spec": "by/hand"})
    assert Path(fetched.messages[-1]["completed"]["path"]).read_bytes() == content
    (listed,) = call(daemon, f"{ASSETS}/List", {"name_prefix": "by/"}).messages
    assert [entry["in_store"] for entry in listed["entries"]] == [True]
    (status,) = call(daemon, f"{CACHE}/GetCacheStatus", {}).messages
    assert status["assets_dir"] == str(daemon.assets_dir)


def test_a_small_folder_is_pushed(daemon: Daemon) -> None:
    """Two files in one announcement; each chunk names its file."""
    tree = {"config.json": b"{}", "sub/vocab.txt": b"a\nb\n"}
    files = [{"path": path, "size_bytes": len(data)} for path, data in tree.items()]
    chunks = [
        {"chunk": {"path": path, "data": base64.b64encode(data).decode()}}
        for path, data in tree.items()
    ]
    header = {"header": {"spec": "by/folder", "kind": "ASSET_KIND_DIRECTORY"}}
    pushed = call(
        daemon, f"{ASSETS}/Push", header, {"files": {"files": files}}, *chunks, {"commit": {}}
    )
    assert pushed.code == 0, pushed.err
    fetched = call(daemon, f"{ASSETS}/Fetch", {"spec": "by/folder[sub]"})
    path = Path(fetched.messages[-1]["completed"]["path"])
    assert path.name == "sub"
    assert read_tree(path.parent) == tree


@pytest.fixture(scope="module")
def slow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedStore]:
    """An S3 server at the end of a slow line."""
    with proxied_store(tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.mark.needs_program("versitygw")
def test_a_fetch_prints_started_progress_and_completed(
    daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path
) -> None:
    """In this order, and the progress never falls; a repeat is a hit without any."""
    size = 16 << 20
    source = tmp_path / "source"
    write_random_file(source, size, seed=1)
    slow_store.fill(daemons, tmp_path / "filler", {"slow/asset": source})
    slow_store.proxy.rate_bytes_per_second = 16 << 20
    daemon = daemons(store=slow_store.url, variables=slow_store.through_proxy)
    request = {"spec": "slow/asset", "progress_interval": "0.05s"}

    messages = call(daemon, f"{ASSETS}/Fetch", request).messages
    kinds = [kind for message in messages for kind in message if kind != "event_time"]
    assert kinds == ["started", *["progress"] * (len(kinds) - 2), "completed"]
    assert len(kinds) >= 5
    present = [int(message["progress"].get("present_bytes", 0)) for message in messages[1:-1]]
    assert present == sorted(present)
    assert messages[-1]["completed"]["transferred_bytes"] == str(size)
    again = call(daemon, f"{ASSETS}/Fetch", request).messages
    assert [kind for message in again for kind in message if kind != "event_time"] == [
        "started",
        "completed",
    ]


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason"),
    [
        ("Fetch", {"spec": "no/such"}, NOT_FOUND, "ASSET_NOT_FOUND"),
        ("ResolveVersion", {"spec": "no such"}, INVALID_ARGUMENT, "INVALID_NAME"),
        ("List", {"page_token": "x"}, INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"),
        ("Fetch", {"spec": "a", "part_only": True}, INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
def test_an_error_shows_its_reason(
    daemon: Daemon, method: str, request_: dict[str, Any], code: int, reason: str
) -> None:
    """As text in the trailers, for those who cannot read the details, and in the details."""
    failed = grpcurl(daemon, "-v", "-d", json.dumps(request_), f"{ASSETS}/{method}")
    assert failed.code == code
    assert f"assetd-reason: {reason}" in failed.out.splitlines()
    assert f'"reason": "{reason}"' in failed.err


def test_a_push_without_a_commit_creates_nothing(daemon: Daemon) -> None:
    """Half-closing is no commit: the version is not there, and no claim is in its way."""
    steps = push_steps("by/half", b"content")
    failed = call(daemon, f"{ASSETS}/Push", *steps[:-1])
    assert "PUSH_NOT_COMMITTED" in failed.err
    assert call(daemon, f"{ASSETS}/ResolveVersion", {"spec": "by/half"}).code == NOT_FOUND
    done = call(daemon, f"{ASSETS}/Push", *steps)
    assert done.messages[-1]["completed"]["asset_version"]["version"] == "0.0"
