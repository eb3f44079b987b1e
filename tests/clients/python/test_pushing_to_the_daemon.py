"""Pushes of the client to the daemon itself: cut on their way, named by path or URI, tried only."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import assetd
import pytest
from assetd import Client, PushPhase, PushProgress, RetryPolicy

from tests.clients.python.scripted import GUARD_SECONDS
from tests.support.daemon import Daemon, running_daemons
from tests.support.ports import LOOPBACK, free_port
from tests.support.tcp_proxy import CountingProxy
from tests.support.trees import read_tree, write_random_file, write_tree
from tests.support.waiting import wait_until

PART_BYTES = 4 << 20
PARTS = 10
LARGE_BYTES = 160 << 20
CUT_AT_BYTES = LARGE_BYTES * 3 // 4
# Pieces that the daemon had not taken whole, or not acknowledged to gRPC.
UNDER_WAY_BYTES = 24 << 20
# Of what travels: each 16 KiB have the head of a frame of HTTP/2, and each chunk some words more.
FRAMING = 0.001
PATIENT = RetryPolicy(
    patience_seconds=GUARD_SECONDS,
    connect_patience_seconds=GUARD_SECONDS,
    first_delay_seconds=0.01,
    max_delay_seconds=0.1,
)
TREE = {"config.json": b"{}", "weights/first.bin": b"\0" * 100_000, ".gitattributes": b"*"}


@pytest.fixture(scope="module")
def port() -> int:
    """Where the daemon listens beside its socket, for a proxy to stand before it."""
    return free_port()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Daemon]:
    """A daemon with a plain directory as its store; pushes may name what is in `allowed`."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "allowed").mkdir()
    with running_daemons(folder) as daemons:
        prepared = daemons.prepare()
        yield daemons(
            store=folder / "store",
            socket=prepared.socket,
            variables={
                "ASSETD_PUSH_SOURCES": f"file://{folder}/allowed",
                "ASSETD_LISTEN": f"unix://{prepared.socket},{LOOPBACK}:{port}",
            },
        )


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of the daemon."""
    with Client(daemon.address, assets_dir=daemon.assets_dir) as client:
        yield client


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of some megabytes in several parts."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(PARTS):
        write_random_file(root / f"{number}", PART_BYTES, seed=number)
    return root


def fetched(client: Client, spec: str) -> dict[str, bytes]:
    """What the version holds, as whoever fetches it sees it."""
    return read_tree(client.fetch(spec, verify=True).path)


@pytest.mark.parametrize("bump_major", [False, True], ids=["minor", "major"])
def test_a_push_that_is_cut_goes_on(
    client: Client, daemon: Daemon, port: int, many: Path, bump_major: bool
) -> None:
    """One version comes of it, whole; what the store had by then does not travel again."""
    name = f"cut/{bump_major}"
    folder = daemon.assets_dir.parent / "store" / name
    hashed: list[int] = []

    def note(progress: PushProgress) -> None:
        if progress.phase is PushPhase.HASHING:
            hashed.append(progress.done_bytes)

    def has_some() -> bool:
        return len([path for path in folder.rglob("*") if path.is_file()]) >= PARTS // 2

    with CountingProxy(port) as proxy:
        with Client(f"{LOOPBACK}:{proxy.port}", retry=PATIENT) as through_proxy:
            through_proxy.status()
            before = proxy.bytes_to_upstream
            proxy.cut_after_sent(PARTS * PART_BYTES * 3 // 4, is_ripe=has_some)
            version = through_proxy.push(many, name, bump_major=bump_major, on_progress=note)
        sent = proxy.bytes_to_upstream - before
        assert proxy.connection_count == 2
    assert not version.already_existed
    (page,) = client.list(name)
    assert [entry.asset_version.version for entry in page.entries] == [version]
    assert fetched(client, name) == read_tree(many)
    # All of it, and of the three quarters that were sent before what was not yet in the store.
    assert sent < PARTS * PART_BYTES * 3 // 2
    assert hashed == sorted(hashed), "it is hashed once"


def uploads_of(daemon: Daemon) -> list[Path]:
    """The files that the store makes of uploads that are under way."""
    folder = daemon.assets_dir.parent / "store/.assetd/store/uploads"
    return [path for path in folder.glob("*") if not path.is_symlink()]


def test_a_push_goes_on_in_the_middle_of_a_file(
    client: Client, daemon: Daemon, port: int, tmp_path: Path
) -> None:
    """Of one large file nothing travels twice but what was on its way."""
    large = tmp_path / "large"
    write_random_file(large, LARGE_BYTES, seed=1)

    def has_some() -> bool:
        return any(
            path.stat().st_size >= CUT_AT_BYTES - UNDER_WAY_BYTES for path in uploads_of(daemon)
        )

    with CountingProxy(port) as proxy:
        with Client(f"{LOOPBACK}:{proxy.port}", retry=PATIENT) as through_proxy:
            through_proxy.status()
            before = proxy.bytes_to_upstream
            proxy.cut_after_sent(CUT_AT_BYTES, is_ripe=has_some)
            version = through_proxy.push(large, "cut/large")
        assert proxy.connection_count == 2
        sent = proxy.bytes_to_upstream - before
        assert sent < (LARGE_BYTES + UNDER_WAY_BYTES) * (1 + FRAMING)
    assert fetched(client, f"cut/large:{version}") == {"": large.read_bytes()}


def test_a_push_that_its_caller_ends_leaves_nothing(
    client: Client, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: nobody is expected to go on with it, as with one whose connection broke."""
    # A daemon that waits for a slow disk reads the last word late.
    monkeypatch.setattr("assetd._push._LAST_WORD_SECONDS", GUARD_SECONDS)
    large = tmp_path / "large"
    with large.open("wb") as file:
        # So that it is not all sent before the first progress is told.
        file.truncate(1 << 30)
    under_way: list[Path] = []

    def interrupt(progress: PushProgress) -> None:
        under_way.extend(uploads_of(daemon))
        if progress.phase is not PushPhase.HASHING and under_way:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.push(large, "ended/large", on_progress=interrupt)
    assert under_way != []
    wait_until(lambda: not uploads_of(daemon) + daemon.leftovers(), "nothing left of the push")


