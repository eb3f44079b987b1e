"""A store that is not there, goes away, comes back, or does not let us in."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from assetd import StoreAccessDeniedError, StoreUnavailableError

from tests.support.command_line import run, start
from tests.support.daemon import Daemon, Daemons
from tests.support.ports import LOOPBACK, free_port
from tests.support.proxied_store import BUCKET, ProxiedStore
from tests.support.trees import sha256_of, write_random_file
from tests.support.versitygw import S3Server, versitygw
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.needs_program("versitygw"), pytest.mark.xdist_group("store_down")]

SIZE_BYTES = 24 << 20
SLOW_BYTES_PER_SECOND = 8 << 20
UNAVAILABLE, OTHER = 5, 1


@pytest.fixture
def daemon(daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path) -> Daemon:
    """A daemon that has cached/tiny, and for which big/asset is slow to come."""
    write_random_file(tmp_path / "source", SIZE_BYTES, seed=61)
    (tmp_path / "tiny").write_bytes(b"tiny")
    sources = {"big/asset": tmp_path / "source", "cached/tiny": tmp_path / "tiny"}
    slow_store.fill(daemons, tmp_path / "filler", sources)
    daemon = daemons(store=slow_store.url, variables=slow_store.through_proxy)
    with daemon.client() as client:
        client.fetch("cached/tiny")
    slow_store.proxy.rate_bytes_per_second = SLOW_BYTES_PER_SECOND
    return daemon


def test_a_store_that_refuses_connections(daemons: Daemons, tmp_path: Path) -> None:
    """A store that does not answer is `STORE_UNAVAILABLE`, with its name and the cause.

    In time where the caller has none; exit code 5.
    """
    endpoint = f"http://{LOOPBACK}:{free_port()}"
    credentials = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "S3_ENDPOINT": endpoint,
    }
    daemon = daemons(store=f"s3://{BUCKET}/assets", variables=credentials)
    (tmp_path / "file").write_bytes(b"content")
    with daemon.client() as client:
        # At once: each takes the seconds for which the daemon tries again.
        failures = failures_of(
            lambda: client.fetch("some/asset:1.0"),
            lambda: client.resolve("some/asset"),
            lambda: client.push(tmp_path / "file", "some/asset"),
            lambda: list(client.list(scope="store")),
        )
        for failure in failures:
            assert isinstance(failure, StoreUnavailableError)
            assert f"s3://{BUCKET}/assets" in failure.message
            assert "see whether it runs and S3_ENDPOINT leads to it" in failure.message
            assert failure.retry_after_seconds
            assert "secret" not in str(failure) + str(failure.metadata)
        with pytest.raises(StoreUnavailableError, match="raise store_timeout, or allow the cache"):
            client.fetch("some/asset", store_timeout=0.05)
        # What could not be asked is named, and the rest is listed.
        (page,) = client.list()
        assert (list(page.entries), len(page.unreachable)) == ([], 1)
    ended = run("fetch", "some/asset", "--store-timeout", "0.05", address=daemon.address)
    assert (ended.code, ended.out) == (UNAVAILABLE, "")
    assert "(STORE_UNAVAILABLE)" in ended.err
    assert daemon.leftovers() == []


def failures_of(*calls: Callable[[], object]) -> list[BaseException | None]:
    """Make all calls at once, and return what each failed with."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.exception() for future in [threads.submit(call) for call in calls]]


