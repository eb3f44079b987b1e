"""`assetd doctor`: what it sees, what it says of it, and when it fails."""

import fcntl
import json
import os
from pathlib import Path

import pytest
from assetd.cli import main
from assetd.cli.doctor import room_finding
from assetd.cli.seen import lease_finding, trace_finding
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import ListResponse
from assetd.v1.cache_service_pb2 import GetCacheStatusResponse, Hold
from google.protobuf.timestamp_pb2 import Timestamp

from tests.clients.python.conftest import Run
from tests.clients.python.scripted import VERSION, Failure, ScriptedDaemon
from tests.clients.python.test_fast_path import put_directory, put_file

NOON = Timestamp(seconds=1_767_268_800)


def states(out: str) -> dict[str, str]:
    """The state of each check."""
    return {line[6:16].strip(): line[:4].strip() for line in out.splitlines()}


@pytest.fixture
def healthy(
    daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ScriptedDaemon:
    """A daemon with which all is well, seen from where its directory is."""
    monkeypatch.setenv("ASSETS_DIR", str(tmp_path))
    path = put_directory(tmp_path, "nlp/ranker", "1.2")
    daemon.status = GetCacheStatusResponse(
        assets_dir=str(tmp_path),
        store="s3://bucket/prefix",
        server_version="0.1.0",
        start_time=NOON,
        store_last_ok_time=NOON,
        version_count=1,
        holds=[Hold(asset_version=VERSION)],
    )
    daemon.list_pages.append(ListResponse())
    daemon.list_pages.append(
        ListResponse(
            entries=[
                ListResponse.Entry(asset_version=VERSION),
                ListResponse.Entry(
                    asset_version=VERSION,
                    cache_state=asset_pb2.CacheState(
                        presence=asset_pb2.CacheState.PRESENCE_PRESENT,
                        path=str(path),
                        relative_path="nlp/ranker/1.2",
                    ),
                ),
            ]
        )
    )
    return daemon


def test_all_is_well(healthy: ScriptedDaemon, run: Run) -> None:
    """A line a check, and exit code 0."""
    ended = run("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert states(ended.out) == dict.fromkeys(
        ["daemon", "store", "assets dir", "lease", "traces", "room", "use"], "ok"
    )
    assert "1 version, 0 pinned, 0 leased, 1 hold, 0 downloads" in ended.out
    assert [request.page_size for request in healthy.list_requests] == [1, 0]


def test_it_prints_json(healthy: ScriptedDaemon, run: Run) -> None:
    """An object a check."""
    healthy.status.warnings.append("no leases here")
    found = [json.loads(line) for line in run("doctor", "--json").out.splitlines()]
    assert found[0]["check"] == "daemon"
    assert found[1] == {"check": "daemon", "state": "warn", "text": "no leases here"}


def test_no_daemon_fails(
    socket: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """And what needs none is checked all the same."""
    monkeypatch.setenv("ASSETS_DIR", str(tmp_path))
    assert main(["--address", f"unix://{socket}", "doctor"]) == 8
    out = capsys.readouterr().out
    assert states(out) == {"daemon": "fail", "assets dir": "ok"}
    assert "assetd serve" in out


def test_a_store_that_does_not_answer_fails(healthy: ScriptedDaemon, run: Run) -> None:
    """With what the daemon says of it, and since when."""
    healthy.list_pages[0] = Failure("PERMISSION_DENIED", "STORE_ACCESS_DENIED", "no s3:ListBucket")
    ended = run("doctor")
    assert ended.code == 8
    assert states(ended.out)["store"] == "fail"
    assert "no s3:ListBucket (STORE_ACCESS_DENIED); last well: 2026-01-01T12:00:00Z" in ended.out


def test_a_store_that_never_answered(healthy: ScriptedDaemon, run: Run) -> None:
    """Is told apart from one that did."""
    healthy.status.ClearField("store_last_ok_time")
    healthy.list_pages[0] = Failure("PERMISSION_DENIED", "STORE_ACCESS_DENIED")
    assert "last well: never since the daemon started" in run("doctor").out


def test_what_somebody_should_look_at_fails_nothing(
    healthy: ScriptedDaemon, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No store, another release, another directory: it may be meant so."""
    monkeypatch.setenv("ASSETS_DIR", str(tmp_path / "nlp"))
    healthy.status.store = ""
    healthy.status.server_version = "9.9.9"
    healthy.list_pages.popleft()
    ended = run("doctor")
    assert ended.code == 0
    found = states(ended.out)
    assert (found["daemon"], found["store"], found["assets dir"]) == ("warn", "warn", "warn")
    assert found["lease"] == "ok"


@pytest.mark.usefixtures("healthy")
def test_without_the_variable_every_fetch_is_a_call(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is worth a word."""
    monkeypatch.delenv("ASSETS_DIR")
    ended = run("doctor")
    assert ended.code == 0
    assert states(ended.out)["assets dir"] == "warn"


@pytest.mark.usefixtures("healthy")
def test_a_directory_that_is_not_there_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And so do two variables that contradict each other."""
    monkeypatch.setenv("ASSETS_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("MODELKIT_ASSETS_DIR", str(tmp_path))
    ended = run("doctor")
    assert ended.code == 8
    told = [line for line in ended.out.splitlines() if "assets dir" in line]
    assert [line[:4] for line in told] == ["fail", "fail"]
    assert "MODELKIT_ASSETS_DIR" in told[0]


def test_a_cache_that_is_not_visible_here_fails(healthy: ScriptedDaemon, run: Run) -> None:
    """A container that lacks the mount; an empty cache says nothing yet."""
    page = healthy.list_pages[1]
    assert isinstance(page, ListResponse)
    page.entries[1].cache_state.path = "/nowhere/nlp/ranker/1.2"
    page.entries[1].cache_state.relative_path = "nlp/none/1.2"
    ended = run("doctor")
    assert (ended.code, states(ended.out)["lease"]) == (8, "fail")
    assert "not visible here" in ended.out
    healthy.list_pages.extend([ListResponse(), ListResponse()])
    ended = run("doctor")
    assert (ended.code, states(ended.out)["cache"]) == (0, "ok")
    healthy.list_pages.extend([ListResponse(), Failure("INTERNAL", "IO_ERROR")])
    ended = run("doctor")
    assert (ended.code, states(ended.out)["cache"]) == (8, "fail")


def test_a_mount_elsewhere_is_tried_where_it_is(healthy: ScriptedDaemon, run: Run) -> None:
    """By the variable of the environment."""
    page = healthy.list_pages[1]
    assert isinstance(page, ListResponse)
    page.entries[1].cache_state.path = "/elsewhere/nlp/ranker/1.2"
    assert states(run("doctor").out)["lease"] == "ok"


def test_what_cannot_be_leased_fails(tmp_path: Path) -> None:
    """Whatever the reason; here somebody replaces it."""
    path = put_file(tmp_path, "nlp/weights", "1.2")
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert lease_finding(path).state == "fail"
    os.close(descriptor)
    assert lease_finding(path).state == "ok"


def test_uses_that_leave_no_trace_are_told(tmp_path: Path) -> None:
    """Where the marker cannot be written, or is not there."""
    path = put_file(tmp_path, "nlp/weights", "1.2")
    assert trace_finding(path).state == "ok"
    (tmp_path / "nlp/weights/.1.2.SUCCESS").unlink()
    assert trace_finding(path).state == "warn"


@pytest.mark.parametrize(
    ("status", "state", "text"),
    [
        (GetCacheStatusResponse(), "ok", "no limit"),
        (GetCacheStatusResponse(limit_bytes=10, disk_free_bytes=99), "ok", "limit 10 bytes"),
        (GetCacheStatusResponse(limit_bytes=10, disk_free_bytes=9), "warn", "before the limit"),
        (GetCacheStatusResponse(limit_bytes=10, used_bytes=10), "warn", "all of it is pinned"),
        (GetCacheStatusResponse(limit_bytes=9, used_bytes=9, evictable_bytes=1), "ok", "evicted"),
    ],
)
def test_room_is_compared(status: GetCacheStatusResponse, state: str, text: str) -> None:
    """What the cache may take, what it takes, and what the disk has."""
    finding = room_finding(status)
    assert finding.state == state
    assert text in finding.text
