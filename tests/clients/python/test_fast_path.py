"""Hits without a call: found by this process, or not at all; never remembered, never outside."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import assetd
import pytest
from assetd import Asset, AssetKind, Client, Resolution, RetryPolicy, Source, Verification
from assetd._holds import Holds
from assetd._lease import Lease
from assetd._local import SPEC, FastPath

from tests.clients.python.conftest import EAGER
from tests.clients.python.scripted import (
    ScriptedDaemon,
    completed,
    plays,
    started,
)

RECEIPT = (
    '{"format":1,"kind":"directory","size":7,"digest":"sha256:ab","files":{"a":{},"b/c":{}},'
    '"verification":"checksum"}'
)
IMPATIENT = RetryPolicy(patience_seconds=0, connect_patience_seconds=0)


def put_directory(assets_dir: Path, name: str, version: str, marker: str = RECEIPT) -> Path:
    """A complete directory version, as the daemon leaves it."""
    path = assets_dir / name / version
    (path / "b").mkdir(parents=True)
    (path / "a").write_text("aaa")
    (path / "b/c").write_text("cccc")
    (path / ".SUCCESS").write_text(marker)
    return path


def put_file(assets_dir: Path, name: str, version: str, marker: str = RECEIPT) -> Path:
    """A complete file version, as the daemon leaves it."""
    path = assets_dir / name / version
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("weights")
    path.with_name(f".{version}.SUCCESS").write_text(marker)
    return path


@pytest.fixture
def assets_dir(tmp_path: Path) -> Path:
    """An ASSETS_DIR with two versions."""
    put_directory(tmp_path, "nlp/ranker", "1.2")
    put_file(tmp_path, "nlp/weights", "2026-01-31T18-30-00Z")
    return tmp_path


@pytest.fixture
def alone(assets_dir: Path, socket: Path) -> Iterator[Client]:
    """A client whose daemon is down."""
    with Client(f"unix://{socket}", retry=IMPATIENT, assets_dir=assets_dir) as client:
        yield client


def misses(client: Client, spec: str, *, hold: bool = False) -> bool:
    """Whether the daemon, which is down, would have been asked."""
    try:
        client.fetch(spec, hold=hold).close()
    except assetd.DaemonUnavailableError:
        return True
    return False


def is_locked(path: Path) -> bool:
    """Whether an evictor would find a lease."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@pytest.mark.parametrize("hold", [False, True])
def test_a_pinned_version_that_stands_is_found(alone: Client, assets_dir: Path, hold: bool) -> None:
    """The Python client finds a pinned version that stands without a call, also with no daemon.

    With no daemon at all: a file or a directory, a part or the whole.
    """
    for spec, relative_path in [
        ("nlp/ranker:1.2", "nlp/ranker/1.2"),
        ("nlp/ranker:1.2[a]", "nlp/ranker/1.2/a"),
        ("nlp/ranker:1.2[/b/c]", "nlp/ranker/1.2/b/c"),
        ("nlp/ranker:1.2[b]", "nlp/ranker/1.2/b"),
        ("nlp/weights:2026-01-31T18-30-00Z", "nlp/weights/2026-01-31T18-30-00Z"),
    ]:
        with alone.fetch(spec, hold=hold) as asset:
            assert asset.path == assets_dir / relative_path
            assert os.fspath(asset) == str(asset) == str(assets_dir / relative_path)
            assert asset.relative_path == relative_path
            assert asset.path.exists()
            assert (asset.name, asset.version) == (
                spec.partition(":")[0],
                spec.partition(":")[2].partition("[")[0],
            )
            assert (asset.source, asset.resolution) == (Source.CACHE, Resolution.EXACT)
            is_file = spec.startswith("nlp/weights")
            assert asset.kind is (AssetKind.FILE if is_file else AssetKind.DIRECTORY)
            assert asset.is_held is hold
            assert not asset.joined


