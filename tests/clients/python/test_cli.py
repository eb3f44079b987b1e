"""The command line in this process: what it prints where, and how it ends."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd.cli import assetd, main
from assetd.cli.output import EXIT_CODES
from assetd.cli.progress import Lines
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import (
    FetchResponse,
    ListRequest,
    ListResponse,
    PushCompleted,
    PushHeader,
    PushProgress,
    PushRequest,
    PushResponse,
    ResolveVersionResponse,
)
from assetd.v1.cache_service_pb2 import Flight, GetCacheStatusResponse, Hold
from google.protobuf.json_format import Parse
from google.protobuf.timestamp_pb2 import Timestamp

from tests.clients.python.conftest import Ended, Run
from tests.clients.python.scripted import (
    PATH,
    VERSION,
    Context,
    Failure,
    ScriptedDaemon,
    completed,
    plays,
    progress,
    started,
)

# Longer than any patience: a failure is then believed at once.
NOT_NOW_SECONDS = 3600
NOON = Timestamp(seconds=1_767_268_800)
NOON_TEXT = "2026-01-01T12:00:00Z"


def test_fetch_prints_the_path_and_nothing_else(daemon: ScriptedDaemon, run: Run) -> None:
    """`MODEL=$(assetd fetch ...)`; and no progress where nobody watches."""
    daemon.fetches.append(plays(started(), progress(50), completed()))
    assert run("fetch", "nlp/ranker") == Ended(0, f"{PATH}\n", "")


def test_fetch_asks_for_what_its_options_say(daemon: ScriptedDaemon, run: Run) -> None:
    """Every option has its field."""
    daemon.fetches.append(plays(started(), completed()))
    run(
        *("fetch", "nlp/ranker:1", "--freshness", "store_or_cache", "--store-timeout", "2"),
        *("--expected-digest", VERSION.digest, "--verify", "--force-download", "--timeout", "60"),
        *("--include", "*.json", "--include", "a/**", "--exclude", "*.bin", "--part-only"),
    )
    (request,) = daemon.fetch_requests
    assert request.spec == "nlp/ranker:1"
    assert request.freshness == asset_pb2.FRESHNESS_STORE_OR_CACHE
    assert request.store_timeout.seconds == 2
    assert request.expected_digest == VERSION.digest
    assert (request.verify, request.force_download, request.hold) == (True, True, False)
    assert (list(request.include), list(request.exclude)) == (["*.json", "a/**"], ["*.bin"])
    assert request.part_only
    assert request.caller.endswith("]")


@pytest.mark.parametrize("long", ["inf", "1e10", "1e300"])
def test_a_fetch_may_take_for_ever(daemon: ScriptedDaemon, run: Run, long: str) -> None:
    """So may the store, or as good as."""
    daemon.fetches.append(plays(started(), completed()))
    ended = run("fetch", "nlp/ranker", "--timeout", long, "--store-timeout", long)
    assert ended == Ended(0, f"{PATH}\n", "")
    (request,) = daemon.fetch_requests
    assert request.store_timeout.seconds == 10**9


def test_fetch_prints_every_event_as_json(daemon: ScriptedDaemon, run: Run) -> None:
    """A line each, in the form that every protobuf library reads back."""
    events = [started(), progress(50), completed()]
    daemon.fetches.append(plays(*events))
    ended = run("fetch", "nlp/ranker", "--json")
    assert [Parse(line, FetchResponse()) for line in ended.out.splitlines()] == events
    assert json.loads(ended.out.splitlines()[2])["completed"]["relativePath"] == "nlp/ranker/1.2"
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("command", ["fetch", "resolve"])
def test_an_older_version_than_asked_for_is_told(
    daemon: ScriptedDaemon, run: Run, command: str
) -> None:
    """On standard error: a script still gets its answer."""
    fallback = asset_pb2.RESOLUTION_FALLBACK
    if command == "fetch":
        daemon.fetches.append(plays(started(resolution=fallback), completed()))
    daemon.resolves.append(ResolveVersionResponse(asset_version=VERSION, resolution=fallback))
    ended = run(command, "nlp/ranker")
    assert ended.code == 0
    assert ended.out in {f"{PATH}\n", "nlp/ranker:1.2\n"}
    assert ended.err == (
        "assetd: the store did not answer: this is the newest version in the cache\n"
    )


def test_progress_by_lines_is_a_line_each_tenth(daemon: ScriptedDaemon, run: Run) -> None:
    """For logs; standard output stays as it is."""
    figures = [progress(p) for p in (0, 1, 9, 10, 19, 57)]
    daemon.fetches.append(plays(started(), *figures, completed()))
    ended = run("fetch", "nlp/ranker", "--progress", "lines")
    assert ended.out == f"{PATH}\n"
    assert ended.err.splitlines() == [
        f"assetd: nlp/ranker downloading {percent} % of 100 bytes" for percent in (0, 10, 50)
    ]


def test_silence_of_the_store_is_told(daemon: ScriptedDaemon, run: Run) -> None:
    """Somebody who waits sees whether anything still comes."""
    daemon.fetches.append(plays(started(), progress(10, silent_seconds=7), completed()))
    ended = run("fetch", "nlp/ranker", "--progress", "lines")
    assert ended.err == ("assetd: nlp/ranker downloading, no byte for 7 s 10 % of 100 bytes\n")


@pytest.mark.parametrize("option", [["-q"], ["--progress", "none"], ["--json"]])
def test_progress_can_be_silenced(daemon: ScriptedDaemon, run: Run, option: list[str]) -> None:
    """Also for a program that reads the events."""
    daemon.fetches.append(plays(started(), progress(50), completed()))
    assert run("fetch", "nlp/ranker", *option).err == ""


def test_lines_are_for_what_has_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an unknown size nor none is divided by."""
    lines = Lines()
    lines.show("nlp/ranker", "resolving", 0, None)
    lines.show("nlp/ranker", "downloading", 0, 0)
    lines.close(succeeded=True)
    assert capsys.readouterr().err == ""