def test_what_is_staged_is_pushed_from_there(client: Client, daemon: Daemon) -> None:
    """By its path below the folder, or in full; no byte is sent, and it stays where it is."""
    staged = write_tree(daemon.assets_dir / ".assetd/push/run-7/model", TREE)
    phases: list[PushPhase] = []
    version = client.push_staged(
        "run-7/model",
        "staged/model",
        labels={"run": "7"},
        on_progress=lambda progress: phases.append(progress.phase),
    )
    assert version == "0.0"
    assert (version.file_count, version.labels) == (3, {"run": "7"})
    assert fetched(client, "staged/model") == TREE
    assert client.push_staged(staged, "staged/model:0.0").already_existed
    assert read_tree(staged) == TREE
    assert PushPhase.SENDING not in phases
    with pytest.raises(assetd.SourceNotAllowedError):
        client.push_staged("../../elsewhere", "staged/model")
    # Whoever staged it takes it away.
    shutil.rmtree(staged.parent)


def test_a_uri_is_pushed_where_it_is_allowed(client: Client, daemon: Daemon) -> None:
    """And nowhere else, whether anything is there or not."""
    allowed = daemon.assets_dir.parent / "allowed"
    write_tree(allowed / "model", TREE)
    assert client.push_from(f"file://{allowed}/model", "from/uri") == "0.0"
    assert fetched(client, "from/uri") == TREE
    for path in (allowed.parent / "store", "/nowhere/at/all"):
        with pytest.raises(assetd.SourceNotAllowedError):
            client.push_from(f"file://{path}", "from/uri")


def test_a_dry_run_tells_what_a_push_then_does(client: Client, tmp_path: Path) -> None:
    """The same version, digest and size; and afterwards that this content is there."""
    root = write_tree(tmp_path / "model", TREE)
    tried = client.push(root, "tried/model", validate_only=True, exclude=["*.json"])
    assert [entry for page in client.list("tried/") for entry in page.entries] == []
    made = client.push(root, "tried/model", exclude=["*.json"])
    assert (tried, tried.digest, tried.size_bytes, tried.file_count) == (
        *(made, made.digest, made.size_bytes, made.file_count),
    )
    assert (tried.already_existed, made.file_count) == (False, 2)
    again = client.push(root, f"tried/model:{made}", validate_only=True, exclude=["*.json"])
    assert again.already_existed


def test_a_push_is_repeated_by_its_id(client: Client, tmp_path: Path) -> None:
    """Also a bump, which without it would make another version."""
    root = write_tree(tmp_path / "model", TREE)
    first = client.push(root, "again/model")
    again = client.push(root, "again/model", push_id=first.push_id)
    other = client.push(root, "again/model")
    assert (first, again, other) == ("0.0", "0.0", "0.1")