def test_what_a_hit_did_not_need_is_read_when_asked_for(alone: Client) -> None:
    """From the daemon's receipt, so that it is as honest as an answer."""
    asset = alone.fetch("nlp/ranker:1.2")
    assert (asset.digest, asset.size_bytes, asset.file_count) == ("sha256:ab", 7, 2)
    assert asset.verification is Verification.CHECKSUM
    assert (asset.transferred_bytes, asset.reused_bytes, asset.elapsed_seconds) == (0, 7, 0.0)
    assert "sha256:ab" in repr(asset)
    with pytest.raises(AttributeError, match="no attribute 'digets'"):
        asset.digets  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    "marker",
    [
        *("moths", "[]", "{}", '{"format":2}', "[" * 100_000),
        '{"format":1,"digest":"","size":Infinity,"files":{},"verification":"size"}',
    ],
    ids=lambda marker: marker[:9],
)
def test_what_a_receipt_does_not_say_is_not_known(
    alone: Client, assets_dir: Path, marker: str
) -> None:
    """Of a later release, or gone: unset, and never made up."""
    (assets_dir / "nlp/ranker/1.2/.SUCCESS").write_text(marker)
    asset, gone = alone.fetch("nlp/ranker:1.2"), alone.fetch("nlp/ranker:1.2")
    require_unknown(asset)
    (assets_dir / "nlp/ranker/1.2/.SUCCESS").unlink()
    require_unknown(gone)


def require_unknown(asset: Asset) -> None:
    """What a hit does not need for itself is unset."""
    assert (asset.digest, asset.size_bytes, asset.file_count) == ("", None, None)
    assert (asset.verification, asset.reused_bytes) == (Verification.UNSPECIFIED, 0)


@pytest.mark.parametrize("hold", [False, True])
def test_nothing_is_remembered(alone: Client, assets_dir: Path, hold: bool) -> None:
    """Nothing is remembered: after the marker is gone the very next fetch misses.

    After the marker is gone the very next call misses, and hits once it is back.
    """
    for spec, marker in [
        ("nlp/ranker:1.2", "nlp/ranker/1.2/.SUCCESS"),
        ("nlp/weights:2026-01-31T18-30-00Z", "nlp/weights/.2026-01-31T18-30-00Z.SUCCESS"),
    ]:
        assert not misses(alone, spec, hold=hold)
        (assets_dir / marker).unlink()
        assert misses(alone, spec, hold=hold)
        (assets_dir / marker).write_text(RECEIPT)
        assert not misses(alone, spec, hold=hold)


def nothing_stands(_: Path) -> None:
    """There is no such version."""


def the_data_are_gone(assets_dir: Path) -> None:
    """Somebody deleted by hand."""
    for version in ("0.1", "0.2"):
        put_file(assets_dir, "nlp/odd", version).unlink()


def the_marker_is_gone(assets_dir: Path) -> None:
    """An eviction is under way, or modelkit is at it."""
    put_directory(assets_dir, "nlp/odd", "0.1")
    (assets_dir / "nlp/odd/0.1/.SUCCESS").unlink()
    put_file(assets_dir, "nlp/odd", "0.2")
    (assets_dir / "nlp/odd/.0.2.SUCCESS").unlink()


def the_marker_is_a_folder_or_a_link(assets_dir: Path) -> None:
    """Nothing that the daemon would write."""
    the_marker_is_gone(assets_dir)
    (assets_dir / "nlp/odd/0.1/.SUCCESS").mkdir()
    (assets_dir / "nlp/odd/.0.2.SUCCESS").symlink_to("0.2")


def the_folder_is_a_file(assets_dir: Path) -> None:
    """ENOTDIR on the way."""
    (assets_dir / "nlp/odd").write_text("")


def the_version_is_a_link_or_a_fifo(assets_dir: Path) -> None:
    """It would lead elsewhere, or hang whoever opens it."""
    elsewhere = put_directory(assets_dir / "elsewhere", "odd", "0.1")
    put_file(assets_dir, "nlp/odd", "0.2").unlink()
    (assets_dir / "nlp/odd/0.1").symlink_to(elsewhere)
    os.mkfifo(assets_dir / "nlp/odd/0.2")


