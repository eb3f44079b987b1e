"""The commands that tend the cache, in this process: what they print where, and how they end."""

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import FetchRequest, FetchResponse
from assetd.v1.cache_service_pb2 import (
    CacheSelector,
    EvictRequest,
    EvictResponse,
    PinResponse,
    VerifyResponse,
    VerifyResult,
)
from google.protobuf.json_format import Parse

from tests.clients.python.conftest import Ended, Run
from tests.clients.python.scripted import (
    GUARD_SECONDS,
    VERSION,
    Context,
    Failure,
    OpenFetch,
    ScriptedDaemon,
    all_checked,
    checked,
    checks,
    completed,
    hashed,
    plays,
    progress,
    started,
)

Entry = EvictResponse.Entry


def entry(version: str, outcome: "Entry.Outcome.ValueType", freed_bytes: int = 0) -> Entry:
    """What became of one version."""
    asset_version = asset_pb2.AssetVersion(name="nlp/ranker", version=version)
    return Entry(asset_version=asset_version, outcome=outcome, freed_bytes=freed_bytes)


MIXED = EvictResponse(
    entries=[
        entry("1.2", Entry.OUTCOME_PINNED),
        entry("1.1", Entry.OUTCOME_LEASED),
        entry("1.0", Entry.OUTCOME_EVICTED, 1_200_000),
    ],
    freed_bytes=1_200_000,
)


def test_evict_prints_what_became_of_each(daemon: ScriptedDaemon, run: Run) -> None:
    """A table; the sum beside it."""
    daemon.evicts.append(MIXED)
    ended = run("evict", "--prefix", "nlp/")
    assert (ended.code, ended.err) == (0, "assetd: 1 version evicted, 1.2 MB freed\n")
    assert [line.split() for line in ended.out.splitlines()] == [
        ["ASSET", "VERSION", "OUTCOME", "FREED"],
        ["nlp/ranker", "1.2", "pinned", "0", "bytes"],
        ["nlp/ranker", "1.1", "leased", "0", "bytes"],
        ["nlp/ranker", "1.0", "evicted", "1.2", "MB"],
    ]


def test_evict_says_that_it_could_not_name_all(daemon: ScriptedDaemon, run: Run) -> None:
    """An answer names what it has room for; the sum is of all."""
    daemon.evicts.append(EvictResponse(entries=MIXED.entries, freed_bytes=5_000_000))
    ended = run("evict", "--all")
    assert ended.err == "assetd: 1 version and more evicted, 5.0 MB freed\n"


def test_evict_selects_as_it_is_told(daemon: ScriptedDaemon, run: Run) -> None:
    """One, many or all; and with --dry-run it only says what would be."""
    daemon.evicts.extend([MIXED, MIXED, EvictResponse()])
    assert run("evict", "nlp/ranker:1.0").code == 0
    dry = run("evict", "nlp/ranker:1.0", "--dry-run")
    assert dry.err == "assetd: 1 version would be evicted, 1.2 MB would be freed\n"
    assert run("evict", "--all") == Ended(0, "", "assetd: 0 versions evicted, 0 bytes freed\n")
    assert daemon.evict_requests == [
        EvictRequest(selector=CacheSelector(spec="nlp/ranker:1.0")),
        EvictRequest(selector=CacheSelector(spec="nlp/ranker:1.0"), dry_run=True),
        EvictRequest(selector=CacheSelector(all=True)),
    ]


def test_the_one_version_that_stays_is_a_failure(daemon: ScriptedDaemon, run: Run) -> None:
    """A script that names one wants it gone; one that says what it would do has done it."""
    leased = EvictResponse(entries=[entry("1.2", Entry.OUTCOME_LEASED)])
    daemon.evicts.extend([leased, leased, EvictResponse(), EvictResponse()])
    ended = run("evict", "nlp/ranker:1.2")
    assert ended.code == 8
    assert "leased" in ended.out
    assert run("evict", "nlp/ranker:1.2", "--dry-run").code == 0
    ended = run("evict", "nlp/ranker:1.2")
    assert ended.code == 8
    assert "nlp/ranker:1.2 stays: the store could not give it back" in ended.err
    assert run("evict", "nlp/ranker:1.2", "--json").err == ""


def test_evict_prints_json(daemon: ScriptedDaemon, run: Run) -> None:
    """The whole answer on one line."""
    daemon.evicts.append(MIXED)
    ended = run("evict", "--all", "--json")
    assert (Parse(ended.out, EvictResponse()), ended.err) == (MIXED, "")


