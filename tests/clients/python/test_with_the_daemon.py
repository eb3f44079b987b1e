"""The client and the command line against the daemon itself, with a folder as its store."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import assetd
import assetd.aio
import pytest
from assetd import Client, RetryPolicy, Source

from tests.clients.python.scripted import GUARD_SECONDS

ASSETD = Path(sys.executable).with_name("assetd")
PATIENT = RetryPolicy(
    patience_seconds=GUARD_SECONDS,
    connect_patience_seconds=GUARD_SECONDS,
    first_delay_seconds=0.01,
    max_delay_seconds=0.1,
)


class Daemon:
    """`assetd serve`, from `start` to `stop`, as often as a test likes."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self.assets_dir = folder / "assets"
        self.assets_dir.mkdir()
        (folder / "store").mkdir()
        self._store = f"file://{folder}/store"
        self._log = folder / "log"
        self.address = f"unix://{socket}"
        self.ready_line = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return once it says that it is ready."""
        command = [str(ASSETD), "serve", "--store", self._store]
        command += ["--assets-dir", str(self.assets_dir), "--listen", self.address]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        self.ready_line = self._process.stdout.readline()
        assert self.ready_line, self._log.read_text()

    def stop(self) -> tuple[int, str]:
        """Let it drain; return its exit code, and what else it had printed."""
        if self._process is None:
            return 0, ""
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=GUARD_SECONDS)
        return process.returncode, rest


@pytest.fixture
def served(tmp_path: Path, socket: Path) -> Iterator[Daemon]:
    """A daemon with an empty store and an empty cache."""
    daemon = Daemon(tmp_path, socket)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder to push."""
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "weights").write_bytes(bytes(range(256)) * 12_000)
    (root / "sub/vocab.txt").write_text("a\nb\n")
    (root / ".gitattributes").write_text("")
    return root


def test_serve_says_one_line_and_ends_well(served: Daemon) -> None:
    """A supervisor waits for that line, and stops it by SIGTERM."""
    assert served.address in served.ready_line
    assert str(served.assets_dir) in served.ready_line
    assert served.stop() == (0, "")


def test_what_is_pushed_is_fetched(served: Daemon, model: Path) -> None:
    """Byte for byte, under the digest that was hashed here; the second time it is a hit."""
    with Client(served.address) as client:
        assert client.push(model, "nlp/ranker", new=True) == "0.0"
        asset = client.fetch("nlp/ranker")
        again = client.fetch("nlp/ranker:0", verify=True)
        part = client.fetch("nlp/ranker:0.0[sub/vocab.txt]", expected_digest=asset.digest)
        (page,) = client.list("nlp/")
        (files,) = client.list_files("nlp/ranker")
    assert asset.path == served.assets_dir / "nlp/ranker/0.0"
    for file in model.rglob("*"):
        if file.is_file():
            assert (asset.path / file.relative_to(model)).read_bytes() == file.read_bytes()
    assert (asset.source, again.source) == (Source.STORE, Source.CACHE)
    assert part.path == asset.path / "sub/vocab.txt"
    assert [entry.asset_version.version for entry in page.entries] == ["0.0"]
    assert {entry.file.path: entry.file.size_bytes for entry in files.files} == {
        ".gitattributes": 0,
        "sub/vocab.txt": 4,
        "weights": 256 * 12_000,
    }


def test_versions_never_change(served: Daemon, model: Path) -> None:
    """Equal content is no change; other content has to take another version."""
    weights = model / "weights"
    with Client(served.address) as client:
        assert client.push(weights, "nlp/weights:1.2") == "1.2"
        assert client.push(weights, "nlp/weights:1.2") == "1.2"
        with pytest.raises(assetd.VersionExistsError):
            client.push(model / "sub/vocab.txt", "nlp/weights:1.2")
        with pytest.raises(assetd.AssetExistsError):
            client.push(weights, "nlp/weights", new=True)
        with pytest.raises(assetd.AssetNotFoundError):
            client.push(weights, "nlp/wieghts", update=True)
        assert client.push(weights, "nlp/weights", bump_major=True) == "2.0"
        assert client.resolve("nlp/weights:1").asset_version.version == "1.2"