ODDITIES = [
    nothing_stands,
    the_data_are_gone,
    the_marker_is_gone,
    the_marker_is_a_folder_or_a_link,
    the_folder_is_a_file,
    the_version_is_a_link_or_a_fifo,
]


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("put", [put_directory, put_file])
def test_what_modelkit_marked_is_complete(
    assets_dir: Path, put: Callable[..., Path], hold: bool
) -> None:
    """Its marker is empty; what nobody has compared is told as such."""
    put(assets_dir, "nlp/modelkits", "0.1", marker="")
    with Client("unix:///nowhere/assetd.sock", assets_dir=assets_dir) as client:
        asset = client.fetch("nlp/modelkits:0.1", hold=hold)
        assert asset.path == assets_dir / "nlp/modelkits/0.1"
        assert (asset.verification, asset.digest) == (Verification.UNSPECIFIED, "")
        asset.close()


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_whatever_is_odd_is_left_to_the_daemon(
    assets_dir: Path, oddity: Callable[[Path], None], hold: bool
) -> None:
    """What is odd, a link or data without marker, is left to the daemon.

    It knows what is whole, and how to mend what is not; nothing hangs, nothing is leaked.
    """
    oddity(assets_dir)
    before = open_files()
    fast = FastPath(str(assets_dir), Holds())
    for spec in ("nlp/odd:0.1", "nlp/odd:0.2"):
        assert fast.hit(spec, hold=hold) is None
    assert open_files() == before


def open_files() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    "spec",
    [
        *("", "nlp/ranker", "nlp/ranker:", "nlp/ranker:1", "nlp/ranker:01.2", "nlp/ranker:1.2.3"),
        *(
            "/nlp/ranker:1.2",
            "nlp//ranker:1.2",
            "../outside/nlp/ranker:1.2",
            "nlp/../nlp/ranker:1.2",
        ),
        *("./nlp/ranker:1.2", ".assetd:1.2", "nlp/ranker:..", "nlp/ranker:1.2\n", "nlp\0/x:1.2"),
        *("nlp/ranker:1.2[", "nlp/ranker:1.2[]", "nlp/ranker:1.2[..]", "nlp/ranker:1.2[a/../a]"),
        *("nlp/ranker:1.2[./a]", "nlp/ranker:1.2[a/.]", "nlp/ranker:1.2[b//c]"),
        *("nlp/ranker:1.2[.SUCCESS]", "nlp/ranker:1.2[//a]", "nlp/ranker:1.2[a]x"),
        *("nlp/ranker:1.2[none]", "nlp/ranker:1.2[a/x]", "nlp/ranker:9.9", "no/such:1.2"),
        *("nlp/weights:2026-01-31T18-30-00Z[a]", "nlp/ranker/1.2:1.2", "nlp/" + "r" * 300 + ":1.2"),
        *("nlp/ranker:\u0661.\u0662", "nlp/ränker:1.2"),
    ],
)
def test_a_spec_that_is_odd_is_left_to_the_daemon(assets_dir: Path, spec: str) -> None:
    """It says what is wrong with it; and nothing leads out of ASSETS_DIR."""
    put_directory(assets_dir, "outside/nlp/ranker", "1.2")
    assert FastPath(str(assets_dir / "nlp"), Holds()).hit(spec, hold=False) is None
    assert FastPath(str(assets_dir), Holds()).hit(spec, hold=False) is None


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("spec", ["nlp/odd:0.1[b/c]", "nlp/ranker:1.2[linked/c]"])
def test_a_link_on_the_way_to_a_part_is_no_hit(assets_dir: Path, spec: str, hold: bool) -> None:
    """Neither the version nor a folder inside of it: the daemon would refuse to follow them."""
    (assets_dir / "nlp/odd").mkdir()
    (assets_dir / "nlp/odd/0.1").symlink_to(assets_dir / "nlp/ranker/1.2")
    (assets_dir / "nlp/ranker/1.2/linked").symlink_to("b")
    assert FastPath(str(assets_dir), Holds()).hit(spec, hold=hold) is None