@pytest.mark.parametrize("command", ["pin", "unpin"])
def test_pin_and_unpin_print_the_versions(daemon: ScriptedDaemon, run: Run, command: str) -> None:
    """All that are named; a failure does not keep the others from it."""
    daemon.pin_failures["b:0.1"] = Failure("NOT_FOUND", "NOT_CACHED", "b:0.1 is not cached")
    ended = run(command, "a:1.2", "b:0.1", "c:2.0")
    assert ended == Ended(3, "a:1.2\nc:2.0\n", "assetd: b:0.1 is not cached (NOT_CACHED)\n")
    assert [type(request).__name__ for request in daemon.pin_requests] == [
        f"{command.title()}Request"
    ] * 3


def test_pin_prints_json(run: Run) -> None:
    """A line each."""
    lines = run("pin", "a:1.2", "b:0.1", "--json").out.splitlines()
    answers = [Parse(line, PinResponse()) for line in lines]
    assert [answer.asset_version.name for answer in answers] == ["a", "b"]
    assert all(answer.cache_state.pinned for answer in answers)


SOUND = checked("1.3", VerifyResult.OUTCOME_SOUND)
DAMAGED = checked("1.2", VerifyResult.OUTCOME_DAMAGED, "a", "b\x1b/c")
REPAIRED = checked("1.1", VerifyResult.OUTCOME_REPAIRED, "")
UNVERIFIABLE = checked("1.0", VerifyResult.OUTCOME_UNVERIFIABLE)


def test_verify_prints_a_line_for_each_version(daemon: ScriptedDaemon, run: Run) -> None:
    """With the damaged files; and ends with 7 if damage remains."""
    daemon.verifies.append(checks(SOUND, DAMAGED, REPAIRED, UNVERIFIABLE, all_checked(2, 1)))
    assert run("verify", "--all", "--repair") == Ended(
        7,
        "sound  nlp/ranker:1.3\n"
        "damaged  nlp/ranker:1.2  a, b\\x1b/c\n"
        "repaired  nlp/ranker:1.1\n"
        "unverifiable  nlp/ranker:1.0\n",
        "",
    )
    (request,) = daemon.verify_requests
    assert (request.selector.all, request.repair) == (True, True)
    daemon.verifies.append(checks(SOUND, REPAIRED, UNVERIFIABLE, all_checked(2)))
    assert run("verify", "nlp/ranker:1.3").code == 0


def test_verify_shows_how_far_it_is(daemon: ScriptedDaemon, run: Run) -> None:
    """On standard error, if it is asked to."""
    daemon.verifies.append(checks(hashed(15), hashed(100), SOUND, all_checked()))
    ended = run("verify", "--prefix", "nlp/", "--progress", "lines")
    assert ended.err.splitlines() == [
        "assetd: verify 10 % of 100 bytes",
        "assetd: verify 100 % of 100 bytes",
    ]


def test_verify_prints_every_event_as_json(daemon: ScriptedDaemon, run: Run) -> None:
    """A line each, and the same exit code."""
    events = [hashed(15), DAMAGED, all_checked(0, 1)]
    daemon.verifies.append(checks(*events))
    ended = run("verify", "--all", "--json")
    assert [Parse(line, VerifyResponse()) for line in ended.out.splitlines()] == events
    assert (ended.code, ended.err) == (7, "")


