"""The real modelkit pushing in a loop beside pushes of ours, to one asset (case 87).

modelkit writes an index without looking, so it drops what others have listed meanwhile. What can be
promised beside it is; what cannot stands in docs/modelkit.md.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from assetd import (
    BadIndexError,
    Client,
    DigestMismatchError,
    PushInProgressError,
    Verification,
)

from tests.support.daemon import EAGER, Daemon, Daemons
from tests.support.modelkit import PYTHON, Modelkit, ModelkitError, running_modelkit
from tests.support.trees import read_tree, write_tree
from tests.support.versitygw import S3Server
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.needs_program("versitygw", str(PYTHON)),
    pytest.mark.xdist_group("modelkit"),
]

NAME = "crowded/asset"
BUCKET = "crowded"
PUSHES = 12
UPDATES = 12
PUSHERS = 3


@dataclass
class Crowd:
    """One asset of one store, and who pushes to it."""

    folder: Path
    modelkit: Modelkit
    variables: Mapping[str, str]
    daemons: Daemons
    acknowledged: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def daemon(self) -> Daemon:
        """A daemon on the store, with an ASSETS_DIR of its own."""
        return self.daemons(variables=self.variables)

    def write(self, name: str) -> tuple[Path, dict[str, bytes]]:
        """A folder to push, and what is in it."""
        tree = {"content": name.encode() * 100, "sub/name": name.encode()}
        return write_tree(self.folder / name, tree), tree

    def update_with_modelkit(self, pushers: list[threading.Event]) -> int:
        """Update 2.x until all pushers are done, and at least so often; tell how often it went."""
        count = 0
        while count < UPDATES or not all(done.is_set() for done in pushers):
            folder, _ = self.write(f"theirs{count}")
            count += 1
            try:
                self.modelkit.push_as_command(folder, f"{NAME}:2", self.variables, new=False)
            except ModelkitError as error:
                # It has met its own, or our, half of a write.
                self.refused.append(str(error))
        return count

    def push(self, client: Client, pusher: int) -> None:
        """Push 1.x again and again."""
        for number in range(PUSHES // PUSHERS):
            folder, tree = self.write(f"ours{pusher}-{number}")
            try:
                self.acknowledged[client.push(folder, f"{NAME}:1")] = tree
            except (BadIndexError, PushInProgressError) as error:
                # Half of modelkit's write, or another write at every try: told, not hidden.
                self.refused.append(str(error))

    def meet(self, daemon: Daemon) -> None:
        """Let all push at once, and return when all have ended."""
        done = [threading.Event() for _ in range(PUSHERS)]

        def push(pusher: int) -> None:
            try:
                with daemon.client(EAGER) as client:
                    self.push(client, pusher)
            finally:
                done[pusher].set()

        with ThreadPoolExecutor(PUSHERS + 1) as threads:
            theirs = threads.submit(self.update_with_modelkit, done)
            ours = [threads.submit(push, pusher) for pusher in range(PUSHERS)]
            assert [future.result() for future in ours] == [None] * PUSHERS
            assert theirs.result() >= UPDATES

    def listed_by(self, client: Client) -> list[str]:
        """What the index lists, as assetd reads it."""
        entries = [entry for page in client.list(NAME) for entry in page.entries]
        return [entry.asset_version.version for entry in entries]

    def listed(self) -> list[str]:
        """What the index lists, as modelkit reads it."""
        return self.modelkit.versions(NAME, self.variables)


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> S3Server:
    """A real S3 server with a bucket."""
    s3_server.make_bucket(BUCKET)
    return s3_server


@pytest.fixture(scope="module")
def modelkit(bucket: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelkit]:
    """One process of the real modelkit, gone before the server: it waits for who is connected."""
    assert bucket.port
    with running_modelkit(tmp_path_factory.mktemp("modelkit") / "log") as modelkit:
        yield modelkit


@pytest.fixture(params=["local", "s3"])
def crowd(
    request: pytest.FixtureRequest,
    bucket: S3Server,
    modelkit: Modelkit,
    daemons: Daemons,
    tmp_path: Path,
) -> Crowd:
    """An asset with a version of each line, pushed by modelkit."""
    where = {"PROVIDER": "local", "BUCKET": str(tmp_path), "PREFIX": "store"}
    variables: dict[str, str] = {}
    if request.param == "s3":
        where = {"PROVIDER": "s3", "BUCKET": BUCKET, "PREFIX": uuid4().hex}
        variables |= bucket.environment
    (tmp_path / "store").mkdir()
    variables |= {f"MODELKIT_STORAGE_{name}": value for name, value in where.items()}
    crowd = Crowd(tmp_path / "sources", modelkit, variables, daemons)
    for version, new in (("1.0", True), ("2.0", False)):
        folder, _ = crowd.write(f"first{version}")
        modelkit.push(folder, NAME, version, variables, new=new)
    return crowd


@contextmanager
def dropped_by_modelkit(crowd: Crowd) -> Iterator[tuple[Daemon, Path, dict[str, bytes]]]:
    """Push 1.1, and let modelkit drop it at the end of the block; yields who has pushed, and what.

    modelkit has read the index before we have listed our version, and writes it afterwards: nobody
    can see that coming.
    """
    until = crowd.folder.parent / "until"
    os.mkfifo(until)
    folder, _ = crowd.write("theirs")
    ours, tree = crowd.write("ours")
    daemon = crowd.daemon()
    with ThreadPoolExecutor(1) as thread:
        theirs = thread.submit(
            crowd.modelkit.update_slowly, folder, NAME, "2.1", crowd.variables, until
        )
        with until.open("wb"), daemon.client() as client:
            assert client.push(ours, f"{NAME}:1") == "1.1"
            # Also what modelkit has pushed, and has not listed yet.
            assert crowd.listed_by(client) == ["2.1", "2.0", "1.1", "1.0"]
            yield daemon, ours, tree
        theirs.result()


def test_what_modelkit_drops_comes_back(crowd: Crowd) -> None:
    """What others drop from an index is listed again by the daemon that had listed it.

    Soon, or after as long as they took to write it; for an hour and a half.
    """
    with dropped_by_modelkit(crowd) as (daemon, _, tree):
        pass
    wait_until(lambda: crowd.listed() == ["2.1", "2.0", "1.1", "1.0"], "the dropped version")
    daemon.wait_for_log("others have dropped versions from an index: they are listed again")
    with daemon.client() as client:
        assert read_tree(client.fetch(f"{NAME}:1").path) == tree


@pytest.mark.parametrize("again", ["", ".1"], ids=["next", "exact"])
def test_what_modelkit_drops_is_listed_by_a_push(crowd: Crowd, again: str) -> None:
    """What a modelkit that pushes drops from an index is listed again by a later push.

    Also where the daemon that has listed it is gone. Until then it is found under its exact version
    only. The push may be one of the next number, or once more of what was dropped.
    """
    with dropped_by_modelkit(crowd) as (daemon, ours, tree):
        daemon.stop()
    assert crowd.listed() == ["2.1", "2.0", "1.0"]
    with crowd.daemon().client() as client:
        assert client.fetch(f"{NAME}:1").version == "1.0"
        assert read_tree(client.fetch(f"{NAME}:1.1").path) == tree
        pushed = client.push(ours, f"{NAME}:1{again}")
    assert pushed == ("1.1" if again else "1.2")
    assert crowd.listed() == ["2.1", "2.0", *{"1.1": ["1.1"], "1.2": ["1.2", "1.1"]}[pushed], "1.0"]


def test_pushes_beside_modelkit(crowd: Crowd) -> None:
    """Beside a modelkit that pushes, each of our pushes exists, whole, under its exact version.

    And the first push of another daemon lists all of them.
    """
    crowd.meet(crowd.daemon())
    assert crowd.acknowledged
    second = crowd.daemon()
    with second.client() as client:
        for version, tree in crowd.acknowledged.items():
            fetched = client.fetch(f"{NAME}:{version}")
            assert (fetched.version, fetched.verification) == (version, Verification.CHECKSUM)
            assert read_tree(fetched.path) == tree
        folder, tree = crowd.write("last")
        last = client.push(folder, f"{NAME}:1")
    listed = crowd.listed()
    assert {*crowd.acknowledged, last} <= {*listed}
    assert listed == sorted(listed, key=lambda v: [int(n) for n in v.split(".")], reverse=True)


def test_a_version_that_modelkit_overwrites(crowd: Crowd) -> None:
    """A version of ours that modelkit has half overwritten is `DIGEST_MISMATCH`, and not served.

    Once modelkit has written its `.meta` too it is modelkit's version, compared by size alone, for
    whoever has not fetched it before; what is cached stays as it was.
    """
    first, second, third = crowd.daemon(), crowd.daemon(), crowd.daemon()
    ours, our_tree = crowd.write("ours")
    theirs, their_tree = crowd.write("others")
    with first.client() as client:
        version = client.push(ours, f"{NAME}:1")
        spec = f"{NAME}:{version}"
        assert read_tree(client.fetch(spec).path) == our_tree
        crowd.modelkit.put_part(theirs / "content", NAME, version, "content", crowd.variables)
        with second.client() as other, pytest.raises(DigestMismatchError) as refused:
            other.fetch(spec)
        assert refused.value.metadata["key"].endswith(f"{NAME}/{version}/content")
        assert not (second.assets_dir / NAME / version).exists()
        crowd.modelkit.push(theirs, NAME, version, crowd.variables, new=False)
        with third.client() as other:
            fetched = other.fetch(spec)
            assert (read_tree(fetched.path), fetched.digest) == (their_tree, "")
            assert fetched.verification is Verification.SIZE
        assert read_tree(client.fetch(spec).path) == our_tree