@pytest.mark.parametrize("name", ["nlp/odd_", "nlp/odd.", "nlp/odd-"])
def test_a_name_that_the_daemon_refuses_is_no_hit(assets_dir: Path, name: str) -> None:
    """Also where somebody has put it there: a spec means the same with a call and without."""
    put_directory(assets_dir, name, "1.2")
    assert FastPath(str(assets_dir), Holds()).hit(f"{name}:1.2", hold=False) is None


def test_a_version_inside_a_version_is_none(assets_dir: Path) -> None:
    """Whoever pushes a folder cannot make up versions of another asset in it."""
    inside = assets_dir / "nlp/ranker/1.2"
    (inside / "0.1").write_text("")
    (inside / ".0.1.SUCCESS").write_text(RECEIPT)
    assert FastPath(str(assets_dir), Holds()).hit("nlp/ranker/1.2:0.1", hold=False) is None


def test_a_hostile_spec_takes_linear_time() -> None:
    """The grammar has no choices that multiply: what takes seconds elsewhere takes none here."""
    for hostile in ("a/" * 50_000, "a-" * 50_000 + ":", "a:1.2[" + "b/" * 50_000, "1." * 50_000):
        assert SPEC.fullmatch(hostile) is None


@pytest.mark.parametrize(
    "wish",
    [
        {"verify": True},
        {"force_download": True},
        {"include": ["*"]},
        {"exclude": "*.bin"},
        {"part_only": True},
        {"expected_digest": "sha256:ab"},
        {"freshness": "store"},
        {"on_event": print},
    ],
    ids=str,
)
def test_whatever_else_is_asked_for_is_a_call(
    daemon: ScriptedDaemon, assets_dir: Path, wish: dict[str, object]
) -> None:
    """Whoever asks for more than where a version is asks the daemon.

    Only the daemon can do it.
    """
    daemon.fetches.append(plays(started(), completed()))
    with Client(daemon.address, retry=EAGER, assets_dir=assets_dir) as client:
        client.fetch("nlp/ranker:1.2", **wish)  # type: ignore[arg-type]
    assert len(daemon.fetch_requests) == 1


def test_an_unpinned_spec_is_a_call(daemon: ScriptedDaemon, assets_dir: Path) -> None:
    """A spec without its full version is always asked of the daemon.

    Which version is the newest, this directory does not know.
    """
    daemon.fetches.extend([plays(started(), completed())] * 2)
    with Client(daemon.address, retry=EAGER, assets_dir=assets_dir) as client:
        client.fetch("nlp/ranker")
        client.fetch("nlp/ranker:1")
        client.fetch("nlp/ranker:1.2")
    assert [request.spec for request in daemon.fetch_requests] == ["nlp/ranker", "nlp/ranker:1"]