def test_push_prints_the_version(daemon: ScriptedDaemon, run: Run, tmp_path: Path) -> None:
    """As a spec, which a script hands on."""
    (tmp_path / "weights").write_bytes(b"w" * 100)
    weights = str(tmp_path / "weights")
    assert run("push", weights, "nlp/weights:1") == Ended(0, "nlp/weights:1.3\n", "")
    run("push", weights, "nlp/weights", "--new")
    run("push", weights, "nlp/weights", "--update", "--bump-major")
    modes = [(r.header.mode, r.header.bump) for r in daemon.push_records]
    assert modes == [
        (PushHeader.MODE_UNSPECIFIED, PushHeader.BUMP_UNSPECIFIED),
        (PushHeader.MODE_NEW, PushHeader.BUMP_UNSPECIFIED),
        (PushHeader.MODE_UPDATE, PushHeader.BUMP_MAJOR),
    ]


def test_push_shows_its_phases(daemon: ScriptedDaemon, run: Run, tmp_path: Path) -> None:
    """A row each: what is hashed, what the store has, and that it is being committed."""

    def script(requests: Iterator[PushRequest], _: Context) -> Iterator[PushResponse]:
        next(requests)
        yield told(PushProgress.PHASE_RECEIVING, received=90, stored=30)
        yield told(PushProgress.PHASE_STORING, received=100, stored=70)
        yield told(PushProgress.PHASE_COMMITTING, received=100, stored=100)
        yield told(PushProgress.PHASE_COMMITTING, received=100, stored=100)
        yield PushResponse(completed=PushCompleted(asset_version=VERSION))

    daemon.pushes.append(script)
    (tmp_path / "weights").write_bytes(b"w" * 100)
    ended = run("push", str(tmp_path / "weights"), "nlp/weights", "--progress", "lines")
    assert ended.err.splitlines() == [
        "assetd: hash 100 % of 100 bytes",
        "assetd: upload 30 % of 100 bytes",
        "assetd: upload 70 % of 100 bytes",
        "assetd: upload 100 % of 100 bytes",
        "assetd: commit",
    ]


