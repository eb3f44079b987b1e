"""What this user sees of the cache, and may do with it: part of `assetd doctor`. Knows no gRPC."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from assetd import _environment
from assetd._lease import Lease
from assetd.cli.findings import Finding, fail, ok, warn
from assetd.client import Client
from assetd.errors import AssetdError

if TYPE_CHECKING:
    from assetd.v1.asset_service_pb2 import ListResponse

# Enough to find one version that is present.
PAGES = 10
MOUNT = "mount the daemon's ASSETS_DIR, and set ASSETS_DIR to where it is mounted"


def directory_findings(client: Client, theirs: str | None) -> Iterator[Finding]:
    """Compare ASSETS_DIR as this user knows it with the daemon's, if that is known."""
    one, other = _environment.read("ASSETS_DIR"), _environment.read("MODELKIT_ASSETS_DIR")
    if one and other and not same_directory(one, other):
        yield fail(
            "assets dir",
            f"ASSETS_DIR is {one} and MODELKIT_ASSETS_DIR is {other}: unset one, or set both alike;"
            " no daemon starts so",
        )
    here = client.assets_dir
    if here is None:
        yield warn(
            "assets dir",
            "ASSETS_DIR is not set here: every fetch asks the daemon, and fails while it is away",
        )
    elif not os.access(here, os.R_OK | os.X_OK):
        yield fail("assets dir", f"{here} cannot be read by this user: {MOUNT}, check its mode")
    elif theirs is None:
        yield ok(
            "assets dir", f"{here} can be read; what is complete there is found without daemon"
        )
    elif same_directory(theirs, here):
        yield ok("assets dir", f"{here}, as the daemon has it")
    else:
        yield warn(
            "assets dir",
            f"{here} here, {theirs} for the daemon: right if the one is a mount of the other",
        )


def same_directory(one: str | Path, other: str | Path) -> bool:
    """Tell whether two paths lead to one directory, as seen from here."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return Path(one) == Path(other)


def version_findings(client: Client) -> Iterator[Finding]:
    """Try on one version what a fetch without a call does."""
    try:
        found = present_version(client)
    except AssetdError as failure:
        yield fail("cache", f"it cannot be listed: {failure.message}")
        return
    if found is None:
        yield ok("cache", "empty: there is nothing to try")
        return
    state = found.cache_state
    path = Path(state.path)
    if client.assets_dir is not None and not os.access(path, os.F_OK):
        path = client.assets_dir / state.relative_path
    yield lease_finding(path)
    yield trace_finding(path)


def present_version(client: Client) -> "ListResponse.Entry | None":
    """Return some version that is present in the cache."""
    from assetd.v1.asset_pb2 import CacheState

    for page in islice(client.list(scope="cache"), PAGES):
        for entry in page.entries:
            if entry.cache_state.presence == CacheState.PRESENCE_PRESENT:
                return entry
    return None


def lease_finding(path: Path) -> Finding:
    """Try to lease a version."""
    if not os.access(path, os.F_OK):
        return fail("lease", f"{path} is cached, and not visible here: {MOUNT}")
    lease = Lease.of(str(path))
    if lease is None or not lease.begin(str(path)):
        return fail(
            "lease",
            f"{path} cannot be leased: this user has to be able to read it, and its file system to"
            " honour flock; until then holds need the daemon, and `assetd run` does not work",
        )
    lease.close()
    return ok("lease", f"{path} can be read and leased")


def trace_finding(path: Path) -> Finding:
    """Tell whether a use without a call leaves a trace."""
    marker = path / ".SUCCESS" if path.is_dir() else path.with_name(f".{path.name}.SUCCESS")
    if os.access(marker, os.W_OK):
        return ok("traces", "uses without a call are seen by the daemon")
    return warn(
        "traces",
        f"{marker} cannot be written by this user: uses without a call are seen only while they"
        " hold; fetch with a hold, or pin, where versions are evicted",
    )
