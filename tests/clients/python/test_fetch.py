"""Fetch: what a caller gets, however the daemon and the way to it behave."""

import math
import os
from pathlib import Path

import assetd
import pytest
from assetd import (
    Asset,
    AssetKind,
    Client,
    Freshness,
    InternalError,
    Resolution,
    RetryPolicy,
    Source,
    Verification,
)
from assetd._address import find_address
from assetd._connection import Connection
from assetd._convert import word
from assetd._fetch import Fetch
from assetd._holds import Holds
from assetd._progress import Attempts
from assetd._retry import Deadline
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import FetchRequest, FetchResponse, ResolveVersionResponse
from google.protobuf.descriptor import EnumDescriptor
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.python.conftest import EAGER
from tests.clients.python.scripted import (
    CUT,
    GUARD_SECONDS,
    VERSION,
    Failure,
    OpenFetch,
    ScriptedDaemon,
    completed,
    plays,
    progress,
    started,
)


def test_a_fetch_returns_where_the_version_is(daemon: ScriptedDaemon, client: Client) -> None:
    """All that the daemon said, in Python's words."""
    daemon.fetches.append(plays(started(), progress(50), completed()))
    asset = client.fetch("nlp/ranker")
    assert asset == Asset(
        path=Path("/assets/nlp/ranker/1.2"),
        relative_path="nlp/ranker/1.2",
        name="nlp/ranker",
        version="1.2",
        kind=AssetKind.DIRECTORY,
        digest=VERSION.digest,
        size_bytes=100,
        file_count=2,
        resolution=Resolution.STORE,
        source=Source.STORE,
        verification=Verification.CHECKSUM,
        transferred_bytes=90,
        joined=False,
        reused_bytes=10,
        elapsed_seconds=1.5,
    )
    assert not asset.is_held


def test_what_is_not_known_is_none(daemon: ScriptedDaemon, client: Client) -> None:
    """Unset is never zero."""
    version = asset_pb2.AssetVersion(name="nlp/ranker", version="1.2")
    daemon.fetches.append(plays(started(version), completed(version=version)))
    asset = client.fetch("nlp/ranker")
    assert (asset.size_bytes, asset.file_count, asset.digest) == (None, None, "")


def test_an_asset_is_a_path(daemon: ScriptedDaemon, client: Client, tmp_path: Path) -> None:
    """Whatever takes a path takes an asset."""
    file = tmp_path / "weights"
    file.write_bytes(b"1234")
    daemon.fetches.append(plays(started(), completed(path=str(file))))
    with client.fetch("nlp/ranker") as asset:
        with open(asset, "rb") as opened:  # noqa: PTH123 - the point of it
            assert opened.read() == b"1234"
        assert os.fspath(asset) == str(asset) == str(file)
        assert Path(asset) == asset.path == file


def test_a_request_says_what_was_asked(daemon: ScriptedDaemon, client: Client) -> None:
    """Every argument has its field; what was not given is not sent."""
    daemon.fetches.extend([plays(started(), completed())] * 2)
    client.fetch("nlp/ranker")
    client.fetch(
        "nlp/ranker:1[vocab]",
        freshness="store_or_cache",
        store_timeout=2.5,
        expected_digest=VERSION.digest,
        verify=True,
        force_download=True,
        progress_interval=0.05,
    )
    plain, full = daemon.fetch_requests
    assert str(plain) == 'spec: "nlp/ranker"\ncaller: "test"\n'
    assert full.spec == "nlp/ranker:1[vocab]"
    assert full.freshness == asset_pb2.FRESHNESS_STORE_OR_CACHE
    assert full.store_timeout.ToTimedelta().total_seconds() == 2.5
    assert full.expected_digest == VERSION.digest
    assert (full.verify, full.force_download, full.hold) == (True, True, False)
    assert full.progress_interval.ToTimedelta().total_seconds() == 0.05


def test_an_unknown_freshness_is_refused_before_the_call(client: Client) -> None:
    """A slip of the pen does not become the daemon's default."""
    with pytest.raises(ValueError, match="newest"):
        client.fetch("nlp/ranker", freshness="newest")