def told(phase: PushProgress.Phase.ValueType, *, received: int, stored: int) -> PushResponse:
    """How far the daemon says that a push is."""
    figures = PushProgress(phase=phase, received_bytes=received, stored_bytes=stored)
    return PushResponse(progress=figures)


def test_push_prints_every_event_as_json(run: Run, tmp_path: Path) -> None:
    """A line each."""
    (tmp_path / "weights").write_bytes(b"w")
    ended = run("push", str(tmp_path / "weights"), "nlp/weights", "--json")
    events = [Parse(line, PushResponse()) for line in ended.out.splitlines()]
    assert [event.WhichOneof("event") for event in events] == ["accepted", "wanted", "completed"]


def test_resolve_prints_the_version(daemon: ScriptedDaemon, run: Run) -> None:
    """As a spec; a path that has no version stays what it is."""
    answers = [
        ResolveVersionResponse(asset_version=VERSION),
        ResolveVersionResponse(asset_version=asset_pb2.AssetVersion(name="nlp/notes.txt")),
        ResolveVersionResponse(asset_version=VERSION, resolution=asset_pb2.RESOLUTION_EXACT),
    ]
    daemon.resolves.extend(answers)
    assert run("resolve", "nlp/ranker:1", "--freshness", "cache").out == "nlp/ranker:1.2\n"
    assert daemon.resolve_requests[0].freshness == asset_pb2.FRESHNESS_CACHE
    assert run("resolve", "nlp/notes.txt").out == "nlp/notes.txt\n"
    (line,) = run("resolve", "nlp/ranker:1.2", "--json").out.splitlines()
    assert Parse(line, ResolveVersionResponse()) == answers[2]


def test_resolve_tells_more_when_asked(daemon: ScriptedDaemon, run: Run) -> None:
    """A line for all that is known; what is not known has none."""
    full = asset_pb2.AssetVersion()
    full.CopyFrom(VERSION)
    full.push_time.CopyFrom(NOON)
    full.pushed_by = "ci"
    full.labels.update({"team": "search", "note": "\x1b[31m"})
    state = asset_pb2.CacheState(presence=asset_pb2.CacheState.PRESENCE_PRESENT)
    daemon.resolves.append(ResolveVersionResponse(asset_version=full, cache_state=state))
    bare = asset_pb2.AssetVersion(name="nlp/ranker", version="1.1")
    daemon.resolves.append(ResolveVersionResponse(asset_version=bare))
    assert run("resolve", "nlp/ranker", "--long").out.splitlines() == [
        "version  nlp/ranker:1.2",
        "kind     directory",
        "files    2",
        "size     100 bytes",
        "digest   " + VERSION.digest,
        "pushed   " + NOON_TEXT,
        "by       ci",
        "labels   note=\\x1b[31m",
        "         team=search",
        "cached   yes",
    ]
    assert run("resolve", "nlp/ranker:1.1", "-l").out.splitlines() == [
        "version  nlp/ranker:1.1",
        "cached   ?",
    ]


def listing() -> ListResponse:
    """A page with all that an entry may be."""
    presence = asset_pb2.CacheState.Presence
    states = [
        asset_pb2.CacheState(presence=presence.Value(f"PRESENCE_{name}"))
        for name in ("PRESENT", "PARTIAL", "ABSENT", "UNSPECIFIED")
    ]
    full = asset_pb2.AssetVersion()
    full.CopyFrom(VERSION)
    full.push_time.CopyFrom(NOON)
    full.pushed_by = "ci-7"
    full.labels.update({"git": "a1b2", "by": "ci"})
    bare = asset_pb2.AssetVersion(name="[red]nlp/x\x1b[31m", version="0.1")
    return ListResponse(
        entries=[
            ListResponse.Entry(asset_version=full, cache_state=states[0], in_store=True),
            ListResponse.Entry(asset_version=full, cache_state=states[1], in_store=False),
            ListResponse.Entry(asset_version=full, cache_state=states[2]),
            ListResponse.Entry(asset_version=bare, cache_state=states[3]),
        ]
    )


