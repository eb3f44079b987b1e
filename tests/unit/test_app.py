"""Where everything is made: what an operator is told at the start."""

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest
import structlog
from assetd_server.app import configured_upkeep, running
from assetd_server.cache.linux import FileSystem
from assetd_server.config import load

WARNING = "does not keep locks between processes"


class NetworkFileSystem(FileSystem):
    """One that others mount as well."""

    def file_system_type(self, fd: int) -> str:  # noqa: ARG002 - the real one's name
        return "nfs4"


class LocklessFileSystem(FileSystem):
    """One that knows locks of folders, or there would be no daemon, but none that are shared."""

    def flock(self, fd: int, operation: int) -> None:
        if operation & fcntl.LOCK_SH:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        super().flock(fd, operation)


async def warnings(tmp_path: Path, fs: FileSystem | None, **variables: str) -> list[str]:
    """What a daemon over an empty ASSETS_DIR warns of."""
    for folder in ("assets", "store"):
        (tmp_path / folder).mkdir()
    config = load(
        {
            "ASSETS_DIR": str(tmp_path / "assets"),
            "ASSETD_STORE": f"file://{tmp_path}/store",
            "ASSETD_LISTEN": f"unix://{tmp_path}/s",
            **variables,
        }
    )
    async with running(config, fs=fs) as (parts, _):
        return list(parts.assets.warnings)


@pytest.mark.parametrize("fs", [NetworkFileSystem(), LocklessFileSystem()])
async def test_who_set_a_limit_is_told_that_nothing_is_evicted(
    tmp_path: Path, fs: FileSystem
) -> None:
    """Else they would learn it when the cache is full."""
    told = await warnings(tmp_path, fs, ASSETD_CACHE_MAX_BYTES="1GiB")
    assert [WARNING in one for one in told] == [True]


@pytest.mark.parametrize(
    ("fs", "variables"),
    [
        (None, {"ASSETD_CACHE_MAX_BYTES": "1GiB"}),
        (NetworkFileSystem(), {}),
    ],
    ids=["locks are kept", "nothing would be evicted"],
)
async def test_nobody_is_told_what_concerns_nobody(
    tmp_path: Path, fs: FileSystem | None, variables: dict[str, str]
) -> None:
    """A warning that is always there is read by nobody."""
    assert await warnings(tmp_path, fs, **variables) == []


def test_what_looks_after_a_store_warns_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is its user's: programs read findings there, an object a line."""
    assert configured_upkeep({"ASSETD_STORE": f"file://{tmp_path}"}) is not None
    structlog.get_logger().info("not told")
    structlog.get_logger().warning("told")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [json.loads(line)["event"] for line in printed.err.splitlines()] == ["told"]