def test_a_path_of_the_daemons_is_seen_from_here(daemon: ScriptedDaemon, assets_dir: Path) -> None:
    """Where ASSETS_DIR is mounted elsewhere, a call and a hit without one give the same path."""
    daemon.fetches.extend([plays(started(), completed())] * 2)
    with Client(daemon.address, retry=EAGER, assets_dir=assets_dir) as client:
        assert client.fetch("nlp/ranker:1").path == client.fetch("nlp/ranker:1.2").path
        assert client.fetch("nlp/ranker").path == assets_dir / "nlp/ranker/1.2"
    with Client(daemon.address, retry=EAGER, assets_dir=assets_dir / "other") as client:
        daemon.fetches.append(plays(started(), completed()))
        assert client.fetch("nlp/ranker").path == Path("/assets/nlp/ranker/1.2")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"ASSETS_DIR": "/a"}, "/a"),
        ({"MODELKIT_ASSETS_DIR": "/b"}, "/b"),
        ({"ASSETS_DIR": "/a", "MODELKIT_ASSETS_DIR": "/b"}, "/a"),
        ({"ASSETS_DIR": "", "MODELKIT_ASSETS_DIR": "/b"}, "/b"),
    ],
)
def test_the_environment_names_the_directory(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    """By the daemon's own names; an argument wins, and an empty one means none."""
    for name in ("ASSETS_DIR", "MODELKIT_ASSETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    address = "unix:///nowhere/assetd.sock"
    assert Client(address).assets_dir == (Path(expected) if expected else None)
    assert Client(address, assets_dir="/c").assets_dir == Path("/c")
    assert Client(address, assets_dir="").assets_dir is None
    assert Client(address, assets_dir="d").assets_dir == Path.cwd() / "d"


def test_a_hold_is_a_lease_as_long_as_the_scope(alone: Client, assets_dir: Path) -> None:
    """A hold without a call is a lease as any other, for as long as its scope.

    Whoever would evict the version asks the kernel, and is refused until the block is left.
    """
    for spec, path in [
        ("nlp/ranker:1.2[a]", assets_dir / "nlp/ranker/1.2"),
        ("nlp/weights:2026-01-31T18-30-00Z", assets_dir / "nlp/weights/2026-01-31T18-30-00Z"),
    ]:
        with alone.fetch(spec, hold=True) as asset, alone.fetch(spec, hold=True) as second:
            assert is_locked(path)
            asset.close()
            asset.close()
            assert not asset.is_held
            assert second.is_held
            assert is_locked(path)
        assert not is_locked(path)
        alone.fetch(spec)
        assert not is_locked(path)


@pytest.mark.parametrize("hold", [False, True])
def test_a_version_that_is_being_replaced_is_not_waited_for(
    alone: Client, assets_dir: Path, hold: bool
) -> None:
    """A lease is never waited for: whoever cannot have it asks the daemon."""
    descriptor = os.open(assets_dir / "nlp/ranker/1.2", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert misses(alone, "nlp/ranker:1.2", hold=hold) is hold
    finally:
        os.close(descriptor)


def test_a_lease_on_what_was_moved_away_never_begins(assets_dir: Path) -> None:
    """Locked, and replaced before the last look: what is locked is not what stands there."""
    path = assets_dir / "nlp/ranker/1.2"
    holds = Holds()
    lease = Lease.of(str(path), holds)
    assert lease is not None
    path.rename(assets_dir / "trash")
    assert not lease.begin(str(path))
    put_directory(assets_dir, "nlp/ranker", "1.2")
    assert not lease.begin(str(path))
    lease.close()


def test_a_closed_client_holds_nothing(alone: Client, assets_dir: Path) -> None:
    """Closing it ends its leases, also those whose asset nobody kept; and it finds nothing more."""
    alone.fetch("nlp/ranker:1.2", hold=True)
    assert is_locked(assets_dir / "nlp/ranker/1.2")
    alone.close()
    assert not is_locked(assets_dir / "nlp/ranker/1.2")
    with pytest.raises(RuntimeError, match="closed"):
        alone.fetch("nlp/ranker:1.2")


def test_a_hit_that_meets_the_clients_end_holds_nothing(assets_dir: Path) -> None:
    """Another thread closed the client just then."""
    holds = Holds()
    holds.close()
    asset = FastPath(str(assets_dir), holds).hit("nlp/ranker:1.2", hold=True)
    assert asset is not None
    assert not asset.is_held
    assert not is_locked(assets_dir / "nlp/ranker/1.2")


def test_a_process_that_dies_holds_nothing(assets_dir: Path) -> None:
    """Such a hold ends with its process.

    The kernel ends its leases.
    """
    code = (
        "import assetd, sys\n"
        f"client = assetd.Client('unix:///nowhere/s.sock', assets_dir={str(assets_dir)!r})\n"
        "asset = client.fetch('nlp/ranker:1.2', hold=True)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(assets_dir / "nlp/ranker/1.2")
        holder.send_signal(signal.SIGKILL)
    assert not is_locked(assets_dir / "nlp/ranker/1.2")


class Clock:
    """The time of day, as it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def touched(assets_dir: Path) -> Callable[[float, float], bool]:
    """Whether a hit at one time leaves a trace in a marker of another time."""
    marker = assets_dir / "nlp/ranker/1.2/.SUCCESS"

    def touched(now: float, mtime: float) -> bool:
        os.utime(marker, (mtime, mtime))
        fast = FastPath(str(assets_dir), Holds(), Clock(now))
        assert fast.hit("nlp/ranker:1.2", hold=False) is not None
        return marker.stat().st_mtime != mtime

    return touched


def test_a_use_leaves_a_trace_once_a_minute(touched: Callable[[float, float], bool]) -> None:
    """A hit without a call leaves a trace of use, once a minute, for who evicts.

    For the evictor, which sees no call; however wrong the clocks are.
    """
    assert not touched(1000, 1000)
    assert not touched(1059, 1000)
    assert touched(1060, 1000)
    assert touched(1000, 1001), "a mtime of the future says nothing"


def test_a_mount_that_cannot_be_written_costs_one_try_a_minute(
    assets_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A use without a trace is a use all the same."""
    tries: list[str] = []

    def refused(path: str, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        tries.append(path)
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refused)
    clock = Clock(0)
    fast = FastPath(str(assets_dir), Holds(), clock)
    for now in (2e9, 2e9 + 59, 2e9 + 60):
        clock.now = now
        assert fast.hit("nlp/ranker:1.2", hold=False) is not None
    assert len(tries) == 2


def python(code: str, *wrapper: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [*wrapper, sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def hits(assets_dir: Path, *, hold: bool, times: int = 1) -> str:
    """A program that only hits."""
    return (
        "import sys, assetd\n"
        f"client = assetd.Client('unix:///nowhere/s.sock', assets_dir={str(assets_dir)!r})\n"
        f"for _ in range({times}):\n"
        f"    with client.fetch('nlp/ranker:1.2', hold={hold}) as asset: asset.digest\n"
    )


def test_a_program_that_only_hits_stays_light(assets_dir: Path) -> None:
    """A program that only hits imports no gRPC.

    Grpc is not imported, nor are the stubs.
    """
    code = hits(assets_dir, hold=True)
    code += "print(sorted({'grpc', 'google', 'assetd.v1', 'asyncio'} & set(sys.modules)))"
    assert python(code) == "[]\n"


@pytest.mark.needs_program("strace")
@pytest.mark.parametrize("hold", [False, True])
def test_every_hit_asks_the_kernel(assets_dir: Path, tmp_path: Path, hold: bool) -> None:
    """Marker and version are looked at each time; the version's inode last, under the lock."""
    log = tmp_path / "calls"
    python(
        hits(assets_dir, hold=hold, times=7),
        *("strace", "-f", "-o", str(log), "-e", "trace=file,flock,fstat,newfstatat"),
    )
    lines = log.read_text().splitlines()
    version, marker = f'"{assets_dir}/nlp/ranker/1.2"', f'"{assets_dir}/nlp/ranker/1.2/.SUCCESS"'
    looks = [line for line in lines if "stat" in line and marker in line]
    assert len(looks) == 7
    versions = [line for line in lines if "stat" in line and version in line]
    assert len(versions) == (14 if hold else 7)
    locks = [line for line in lines if "flock(" in line]
    assert len(locks) == (7 if hold else 0)
    assert all("LOCK_SH|LOCK_NB" in line for line in locks)
    if hold:
        last_lock = lines.index(locks[-1])
        after = [line for line in lines[last_lock:] if "stat" in line and str(assets_dir) in line]
        assert [version in line for line in after[:3]] == [True, False, True]
        opened = next(line for line in lines if "openat(" in line and version in line)
        assert "O_CLOEXEC" in opened
        assert "O_NOFOLLOW" in opened