def test_list_prints_a_table(daemon: ScriptedDaemon, run: Run) -> None:
    """A line a version; `?` is what is not known, and no name steers the terminal."""
    daemon.list_pages.append(listing())
    ended = run("list", "nlp/", "--scope", "store", "--latest")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split() for line in ended.out.splitlines()] == [
        ["ASSET", "VERSION", "CACHED", "STORE"],
        ["nlp/ranker", "1.2", "yes", "yes"],
        ["nlp/ranker", "1.2", "partial", "no"],
        ["nlp/ranker", "1.2", "no", "?"],
        ["[red]nlp/x\\x1b[31m", "0.1", "?", "?"],
    ]
    assert daemon.list_requests == [
        ListRequest(
            name_prefix="nlp/",
            scope=ListRequest.SCOPE_STORE,
            latest_only=True,
            view=ListRequest.VIEW_BASIC,
        )
    ]


def test_list_tells_more_when_asked(daemon: ScriptedDaemon, run: Run) -> None:
    """What only a manifest knows, from all pages, each version on one line."""
    first, second = listing(), listing()
    first.next_page_token = "more"
    daemon.list_pages.extend([first, second])
    lines = [line.split("  ") for line in run("list", "--long").out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0][4:] == ["SIZE", "FILES", "PUSHED", "BY", "DIGEST", "LABELS"]
    known = ["100 bytes", "2", NOON_TEXT, "ci-7", VERSION.digest, "by=ci git=a1b2"]
    assert cells[1][4:] == known
    assert cells[4][4:] == ["?", "?", "?", "?", "?"]
    assert len(cells) == 9
    assert daemon.list_requests[0].view == ListRequest.VIEW_FULL


def test_list_says_what_it_could_not_see(daemon: ScriptedDaemon, run: Run) -> None:
    """Nobody takes half a list for the whole; an empty one has no titles either."""
    daemon.list_pages.append(ListResponse(unreachable=[asset_pb2.SOURCE_STORE]))
    ended = run("list")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "assetd: the store could not be asked: versions may be missing here\n"


def test_list_prints_each_page_as_json(daemon: ScriptedDaemon, run: Run) -> None:
    """As it comes."""
    first, second = listing(), listing()
    first.next_page_token = "more"
    daemon.list_pages.extend([first, second])
    lines = run("list", "--json").out.splitlines()
    assert [Parse(line, ListResponse()) for line in lines] == [first, second]


STATUS = GetCacheStatusResponse(
    assets_dir="/assets",
    used_bytes=3_000_000,
    limit_bytes=10_000_000,
    reserved_bytes=1_000,
    evictable_bytes=2_000_000,
    disk_free_bytes=88_000_000_000,
    version_count=12,
    pinned_count=2,
    leased_count=1,
    flights=[
        Flight(
            asset_version=VERSION,
            progress=asset_pb2.FetchProgress(present_bytes=50, total_bytes=100),
            waiter_count=3,
        )
    ],
    holds=[
        Hold(asset_version=VERSION, caller="ranker-server", start_time=NOON),
        Hold(asset_version=VERSION, start_time=NOON),
    ],
    store="s3://bucket/prefix",
    store_last_ok_time=NOON,
    warnings=["no leases here"],
    server_version="0.1.0",
    start_time=NOON,
)