def test_a_store_that_dies_meanwhile(daemon: Daemon, slow_store: ProxiedStore) -> None:
    """While the store is down, what is cached is still served.

    Kill -9 of the server in mid-fetch is STORE_UNAVAILABLE.
    """
    fetch = start("fetch", "big/asset", address=daemon.address)
    with daemon.client() as client:
        wait_until(
            lambda: [f for f in client.status().flights if f.progress.present_bytes], "bytes"
        )
        kill(slow_store.server)
        out, err = fetch.communicate(timeout=120)
        assert (fetch.returncode, out) == (UNAVAILABLE, "")
        assert "(STORE_UNAVAILABLE)" in err
        assert daemon.leftovers() == daemon.kept_downloads()
        assert not (daemon.assets_dir / "big/asset/0.0").exists()
        # A pinned version that is present asks nobody; an unpinned one only if it has to.
        for asset in (
            client.fetch("cached/tiny:0.0"),
            client.fetch("cached/tiny", freshness="cache"),
            client.fetch("cached/tiny", freshness="store_or_cache", store_timeout=0.05),
        ):
            assert asset.path.read_bytes() == b"tiny"
        with pytest.raises(StoreUnavailableError):
            client.fetch("cached/tiny", store_timeout=0.05)


def kill(server: S3Server) -> None:
    """Kill the server's process, which is a child of ours."""
    address = f"{LOOPBACK}:{server.port}"
    (process,) = [p for p in psutil.Process().children() if address in p.cmdline()]
    process.kill()


def test_a_line_that_is_cut_is_resumed(
    daemon: Daemon, slow_store: ProxiedStore, tmp_path: Path
) -> None:
    """Connections that are cut, again and again, cost no more than the bytes under way.

    The fetch goes on where it was.
    """
    proxy = slow_store.proxy
    before = proxy.bytes_from_upstream
    fetch = start("fetch", "big/asset", address=daemon.address)
    for number in range(1, 5):
        due = before + number * SIZE_BYTES // 5
        wait_for_bytes(slow_store, due)
        proxy.cut()
    proxy.rate_bytes_per_second = None
    out, err = fetch.communicate(timeout=120)
    assert (fetch.returncode, err) == (0, "")
    assert sha256_of(Path(out.rstrip("\n"))) == sha256_of(tmp_path / "source")
    # Lost is what was under way in the buffers of each connection.
    assert proxy.bytes_from_upstream - before <= SIZE_BYTES * 11 // 10 + 4 * (4 << 20)


def wait_for_bytes(store: ProxiedStore, count: int) -> None:
    """Wait until so many have come."""
    wait_until(lambda: store.proxy.bytes_from_upstream >= count, f"{count} bytes")


def test_credentials_that_the_store_refuses(daemons: Daemons, tmp_path: Path) -> None:
    """Refused credentials are `STORE_ACCESS_DENIED`, never NOT_FOUND.

    A store that says no says nothing of an asset.
    """
    with versitygw(tmp_path / "s3") as server:
        server.make_bucket(BUCKET)
        wrong = {**server.environment, "AWS_SECRET_ACCESS_KEY": "not-the-secret"}
        daemon = daemons(store=f"s3://{BUCKET}/assets", variables=wrong)
        (tmp_path / "file").write_bytes(b"content")
        with daemon.client() as client:
            for failure in failures_of(
                lambda: client.fetch("some/asset:1.0"),
                lambda: client.fetch("some/asset"),
                lambda: client.push(tmp_path / "file", "some/asset"),
                lambda: list(client.list(scope="store")),
            ):
                assert isinstance(failure, StoreAccessDeniedError)
                assert "refused the daemon's credentials" in failure.message
                assert "check the daemon's AWS_ variables or role" in failure.message
                assert "not-the-secret" not in str(failure) + str(failure.metadata)
        assert run("fetch", "some/asset", address=daemon.address).code == OTHER
        log = "".join(str(line) for line in daemon.log_lines())
        assert "not-the-secret" not in log


def test_a_bucket_that_is_not_there(daemons: Daemons, tmp_path: Path) -> None:
    """A bucket that is not there is told as such: a mistyped bucket is no empty store.

    With what to do.
    """
    with versitygw(tmp_path / "s3") as server:
        daemon = daemons(store="s3://no-such-bucket/assets", variables=server.environment)
        with daemon.client() as client, pytest.raises(StoreUnavailableError) as refused:
            client.fetch("some/asset:1.0")
        assert "no bucket 'no-such-bucket'" in refused.value.message
        assert "create it, or correct the address" in refused.value.message