def test_a_hold_is_known_to_the_daemon_and_its_successor(served: Daemon, model: Path) -> None:
    """For as long as the scope, and not longer."""
    with Client(served.address, caller="ranker-server", retry=PATIENT) as client:
        client.push(model, "nlp/ranker")
        with client.fetch("nlp/ranker", hold=True) as asset:
            assert [hold.caller for hold in client.status().holds] == ["ranker-server"]
            assert served.stop()[0] == 0
            served.start()
            wait_for_holds(client, 1)
            assert asset.is_held
        wait_for_holds(client, 0)


def test_what_the_daemon_left_is_found_without_it(served: Daemon, model: Path) -> None:
    """The marker is the contract between the two: path, facts and lease, a file or a directory."""
    with Client(served.address, assets_dir=served.assets_dir) as client:
        client.push(model, "nlp/ranker")
        client.push(model / "weights", "nlp/weights")
        told = [client.fetch("nlp/ranker"), client.fetch("nlp/weights")]
        served.stop()
        for asset in told:
            found = client.fetch(f"{asset.name}:{asset.version}")
            assert (found.path, found.relative_path) == (asset.path, asset.relative_path)
            assert (found.digest, found.size_bytes) == (asset.digest, asset.size_bytes)
            assert (found.file_count, found.verification) == (asset.file_count, asset.verification)
            assert found.source is Source.CACHE


def test_the_daemon_sees_a_lease_that_it_did_not_give(served: Daemon, model: Path) -> None:
    """Taken by this process on the version itself, and gone with the block."""
    with Client(served.address, assets_dir=served.assets_dir) as client:
        client.push(model, "nlp/ranker")
        client.fetch("nlp/ranker")

        def is_leased() -> bool:
            return client.resolve("nlp/ranker:0.0").cache_state.leased

        before = is_leased()
        with client.fetch("nlp/ranker:0.0", hold=True):
            assert (before, is_leased(), list(client.status().holds)) == (False, True, [])
        assert not is_leased()


async def test_asyncio_programs_are_served_too(served: Daemon, model: Path) -> None:
    """Push, fetch, hold, list, over grpc.aio against the real thing."""
    async with assetd.aio.Client(served.address, retry=PATIENT) as client:
        assert await client.push(model, "nlp/ranker", new=True) == "0.0"
        async with client.fetch("nlp/ranker", hold=True) as asset:
            assert (asset.path / "sub/vocab.txt").read_text() == "a\nb\n"
            assert len((await client.status()).holds) == 1
            assert served.stop()[0] == 0
            served.start()
            while len((await client.status()).holds) != 1:
                pass
            assert asset.is_held
        versions = [entry async for page in client.list() for entry in page.entries]
        assert [entry.asset_version.version for entry in versions] == ["0.0"]
        with pytest.raises(assetd.AssetExistsError):
            await client.push(model, "nlp/ranker", new=True)


def wait_for_holds(client: Client, count: int) -> None:
    """Ask until the daemon knows of so many holds; the test's own limit ends it."""
    while len(client.status().holds) != count:
        pass


def test_the_command_line_does_it_all(served: Daemon, model: Path) -> None:
    """The first minute of somebody who tries it."""

    def run(*arguments: str) -> str:
        command = [str(ASSETD), "--address", served.address, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run("push", str(model), "nlp/ranker") == "nlp/ranker:0.0\n"
    assert run("fetch", "nlp/ranker") == f"{served.assets_dir}/nlp/ranker/0.0\n"
    assert run("push", str(model), "nlp/ranker", "--bump-major") == "nlp/ranker:1.0\n"
    assert run("resolve", "nlp/ranker:0") == "nlp/ranker:0.0\n"
    assert [line.split() for line in run("list").splitlines()] == [
        ["ASSET", "VERSION", "CACHED", "STORE"],
        ["nlp/ranker", "1.0", "no", "yes"],
        ["nlp/ranker", "0.0", "yes", "yes"],
    ]
    assert f"assets dir  {served.assets_dir}\n" in run("status")
    assert run("run", "nlp/ranker", "--", "cat", "{path}/sub/vocab.txt") == "a\nb\n"
    (model / "assets.txt").write_text("nlp/ranker:0\nnlp/ranker:1\n")
    assert sorted(run("prefetch", str(model / "assets.txt")).splitlines()) == [
        f"nlp/ranker:{major}\t{served.assets_dir}/nlp/ranker/{major}.0" for major in (0, 1)
    ]
    assert "ok    lease" in run("doctor")