def test_status_prints_a_summary(daemon: ScriptedDaemon, run: Run) -> None:
    """What an operator wants to know, in words and sizes for people."""
    daemon.status = STATUS
    ended = run("status")
    assert (ended.code, ended.err) == (0, "")
    assert [" ".join(line.split()) for line in ended.out.splitlines()] == [
        f"daemon assetd 0.1.0 at {daemon.address}",
        f"up since {NOON_TEXT}",
        "assets dir /assets",
        "3.0 MB used, limit 10.0 MB",
        "2.0 MB could be evicted",
        "1.0 kB reserved for downloads",
        "88.0 GB free on the disk",
        "versions 12",
        "2 pinned, 1 leased",
        "store s3://bucket/prefix",
        f"last answered {NOON_TEXT}",
        "download nlp/ranker:1.2 50 bytes of 100 bytes, 3 waiting",
        f"hold nlp/ranker:1.2 by ranker-server since {NOON_TEXT}",
        f"hold nlp/ranker:1.2 by unknown since {NOON_TEXT}",
        "warning no leases here",
    ]


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("", ["store none"]),
        ("file:///s", ["store file:///s", "has not answered since the daemon started"]),
    ],
)
def test_status_tells_what_there_is_not(
    daemon: ScriptedDaemon, run: Run, store: str, expected: list[str]
) -> None:
    """Neither a limit nor a store, or one that has not answered yet."""
    daemon.status = GetCacheStatusResponse(store=store)
    lines = [" ".join(line.split()) for line in run("status").out.splitlines()]
    assert "0 bytes used, no limit" in lines
    assert lines[lines.index(expected[0]) :] == expected


def test_status_prints_json(daemon: ScriptedDaemon, run: Run) -> None:
    """The whole answer on one line."""
    daemon.status = STATUS
    (line,) = run("status", "--json").out.splitlines()
    assert Parse(line, GetCacheStatusResponse()) == STATUS


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        *EXIT_CODES.items(),
        ("UNIMPLEMENTED", 1),
        ("INTERNAL", 1),
        ("PERMISSION_DENIED", 1),
        ("UNAUTHENTICATED", 1),
        ("DEADLINE_EXCEEDED", 1),
        ("UNKNOWN", 1),
    ],
)
def test_the_exit_code_tells_the_kind_of_failure(
    daemon: ScriptedDaemon, run: Run, code: str, exit_code: int
) -> None:
    """By the code, so that a reason of a newer daemon has one too."""
    failure = Failure(code, "NEW_REASON", "so it is", retry_after_seconds=NOT_NOW_SECONDS)
    daemon.resolves.append(failure)
    expected = Ended(exit_code, "", "assetd: so it is (NEW_REASON)\n")
    assert run("resolve", "nlp/ranker") == expected


def test_the_exit_codes_are_those_that_are_promised() -> None:
    """Scripts switch on them."""
    assert EXIT_CODES == {
        "INVALID_ARGUMENT": 2,
        "NOT_FOUND": 3,
        "ALREADY_EXISTS": 4,
        "ABORTED": 4,
        "UNAVAILABLE": 5,
        "RESOURCE_EXHAUSTED": 6,
        "DATA_LOSS": 7,
        "FAILED_PRECONDITION": 8,
    }


def test_an_error_is_one_line(daemon: ScriptedDaemon, run: Run) -> None:
    """Whatever a message holds, it neither leaves the line nor steers the terminal."""
    daemon.resolves.append(Failure("NOT_FOUND", "ASSET_NOT_FOUND", "no \x1b[31masset\nhére"))
    ended = run("resolve", "nlp/ranker")
    assert ended.err == "assetd: no \\x1b[31masset\\nhére (ASSET_NOT_FOUND)\n"


def test_an_error_is_json_when_asked(daemon: ScriptedDaemon, run: Run) -> None:
    """With all that a program needs, and still on standard error."""
    daemon.resolves.append(
        Failure("NOT_FOUND", "ASSET_NOT_FOUND", "no such asset", metadata={"name": "nlp/ranker"})
    )
    ended = run("resolve", "nlp/ranker", "--json")
    assert (ended.code, ended.out) == (3, "")
    assert json.loads(ended.err) == {
        "error": {
            "code": "NOT_FOUND",
            "reason": "ASSET_NOT_FOUND",
            "message": "no such asset",
            "metadata": {"name": "nlp/ranker"},
        }
    }