def test_verify_tells_what_it_knew_when_it_failed(daemon: ScriptedDaemon, run: Run) -> None:
    """Results that had come are not lost."""
    daemon.verifies.append(checks(SOUND, Failure("DATA_LOSS", "BAD_MANIFEST", "moths")))
    assert run("verify", "--all") == Ended(
        7, "sound  nlp/ranker:1.3\n", "assetd: moths (BAD_MANIFEST)\n"
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file for prefetch, with notes in it."""
    path = tmp_path / "assets.txt"
    path.write_text(
        "# what the servers load\n\n  a:1.2  # pinned\nb the newest\n#c:1.0\nb\nd:0.1[x]\n"
    )
    return path


def by_spec(daemon: ScriptedDaemon, failures: dict[str, Failure], count: int) -> None:
    """Have so many fetches answered with the asset that each names, or its failure."""

    def script(request: FetchRequest, context: Context) -> Iterator[FetchResponse]:
        name = request.spec.partition(":")[0]
        version = asset_pb2.AssetVersion(name=name, version="1.2")
        yield started(version)
        yield progress(50)
        if request.spec in failures:
            failures[request.spec].end(context)
        yield completed(f"/assets/{request.spec}", version)

    daemon.fetches.extend([script] * count)


def test_prefetch_fetches_what_a_file_names(daemon: ScriptedDaemon, run: Run, file: Path) -> None:
    """Each once; notes are passed over; a line each, whichever is first."""
    by_spec(daemon, {}, 3)
    ended = run("prefetch", str(file))
    assert (ended.code, ended.err) == (0, "")
    assert sorted(ended.out.splitlines()) == [
        "a:1.2\t/assets/a:1.2",
        "b\t/assets/b",
        "d:0.1[x]\t/assets/d:0.1[x]",
    ]
    assert not any(request.hold for request in daemon.fetch_requests)


def test_prefetch_goes_on_after_a_failure(daemon: ScriptedDaemon, run: Run, file: Path) -> None:
    """And ends with the highest exit code."""
    failures = {
        "a:1.2": Failure("NOT_FOUND", "VERSION_NOT_FOUND", "no a"),
        "b": Failure("DATA_LOSS", "DIGEST_MISMATCH", "moths in b"),
    }
    by_spec(daemon, failures, 3)
    ended = run("prefetch", str(file), "--parallel", "1", "--progress", "lines")
    assert (ended.code, ended.out) == (7, "d:0.1[x]\t/assets/d:0.1[x]\n")
    lines = [line for line in ended.err.splitlines() if "%" not in line]
    assert sorted(lines) == [
        "assetd: moths in b (DIGEST_MISMATCH)",
        "assetd: no a (VERSION_NOT_FOUND)",
    ]


def test_prefetch_reads_standard_input_and_pins(
    daemon: ScriptedDaemon, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version is held until it is pinned, so that it cannot go between the two."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("a:1\nb:1.2[part]\n"))
    by_spec(daemon, {}, 2)
    ended = run("prefetch", "-", "--pin")
    assert ended.code == 0
    assert all(request.hold for request in daemon.fetch_requests)
    assert sorted(request.spec for request in daemon.pin_requests) == ["a:1.2", "b:1.2"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("# nothing\n"))
    assert run("prefetch", "-") == Ended(0, "", "")


def test_prefetch_pins_no_more_than_versions(
    daemon: ScriptedDaemon, run: Run, tmp_path: Path
) -> None:
    """What has none is told of; nobody is asked to pin `notes.txt:`."""
    (tmp_path / "assets.txt").write_text("notes.txt\n")
    bare = asset_pb2.AssetVersion(name="notes.txt")
    daemon.fetches.append(OpenFetch(started(bare), completed("/assets/notes.txt", bare)))
    assert run("prefetch", str(tmp_path / "assets.txt"), "--pin") == Ended(
        2,
        "",
        "assetd: notes.txt is present, and cannot be pinned: it has no version (INVALID_FIELD)\n",
    )
    assert daemon.pin_requests == []


def test_prefetch_reads_what_an_editor_marked(
    daemon: ScriptedDaemon, run: Run, tmp_path: Path
) -> None:
    """A mark of the encoding is no part of the first spec; another encoding is told."""
    path = tmp_path / "assets.txt"
    path.write_text("a:1.2\n", encoding="utf-8-sig")
    by_spec(daemon, {}, 1)
    assert run("prefetch", str(path)) == Ended(0, "a:1.2\t/assets/a:1.2\n", "")
    path.write_text("a:1.2\n", encoding="utf-16")
    ended = run("prefetch", str(path))
    assert (ended.code, ended.out) == (2, "")
    assert "it is not UTF-8" in ended.err


def test_prefetch_prints_each_answer_as_json(daemon: ScriptedDaemon, run: Run, file: Path) -> None:
    """The last event of each: those before it would be nobody's."""
    by_spec(daemon, {}, 3)
    lines = run("prefetch", str(file), "--json").out.splitlines()
    answers = [Parse(line, FetchResponse()) for line in lines]
    assert sorted(answer.completed.asset_version.name for answer in answers) == ["a", "b", "d"]


def test_prefetch_fetches_several_at_once(daemon: ScriptedDaemon, run: Run, file: Path) -> None:
    """As many as it is told, and no more."""
    together = threading.Barrier(3)

    def script(_: FetchRequest, __: Context) -> Iterator[FetchResponse]:
        together.wait(GUARD_SECONDS)
        yield started()
        yield completed()

    daemon.fetches.extend([script] * 3)
    assert run("prefetch", str(file), "--parallel", "3").code == 0
    under_way: list[str] = []

    def alone(request: FetchRequest, _: Context) -> Iterator[FetchResponse]:
        under_way.append(request.spec)
        yield started()
        assert under_way == [request.spec]
        under_way.clear()
        yield completed()

    daemon.fetches.extend([alone] * 3)
    assert run("prefetch", str(file), "--parallel", "1").code == 0


def test_a_hit_without_a_call_answers_the_commands_too(
    daemon: ScriptedDaemon, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment names the directory; with --json the daemon is asked, which has it."""
    monkeypatch.setenv("ASSETS_DIR", str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.2").write_text("weights")
    (tmp_path / "a/.1.2.SUCCESS").write_text("{}")
    assert run("fetch", "a:1.2") == Ended(0, f"{tmp_path}/a/1.2\n", "")
    daemon.fetches.append(plays(started(), completed(version=VERSION)))
    assert len(run("fetch", "a:1.2", "--json").out.splitlines()) == 2
