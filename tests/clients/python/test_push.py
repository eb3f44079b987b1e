"""Push: turns are taken, only what is wanted travels, and nothing is half done."""

import copy
import hashlib
import pickle
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import assetd
import pytest
from assetd import Client, PushPhase, PushProgress, RetryPolicy
from assetd._content import FILES_PER_MESSAGE
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import (
    PushAccepted,
    PushCompleted,
    PushFile,
    PushHeader,
    PushRequest,
    PushResponse,
    PushWanted,
)
from assetd.v1.asset_service_pb2 import PushProgress as WirePushProgress
from assetd.v1.cache_service_pb2 import GetCacheStatusResponse

from tests.clients.python.scripted import (
    CUT,
    GUARD_SECONDS,
    VERSION,
    Context,
    Failure,
    PushScript,
    ScriptedDaemon,
)

MEBIBYTE = 1 << 20
PUSH_ID = "0e64b41f-7b92-4d5e-8a3c-5a1f0c9d2b77"
# A UUID1: made of a clock, and easily made twice.
NOT_RANDOM = "8a3c1e2e-0000-11f0-8a3c-5a1f0c9d2b77"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of two and a half chunks."""
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * (MEBIBYTE // 256 * 5 // 2))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with an empty file and a folder inside."""
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_bytes(b"aaaa")
    (root / "empty").write_bytes(b"")
    (root / "sub/b").write_bytes(b"bb")
    return root


def digest_of(content: bytes) -> str:
    """A file's digest, computed here."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def accepted() -> PushResponse:
    """The daemon's first turn."""
    return PushResponse(accepted=PushAccepted(version="1.3"))


def created(version: str = "1.3") -> PushResponse:
    """The daemon's last word."""
    return PushResponse(
        completed=PushCompleted(asset_version=asset_pb2.AssetVersion(version=version))
    )


def test_a_file_is_pushed(daemon: ScriptedDaemon, client: Client, weights: Path) -> None:
    """Whole, in chunks of at most 1 MiB, under the digest that was hashed first."""
    assert client.push(weights, "nlp/weights") == "1.3"
    (record,) = daemon.push_records
    content = weights.read_bytes()
    digest = digest_of(content)
    assert record.header.kind == asset_pb2.ASSET_KIND_FILE
    assert record.header.digest == record.commit_digest == digest
    assert record.files == [PushFile(path="", size_bytes=len(content), digest=digest)]
    assert record.contents == {"": content}
    assert record.largest_chunk_bytes == MEBIBYTE
    assert uuid.UUID(record.header.push_id).version == 4


def test_a_folder_is_pushed(daemon: ScriptedDaemon, client: Client, folder: Path) -> None:
    """In the order of the contract: each side speaks in its turn."""
    client.push(str(folder), "nlp/ranker")
    (record,) = daemon.push_records
    assert record.header.kind == asset_pb2.ASSET_KIND_DIRECTORY
    assert [file.path for file in record.files] == ["a", "empty", "sub/b"]
    assert record.contents == {"a": b"aaaa", "sub/b": b"bb"}
    assert record.steps == [
        *("header", "accepted", "files", "wanted"),
        *("chunk", "chunk", "commit", "completed"),
    ]