def test_no_daemon_says_how_to_start_one(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with the address, the cause and the command."""
    address = f"unix://{socket}"
    assert main(["--address", address, "status"]) == 5
    assert capsys.readouterr().err == (
        f"assetd: no assetd daemon answers at {address} (No such file or directory): start one "
        "with `assetd serve`, or name another address by ASSETD_ADDRESS (UNAVAILABLE)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--address", "10.0.0.1:7070", "status"], "cannot dial '10.0.0.1:7070'"),
        (["fetch"], "Missing argument 'SPEC'"),
        (["fetch", "nlp/ranker", "--freshness", "newest"], "'newest' is not one of"),
        (["fetch", "nlp/ranker", "--timeout", "0"], "0.0 is not in the range x>0"),
        (["fetch", "nlp/ranker", "--timeout", "nan"], "nan is no number of seconds"),
        (["fetch", "nlp/ranker", "--store-timeout", "nan"], "nan is no number of seconds"),
        (["push", "/", "nlp/ranker", "--timeout", "nan"], "nan is no number of seconds"),
        (["push", "/nowhere/at/all", "nlp/ranker"], "'/nowhere/at/all' does not exist"),
        (["push", "/", "nlp/ranker", "--new", "--update"], "exclude each other"),
        (["push", "", "nlp/ranker", "--staged"], "PATH is empty"),
        (["nothing"], "No such command 'nothing'"),
        (["evict"], "say which versions"),
        (["evict", "nlp/ranker:1.2", "--all"], "say which versions"),
        (["verify", "--prefix", "nlp/", "--all"], "say which versions"),
        (["pin"], "Missing argument 'SPEC...'"),
        (["prefetch", "/nowhere/at/all"], "No such file or directory"),
        (["prefetch", "-", "--parallel", "0"], "0 is not in the range"),
        (["run", "nlp/ranker"], "a command is missing"),
        (["run", "nlp/ranker", "--"], "a command is missing"),
        (["run", "--", "true"], "Missing argument 'SPEC..."),
        (["run", "nlp/ranker", "--", "no-such-program"], "there is no program 'no-such-program'"),
    ],
)
def test_a_mistake_in_the_usage_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """With exit code 2, before anything is done."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch", "\udcff"],
        ["fetch", "nlp/ranker", "--include", "\udcff"],
        ["list", "\udcff"],
        ["pin", "\udcff"],
        ["push", os.devnull, "nlp/ranker", "--staged", "--label", "by=\udcff"],
        ["push", "s3://bucket/\udcff", "nlp/ranker"],
        ["--address", "unix:///\udcff", "status"],
    ],
)
def test_an_argument_that_is_no_text_is_told(run: Run, arguments: list[str]) -> None:
    """Python hands on bytes that are not UTF-8 in a form that nobody can send."""
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("assetd: ")
    assert ended.err.endswith("\\udcff is not UTF-8\n")


def test_what_cannot_be_pushed_is_told(run: Run, tmp_path: Path) -> None:
    """Before anything is sent, with the daemon's own exit codes."""
    (tmp_path / "link").symlink_to("nowhere")
    assert run("push", str(tmp_path), "nlp/ranker") == Ended(
        8,
        "",
        f"assetd: {tmp_path}/link is a symlink: a push takes plain files and folders; "
        "put a copy in its place (UNSUPPORTED_FILE)\n",
    )


@pytest.mark.parametrize("command", assetd.commands)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """With an example, but for the one that takes nothing; no daemon needed."""
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert ("Examples:" in out) == (command != "status")
    assert "\b" not in out


def test_the_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them."""
    assert main(["-h"]) == 0
    out = capsys.readouterr().out
    for code in (0, 1, *EXIT_CODES.values(), 130):
        assert f"  {code} " in out


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    """So that a report can name it."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("assetd 0.")


def test_serve_without_the_server_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client installs without it."""
    # As Python itself marks a package that must not be found.
    monkeypatch.setitem(sys.modules, "assetd_server", None)
    monkeypatch.delitem(sys.modules, "assetd_server.__main__", raising=False)
    assert main(["serve"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'assetd[server]'" in err