@pytest.mark.parametrize(
    ("words", "wire", "prefix"),
    [
        (Freshness, asset_pb2.Freshness, "FRESHNESS_"),
        (Resolution, asset_pb2.Resolution, "RESOLUTION_"),
        (Source, asset_pb2.Source, "SOURCE_"),
        (Verification, asset_pb2.Verification, "VERIFICATION_"),
    ],
)
def test_the_words_are_the_contracts(words: type[Source], wire: type, prefix: str) -> None:
    """A value that is added to the contract cannot be forgotten here."""
    descriptor: EnumDescriptor = wire.DESCRIPTOR  # type: ignore[attr-defined]
    contract = {name.removeprefix(prefix) for name in descriptor.values_by_name}
    assert {word.name for word in words} | {"UNSPECIFIED"} == contract


def test_a_word_of_a_newer_daemon_is_unspecified() -> None:
    """A new value breaks no older client."""
    number = asset_pb2.Source.ValueType(99)
    assert word(Source, asset_pb2.Source.Name, number, "SOURCE_") is Source.UNSPECIFIED


def test_progress_is_reported_and_a_hit_has_none(daemon: ScriptedDaemon, client: Client) -> None:
    """`on_progress` sees the download; `on_event` sees all of the fetch."""
    daemon.fetches.append(plays(started(), progress(10), progress(60), completed()))
    daemon.fetches.append(plays(started(), completed(source=asset_pb2.SOURCE_CACHE)))
    seen: list[int] = []
    events: list[str | None] = []
    for _ in range(2):
        client.fetch(
            "nlp/ranker",
            on_progress=lambda p: seen.append(p.present_bytes),
            on_event=lambda e: events.append(e.WhichOneof("event")),
        )
    assert seen == [10, 60]
    assert events == ["started", "progress", "progress", "completed", "started", "completed"]


def test_a_cut_fetch_is_joined_again(daemon: ScriptedDaemon, client: Client) -> None:
    """For the version that it had begun with, and as one fetch: one `started`, one `completed`."""
    newest = asset_pb2.AssetVersion(name="nlp/ranker", version="1.9")
    daemon.fetches.append(plays(started(), progress(10), CUT))
    daemon.fetches.append(plays(CUT))
    daemon.fetches.append(
        plays(started(newest, asset_pb2.RESOLUTION_EXACT), progress(60), completed())
    )
    events: list[FetchResponse] = []
    asset = client.fetch("nlp/ranker[vocab]", on_event=events.append)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "progress", "progress", "completed"]
    assert [request.spec for request in daemon.fetch_requests] == [
        "nlp/ranker[vocab]",
        "nlp/ranker:1.2[vocab]",
        "nlp/ranker:1.2[vocab]",
    ]
    assert asset.resolution is Resolution.STORE


def test_a_restart_in_the_middle_is_survived(daemon: ScriptedDaemon, client: Client) -> None:
    """A daemon that really goes away, and really comes back."""
    first = OpenFetch(started(), progress(10))
    daemon.fetches.append(first)
    daemon.fetches.append(plays(started(), completed()))

    def restart(_: object) -> None:
        daemon.stop()
        daemon.start()

    client.fetch("nlp/ranker", on_progress=restart)
    assert len(daemon.fetch_requests) == 2