def test_many_files_are_announced_in_batches(
    daemon: ScriptedDaemon, client: Client, tmp_path: Path
) -> None:
    """Of at most 1,000, each answered before the next, and all before the first chunk."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(FILES_PER_MESSAGE + 2):
        (root / f"{number:04}").write_text("x" if number % 500 == 0 else "")
    client.push(root, "nlp/many")
    (record,) = daemon.push_records
    assert [len(batch) for batch in record.batches] == [1000, 2]
    assert record.steps == [
        *("header", "accepted", "files", "wanted", "files", "wanted"),
        *("chunk", "chunk", "chunk", "commit", "completed"),
    ]


def test_only_what_is_wanted_travels(
    daemon: ScriptedDaemon, client: Client, folder: Path, weights: Path
) -> None:
    """Of the wanted files, from the wanted offset on."""
    daemon.wants = lambda _: [PushWanted.Part(path="sub/b", offset=1)]
    client.push(folder, "nlp/ranker")
    daemon.wants = lambda _: []
    client.push(weights, "nlp/weights")
    assert [record.contents for record in daemon.push_records] == [{"sub/b": b"\0b"}, {}]
    assert daemon.push_records[1].steps[-3:] == ["wanted", "commit", "completed"]


def test_the_header_says_what_was_asked(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """Every argument has its field; what was not given is not sent."""
    client.push(weights, "nlp/weights")
    client.push(weights, "nlp/weights", new=True)
    client.push(weights, "nlp/weights", update=True, bump_major=True)
    headers = [record.header for record in daemon.push_records]
    assert {header.spec for header in headers} == {"nlp/weights"}
    assert [(header.mode, header.bump) for header in headers] == [
        (PushHeader.MODE_UNSPECIFIED, PushHeader.BUMP_UNSPECIFIED),
        (PushHeader.MODE_NEW, PushHeader.BUMP_UNSPECIFIED),
        (PushHeader.MODE_UPDATE, PushHeader.BUMP_MAJOR),
    ]
    assert len({header.push_id for header in headers}) == 3


def test_new_and_update_exclude_each_other(client: Client, weights: Path) -> None:
    """No daemon need be asked."""
    with pytest.raises(ValueError, match="not for both"):
        client.push(weights, "nlp/weights", new=True, update=True)


def test_nothing_is_sent_between_header_and_accepted(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """Some gRPC libraries lose an early refusal otherwise."""
    came: list[str | None] = []
    header_came, go_on = threading.Event(), threading.Event()

    def script(requests: Iterator[PushRequest], _: Context) -> Iterator[PushResponse]:
        def read() -> None:
            for request in requests:
                came.append(request.WhichOneof("step"))
                header_came.set()

        threading.Thread(target=read, daemon=True).start()
        assert go_on.wait(GUARD_SECONDS)
        before = list(came)
        yield accepted()
        assert before == ["header"]
        yield created()

    daemon.pushes.append(script)
    pushing = threading.Thread(target=client.push, args=(weights, "nlp/weights"))
    pushing.start()
    assert header_came.wait(GUARD_SECONDS)
    # On the same connection: what the push had sent meanwhile would have come before this.
    client.status()
    go_on.set()
    pushing.join(GUARD_SECONDS)
    assert came[:1] == ["header"]


def test_a_cut_push_goes_on_where_it_was(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """Under the same `push_id`, so that the daemon knows it again."""
    headers: list[PushHeader] = []

    def cut_after_a_chunk(
        requests: Iterator[PushRequest], context: Context
    ) -> Iterator[PushResponse]:
        headers.append(next(requests).header)
        yield accepted()
        next(requests)
        yield PushResponse(wanted=PushWanted(parts=[PushWanted.Part(path="")]))
        assert next(requests).chunk.offset == 0
        CUT.end(context)

    daemon.pushes.append(cut_after_a_chunk)
    daemon.wants = lambda _: [PushWanted.Part(path="", offset=2 * MEBIBYTE)]
    client.push(weights, "nlp/weights")
    (record,) = daemon.push_records
    assert record.header == headers[0]
    assert bytes(record.contents[""][2 * MEBIBYTE :]) == weights.read_bytes()[2 * MEBIBYTE :]


def test_the_first_answer_of_a_repeat_counts(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """A daemon that had created it already may say so at once, whatever its status then is."""

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        next(requests)
        yield created("1.7")
        CUT.end(context)

    daemon.pushes.append(script)
    assert client.push(weights, "nlp/weights") == "1.7"


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure("ALREADY_EXISTS", "VERSION_EXISTS"), assetd.VersionExistsError),
        (Failure("ABORTED", "PUSH_IN_PROGRESS"), assetd.PushInProgressError),
        (Failure("INVALID_ARGUMENT", "PUSH_MISMATCH"), assetd.PushMismatchError),
    ],
)
def test_a_refusal_is_raised_and_not_repeated(
    daemon: ScriptedDaemon,
    client: Client,
    weights: Path,
    failure: Failure,
    error: type[assetd.AssetdError],
) -> None:
    """Only UNAVAILABLE is."""

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        next(requests)
        failure.end(context)

    daemon.pushes.append(script)
    with pytest.raises(error):
        client.push(weights, "nlp/weights")
    assert daemon.push_records == []


@pytest.mark.parametrize("event", ["accepted", "wanted"])
def test_a_source_that_changes_is_not_committed(
    daemon: ScriptedDaemon, client: Client, folder: Path, event: str
) -> None:
    """A source that changes while it is pushed is `SOURCE_CHANGED`, and creates nothing.

    Whether before its bytes are sent, or with nothing left but the commit.
    """
    daemon.wants = lambda _: [] if event == "wanted" else [PushWanted.Part(path="a")]

    def change(response: PushResponse) -> None:
        if response.HasField(event):  # type: ignore[arg-type]
            (folder / "a").write_bytes(b"AAAA")

    with pytest.raises(assetd.SourceChangedError) as raised:
        client.push(folder, "nlp/ranker", on_event=change)
    assert raised.value.metadata["path"] == str(folder / "a")
    assert "commit" not in daemon.push_records[0].steps


def test_a_mismatch_is_told_by_its_cause(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """The daemon sees other bytes; the helper sees who changed them."""

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        next(requests)
        weights.write_bytes(b"other")
        Failure("INVALID_ARGUMENT", "PUSH_MISMATCH").end(context)

    daemon.pushes.append(script)
    with pytest.raises(assetd.SourceChangedError):
        client.push(weights, "nlp/weights")


def test_nothing_is_sent_of_a_source_that_is_refused(
    daemon: ScriptedDaemon, client: Client, folder: Path
) -> None:
    """The daemon never hears of it."""
    (folder / "link").symlink_to("a")
    with pytest.raises(assetd.UnsupportedFileError):
        client.push(folder, "nlp/ranker")
    assert daemon.push_records == []


def test_a_daemon_that_wants_something_else_is_a_defect(
    daemon: ScriptedDaemon, client: Client, folder: Path
) -> None:
    """Nothing is sent but what was announced, least of all what a path from outside names."""
    daemon.wants = lambda _: [PushWanted.Part(path="../../etc/passwd")]
    with pytest.raises(assetd.InternalError, match="not announced"):
        client.push(folder, "nlp/ranker")
    assert daemon.push_records[0].contents == {}


def test_a_daemon_that_forgets_to_answer_is_a_defect(
    daemon: ScriptedDaemon, client: Client, folder: Path
) -> None:
    """No made-up version, and no repeat."""
    daemon.pushes.append(lambda _requests, _context: iter([accepted()]))
    with pytest.raises(assetd.InternalError, match="without an answer"):
        client.push(folder, "nlp/ranker")


def test_whatever_ends_a_push_ends_its_call(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """Ctrl-C leaves no stream behind, and no thread that feeds one."""
    left = threading.Event()

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        context.add_callback(left.set)
        next(requests)
        yield accepted()
        left.wait(GUARD_SECONDS)

    def interrupt(_: PushResponse) -> None:
        raise KeyboardInterrupt

    daemon.pushes.append(script)
    with pytest.raises(KeyboardInterrupt):
        client.push(weights, "nlp/weights", on_event=interrupt)
    assert left.wait(GUARD_SECONDS)


def test_a_timeout_ends_a_push(daemon: ScriptedDaemon, client: Client, weights: Path) -> None:
    """On both sides."""
    left = threading.Event()

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        context.add_callback(left.set)
        next(requests)
        left.wait(GUARD_SECONDS)
        yield accepted()

    daemon.pushes.append(script)
    with pytest.raises(assetd.CallTimeoutError):
        client.push(weights, "nlp/weights", timeout=1)
    assert left.wait(GUARD_SECONDS)


def test_a_timeout_ends_the_hashing_too(client: Client, weights: Path) -> None:
    """Not after the last byte: it is over as soon as the time is."""
    seen: list[PushProgress] = []
    with pytest.raises(assetd.CallTimeoutError):
        client.push(weights, "nlp/weights", timeout=0, on_progress=seen.append)
    assert seen == []


def test_closing_the_client_ends_a_push_that_hashes(daemon: ScriptedDaemon, weights: Path) -> None:
    """As it ends every call of other threads."""
    with Client(daemon.address) as client, pytest.raises(RuntimeError, match="closed"):
        client.push(weights, "nlp/weights", on_progress=lambda _: client.close())
    assert daemon.push_records == []


def test_progress_covers_hashing_and_all_that_the_daemon_does(
    daemon: ScriptedDaemon, client: Client, tmp_path: Path
) -> None:
    """Within a phase it never falls, also not where a daemon counts anew."""

    def tell(
        phase: WirePushProgress.Phase.ValueType, *, done: int, stored: int = 0
    ) -> PushResponse:
        return PushResponse(
            progress=WirePushProgress(phase=phase, received_bytes=done, stored_bytes=stored)
        )

    def script(requests: Iterator[PushRequest], _: Context) -> Iterator[PushResponse]:
        next(requests)
        yield accepted()
        yield tell(WirePushProgress.PHASE_RECEIVING, done=3, stored=1)
        yield tell(WirePushProgress.PHASE_STORING, done=3, stored=2)
        yield tell(WirePushProgress.PHASE_STORING, done=3, stored=1)
        yield tell(WirePushProgress.PHASE_COMMITTING, done=0)
        yield created()

    path = tmp_path / "four"
    path.write_bytes(b"4444")
    daemon.pushes.append(script)
    seen: list[PushProgress] = []
    client.push(path, "nlp/four", on_progress=seen.append)
    assert seen == [
        PushProgress(PushPhase.HASHING, 4, 4),
        PushProgress(PushPhase.SENDING, 3, 4),
        PushProgress(PushPhase.STORING, 1, 4),
        PushProgress(PushPhase.STORING, 2, 4),
        PushProgress(PushPhase.STORING, 2, 4),
        PushProgress(PushPhase.COMMITTING, 4, 4),
    ]


def test_what_the_store_has_counts_as_done(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """A push that finds most of it there does not end with a bar near its beginning."""
    total_bytes = weights.stat().st_size
    daemon.wants = lambda _: [PushWanted.Part(path="", offset=2 * MEBIBYTE)]
    seen: list[PushProgress] = []
    client.push(weights, "nlp/weights", on_progress=seen.append)
    assert seen[-2:] == [
        PushProgress(PushPhase.SENDING, 2 * MEBIBYTE, total_bytes),
        PushProgress(PushPhase.STORING, 2 * MEBIBYTE, total_bytes),
    ]


def test_labels_and_a_push_id_travel(daemon: ScriptedDaemon, client: Client, weights: Path) -> None:
    """As they are given."""
    push_id = str(uuid.uuid4())
    client.push(weights, "nlp/weights", labels={"git": "a1b2", "": "x=y"}, push_id=push_id)
    (record,) = daemon.push_records
    assert dict(record.header.labels) == {"git": "a1b2", "": "x=y"}
    assert record.header.push_id == push_id


def test_a_dry_run_sends_no_byte(daemon: ScriptedDaemon, client: Client, folder: Path) -> None:
    """The same turns, with the digest and no chunk, whatever the daemon wants."""
    told: list[PushResponse] = []
    version = client.push(folder, "nlp/ranker", validate_only=True, on_event=told.append)
    (record,) = daemon.push_records
    assert version == told[-1].completed.asset_version.version == "1.3"
    assert record.header.validate_only
    assert record.header.digest == record.commit_digest
    assert record.steps == ["header", "accepted", "files", "wanted", "commit", "completed"]


def answers(completed: PushCompleted) -> PushScript:
    """A push that has been made already."""
    return lambda _requests, _context: iter([PushResponse(completed=completed)])


@pytest.mark.parametrize("push_id", ["", "17", PUSH_ID.upper(), "{" + PUSH_ID + "}", NOT_RANDOM])
def test_an_id_that_no_push_has_is_refused_at_once(client: Client, push_id: str) -> None:
    """Nobody hashes for an hour to learn that: the source is not even looked for."""
    with pytest.raises(assetd.InvalidFieldError) as raised:
        client.push("/nowhere/at/all", "nlp/weights", push_id=push_id)
    assert raised.value.metadata == {"field": "header.push_id", "push_id": push_id}


def test_the_answer_is_the_version_and_knows_the_rest(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """A text, as those take it who want the version alone; also where it is copied or pickled."""
    answer = PushCompleted(asset_version=VERSION, already_existed=True)
    answer.asset_version.labels["team"] = "search"
    answer.asset_version.pushed_by = "ci"
    daemon.pushes += [answers(answer), answers(PushCompleted())]
    version = client.push(weights, "nlp/weights", push_id=PUSH_ID)
    for it in (version, copy.copy(version), pickle.loads(pickle.dumps(version))):  # noqa: S301
        assert it == "1.2"
        assert f"nlp/ranker:{it}" == "nlp/ranker:1.2"
        assert (it.name, it.digest, it.push_id) == ("nlp/ranker", VERSION.digest, PUSH_ID)
        assert (it.size_bytes, it.file_count) == (100, 2)
        assert (it.labels, it.pushed_by, it.already_existed) == ({"team": "search"}, "ci", True)
    unknown = client.push(weights, "nlp/weights")
    assert (unknown.size_bytes, unknown.file_count, unknown.already_existed) == (None, None, False)


def test_what_is_excluded_is_not_announced(
    daemon: ScriptedDaemon, client: Client, folder: Path
) -> None:
    """A link among it is no reason to refuse the rest, and the digest is that of the rest."""
    (folder / "sub/link").symlink_to("b")
    client.push(folder, "nlp/ranker", exclude=["sub/**", "empty"])
    (record,) = daemon.push_records
    assert [file.path for file in record.files] == ["a"]
    line = f"{hashlib.sha256(b'aaaa').hexdigest()}  a\n"
    assert record.commit_digest == digest_of(line.encode())


def test_bytes_that_the_daemon_finds_by_itself_are_named(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """A header and a commit: the daemon knows neither kind nor digest from us."""
    client.push_staged(Path("run 1/model"), "nlp/ranker", update=True, labels={"by": "me"})
    client.push_from("s3://bucket/model", "nlp/ranker:1", new=True, validate_only=True)
    staged, found = daemon.push_records
    for record in (staged, found):
        assert record.steps == ["header", "accepted", "commit", "completed"]
        assert (record.header.kind, record.header.digest, record.commit_digest) == (0, "", "")
        assert uuid.UUID(record.header.push_id).version == 4
    assert staged.header.staged_path == "run 1/model"
    assert (staged.header.mode, staged.header.labels["by"]) == (PushHeader.MODE_UPDATE, "me")
    assert found.header.source_uri == "s3://bucket/model"
    assert (found.header.mode, found.header.validate_only) == (PushHeader.MODE_NEW, True)


def test_a_staged_path_may_be_absolute(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """As this program has ASSETS_DIR mounted, or as the daemon has it; elsewhere it is refused."""
    daemon.status = GetCacheStatusResponse(assets_dir="/theirs")
    here = tmp_path / "ours"
    with Client(daemon.address, assets_dir=here) as client:
        client.push_staged(here / ".assetd/push/x/y", "nlp/ranker")
        client.push_staged("/theirs/.assetd/push/x/y", "nlp/ranker")
        with pytest.raises(assetd.InvalidFieldError) as raised:
            client.push_staged("/theirs/.assetd/other", "nlp/ranker")
    assert [record.header.staged_path for record in daemon.push_records] == ["x/y", "x/y"]
    assert raised.value.metadata["field"] == "header.staged_path"


def test_the_size_of_what_the_daemon_finds_comes_with_its_progress(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """Until then it is not known, which is not zero."""

    def script(requests: Iterator[PushRequest], _: Context) -> Iterator[PushResponse]:
        next(requests)
        yield accepted()
        next(requests)
        yield PushResponse(progress=WirePushProgress(phase=WirePushProgress.PHASE_HASHING))
        yield PushResponse(
            progress=WirePushProgress(
                phase=WirePushProgress.PHASE_STORING, stored_bytes=3, total_bytes=5
            )
        )
        yield created()

    daemon.pushes.append(script)
    seen: list[PushProgress] = []
    client.push_staged("model", "nlp/ranker", on_progress=seen.append)
    assert seen == [
        PushProgress(PushPhase.HASHING, 0, None),
        PushProgress(PushPhase.STORING, 3, 5),
    ]


def refuses(failure: Failure) -> PushScript:
    """A push that ends with a failure as soon as it has begun."""

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        next(requests)
        failure.end(context)

    return script


IN_PROGRESS = Failure("ABORTED", "PUSH_IN_PROGRESS")


def test_a_cut_push_waits_for_its_own_dead_stream(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """The daemon may learn later than we do that the connection is gone."""
    daemon.pushes += [refuses(CUT), refuses(IN_PROGRESS), refuses(IN_PROGRESS)]
    assert client.push(weights, "nlp/weights") == "1.3"
    assert not daemon.pushes


def test_a_cut_push_does_not_wait_for_ever(daemon: ScriptedDaemon, weights: Path) -> None:
    """The push in progress may be somebody else's."""
    policy = RetryPolicy(first_delay_seconds=0.001, max_delay_seconds=0.001, patience_seconds=0.1)
    daemon.pushes.append(refuses(CUT))
    daemon.pushes.extend([refuses(IN_PROGRESS)] * 10_000)
    with (
        Client(daemon.address, retry=policy) as client,
        pytest.raises(assetd.PushInProgressError),
    ):
        client.push(weights, "nlp/weights")