def test_a_path_without_a_version_is_joined_as_it_is(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """Without a store, a path that is no asset is answered with an empty version."""
    version = asset_pb2.AssetVersion(name="nlp/notes.txt")
    daemon.fetches.append(plays(started(version), CUT))
    daemon.fetches.append(plays(started(version), completed(version=version)))
    client.fetch("nlp/notes.txt")
    assert [request.spec for request in daemon.fetch_requests] == ["nlp/notes.txt"] * 2


def test_progress_never_falls_within_an_attempt(daemon: ScriptedDaemon, client: Client) -> None:
    """Where a successor found less than was there, a new attempt begins."""
    daemon.fetches.append(plays(started(), progress(10), progress(50), CUT))
    daemon.fetches.append(
        plays(
            started(),
            progress(30),
            progress(60),
            progress(5, attempt=2),
            completed(),
        )
    )
    seen: list[tuple[int, int]] = []
    client.fetch("nlp/ranker", on_progress=lambda p: seen.append((p.attempt, p.present_bytes)))
    assert seen == [(1, 10), (1, 50), (2, 30), (2, 60), (3, 5)]


all_figures = st.builds(
    asset_pb2.FetchProgress,
    attempt=st.integers(0, 3),
    present_bytes=st.integers(0, 5),
    present_files=st.integers(0, 3),
)


@given(st.lists(st.lists(all_figures)))
def test_attempts_are_numbered_whatever_comes(
    streams: list[list[asset_pb2.FetchProgress]],
) -> None:
    """No daemon can make figures fall within an attempt; every figure comes through as it is."""
    attempts = Attempts()
    last = asset_pb2.FetchProgress()
    for stream in streams:
        attempts.begin_stream()
        # Within a stream it is the daemon's own attempt that the figures may not fall in.
        earlier: asset_pb2.FetchProgress | None = None
        for figures in stream:
            lies = (
                earlier is not None and figures.attempt <= earlier.attempt and fell(last, figures)
            )
            earlier = figures
            if lies:
                with pytest.raises(InternalError):
                    attempts.number(figures)
                return
            numbered = attempts.number(figures)
            assert numbered.attempt >= last.attempt
            assert numbered.attempt > last.attempt or not fell(last, numbered)
            assert (numbered.present_bytes, numbered.present_files) == (
                figures.present_bytes,
                figures.present_files,
            )
            last = numbered


def fell(before: asset_pb2.FetchProgress, now: asset_pb2.FetchProgress) -> bool:
    """Whether a figure is lower than it was."""
    return now.present_bytes < before.present_bytes or now.present_files < before.present_files


def test_a_daemon_whose_figures_fall_is_not_believed(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """It breaks a promise: the fetch ends as INTERNAL, and says what fell."""
    daemon.fetches.append(plays(started(), progress(50), progress(49), completed()))
    with pytest.raises(InternalError, match="fell from 50 to 49 bytes") as caught:
        client.fetch("nlp/ranker")
    assert caught.value.metadata["present_bytes"] == "49"
    assert caught.value.metadata["earlier_present_bytes"] == "50"


def test_a_stream_that_something_on_the_way_resets_is_joined_again(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """INTERNAL without a reason is no word of the daemon's; with one it is, and final."""
    daemon.fetches.append(plays(started(), progress(10), Failure("INTERNAL")))
    daemon.fetches.append(plays(Failure("INTERNAL")))
    daemon.fetches.append(plays(started(), completed()))
    assert client.fetch("nlp/ranker").version == "1.2"
    daemon.fetches.append(plays(started(), Failure("INTERNAL", "IO_ERROR")))
    with pytest.raises(assetd.IoError):
        client.fetch("nlp/ranker")
    daemon.resolves.extend([Failure("INTERNAL"), ResolveVersionResponse(asset_version=VERSION)])
    assert client.resolve("nlp/ranker").asset_version == VERSION


def test_a_total_that_was_known_stays_known(daemon: ScriptedDaemon, client: Client) -> None:
    """Also while the successor of a daemon still looks."""
    looking = FetchResponse(
        progress=asset_pb2.FetchProgress(phase=asset_pb2.FETCH_PHASE_RESOLVING, attempt=1)
    )
    daemon.fetches.append(plays(started(), progress(50), CUT))
    daemon.fetches.append(plays(looking, started(), progress(60), completed()))
    seen: list[tuple[int, int, int]] = []
    client.fetch(
        "nlp/ranker",
        on_progress=lambda p: seen.append((p.attempt, p.present_bytes, p.total_bytes)),
    )
    assert seen == [(1, 50, 100), (2, 0, 100), (2, 60, 100)]


def test_a_store_that_stays_down_is_believed(daemon: ScriptedDaemon) -> None:
    """However well each try begins."""
    down = Failure("UNAVAILABLE", "STORE_UNAVAILABLE")
    tries = 1000
    daemon.fetches.extend([plays(started(), progress(10), down)] * tries)
    policy = RetryPolicy(patience_seconds=0.05, first_delay_seconds=0.01, max_delay_seconds=0.01)
    with (
        Client(daemon.address, retry=policy) as client,
        pytest.raises(assetd.StoreUnavailableError),
    ):
        client.fetch("nlp/ranker")
    assert 1 < len(daemon.fetch_requests) < tries
    daemon.fetches.clear()


def test_a_failure_is_not_repeated(daemon: ScriptedDaemon, client: Client) -> None:
    """Only UNAVAILABLE is."""
    daemon.fetches.append(plays(Failure("NOT_FOUND", "VERSION_NOT_FOUND")))
    with pytest.raises(assetd.VersionNotFoundError):
        client.fetch("nlp/ranker:7")
    assert len(daemon.fetch_requests) == 1


def test_what_is_here_is_here(daemon: ScriptedDaemon, client: Client) -> None:
    """After `completed` nothing can fail any more."""
    daemon.fetches.append(plays(started(), completed(), Failure("INTERNAL", "INTERNAL")))
    assert client.fetch("nlp/ranker").version == "1.2"


def test_a_daemon_that_forgets_to_answer_is_a_defect(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """No made-up asset, and no repeat."""
    daemon.fetches.append(plays(started()))
    with pytest.raises(assetd.InternalError):
        client.fetch("nlp/ranker")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_ends_a_fetch_ends_its_call(
    daemon: ScriptedDaemon, client: Client, error: type[BaseException]
) -> None:
    """Ctrl-C and a faulty callback leave no stream behind."""
    fetch = OpenFetch(started(), progress(10))
    daemon.fetches.append(fetch)

    def fail(_: object) -> None:
        raise error

    with pytest.raises(error):
        client.fetch("nlp/ranker", on_progress=fail)
    assert fetch.left.wait(GUARD_SECONDS)


def test_a_timeout_is_for_the_call_with_its_repeats(daemon: ScriptedDaemon) -> None:
    """Each repeat has what is left."""
    cut, last = OpenFetch(started()), OpenFetch(started(), completed())
    daemon.fetches.extend([cut, last])
    now = 0.0

    def fail_late(_: object) -> None:
        nonlocal now
        now = 500.0
        cut.fail(CUT)
        last.end()

    connection = Connection(find_address(daemon.address), EAGER, Holds())
    deadline = Deadline(600, lambda: now)
    Fetch(connection, FetchRequest(spec="nlp/ranker"), deadline, fail_late).run()
    connection.close()
    # Far apart: gRPC rounds up what it sends.
    assert cut.time_remaining > 500
    assert last.time_remaining < 200


def test_a_timeout_may_be_endless(daemon: ScriptedDaemon, client: Client) -> None:
    """As `math.inf` says, and not over at once; NaN says nothing."""
    daemon.fetches.append(plays(started(), completed()))
    daemon.fetches.append(plays(started(), completed()))
    client.fetch("nlp/ranker", timeout=math.inf, store_timeout=math.inf)
    client.fetch("nlp/ranker", timeout=1e10, store_timeout=10**400)
    assert [r.store_timeout.seconds for r in daemon.fetch_requests] == [10**9] * 2
    with pytest.raises(ValueError, match="NaN"):
        client.fetch("nlp/ranker", timeout=math.nan)
    with pytest.raises(ValueError, match="NaN"):
        client.fetch("nlp/ranker", store_timeout=math.nan)


def test_a_closed_client_says_so(client: Client) -> None:
    """Rather than dialling again behind its owner's back."""
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.fetch("nlp/ranker")


def test_closing_ends_the_calls_of_other_threads(daemon: ScriptedDaemon, client: Client) -> None:
    """Also one that is about to be repeated."""
    daemon.fetches.append(plays(started(), CUT))

    def close(_: object) -> None:
        client.close()

    with pytest.raises((RuntimeError, assetd.AssetdError)) as raised:
        client.fetch("nlp/ranker", on_event=close)
    assert "closed" in str(raised.value).lower()
