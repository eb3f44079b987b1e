"""Very large files and very many: pushed, fetched, copied from store to store, and compared.

`python -m tests.soak.sizes`. A file of more than the 5 GiB that S3 takes in one request, and a
folder of a hundred thousand files, empty and deep ones among them; on S3 and on a directory. Needs
some 25 GiB beside the state of soaks.
"""

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from assetd import AssetdError, Client

from tests.soak.running import Soak, arguments
from tests.support.daemon import Daemon, running_daemons
from tests.support.processes import peak_rss_bytes
from tests.support.push_crowd import STORES, Place, place

_MIB: Final = 2**20
_LARGE_BYTES: Final = 5 * 2**30 + 100 * _MIB + 1
_FILES: Final = 100_000
_DEPTH: Final = 200
# What the bench holds a daemon to as well.
_MAX_RSS_BYTES: Final = 512 * _MIB


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Push and fetch what is very large, and very much.")
    parser.add_argument("--bytes", type=int, default=_LARGE_BYTES, help="of the large file")
    parser.add_argument("--files", type=int, default=_FILES, help="of the folder")
    given = parser.parse_args()
    soak = Soak("sizes", given)
    sources: dict[str, Callable[[Path], None]] = {
        f"a file of {given.bytes:,} bytes": lambda path: write_large(path, given.bytes, soak.seed),
        f"a folder of {given.files:,} files": lambda path: write_many(path, given.files),
    }
    for kind in STORES:
        for what, write in sources.items():
            key = f"{what}, {kind}"
            if soak.has_done(key):
                continue
            if soak.is_over:
                return soak.end(finished=False)
            folder = given.states / f"sizes-{soak.seed}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write(folder / "source")
            findings, peak = travel(kind, folder)
            soak.tell(f"{key}: the daemon's memory was at most {peak // _MIB} MiB")
            soak.note(key, [f"{key}: {finding}" for finding in findings], {"journeys": 1})
            shutil.rmtree(folder)
    return soak.end(finished=True)


def travel(kind: str, folder: Path) -> tuple[list[str], int]:
    """Push and fetch, let the store copy it, and fetch that; return what is wrong, and the peak."""
    source = folder / "source"
    expected = digests_of(source)
    with place(kind, folder) as store, daemon_of(store, folder) as daemon:
        findings = []
        with daemon.client() as client:
            try:
                for name in ("pushed", "copied"):
                    findings += list(_journey(client, name, source, f"{store.store}/pushed/0.0"))
                    if digests_of(client.fetch(f"{name}:0.0").path) != expected:
                        findings.append(f"what was {name} is not what was sent")
                    client.evict(f"{name}:0.0")
            except AssetdError as error:
                findings.append(f"{type(error).__name__}: {error}")
        peak = peak_rss_bytes(daemon.pid)
    if peak > _MAX_RSS_BYTES:
        findings.append(f"{peak:,} bytes of memory")
    return findings, peak


def _journey(client: Client, name: str, source: Path, uri: str) -> Iterator[str]:
    """Make version 0.0 of an asset; yield what is wrong with the answer."""
    pushed = client.push(source, name) if name == "pushed" else client.push_from(uri, name)
    if pushed != "0.0":
        yield f"{name} became {pushed}"


@contextmanager
def daemon_of(store: Place, folder: Path) -> Iterator[Daemon]:
    """Run a daemon that may copy within its store."""
    variables = store.variables | {"ASSETD_PUSH_SOURCES": f"{store.store}/"}
    with running_daemons(folder) as daemons:
        yield daemons(store=store.store, variables=variables)


def write_large(path: Path, size_bytes: int, seed: int) -> None:
    """Write a file of which no two MiB are equal."""
    block = bytearray(random.Random(seed).randbytes(_MIB))
    with path.open("wb") as file:
        for begin in range(0, size_bytes, _MIB):
            block[:8] = begin.to_bytes(8, "big")
            file.write(memoryview(block)[: size_bytes - begin])


def write_many(path: Path, count: int) -> None:
    """Write a folder of small files, a tenth of them empty, one of them deep."""
    deep = path.joinpath(*["d"] * _DEPTH)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    for number in range(count - 1):
        folder = path / f"{number // 1000:03}"
        if number % 1000 == 0:
            folder.mkdir()
        (folder / f"{number}").write_text(str(number) if number % 10 else "")


def digests_of(path: Path) -> dict[str, str]:
    """Return the SHA-256 of a file, or of each file of a folder by its path."""
    if path.is_file():
        with path.open("rb") as file:
            return {"": hashlib.file_digest(file, "sha256").hexdigest()}
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != ".SUCCESS"
    }


if __name__ == "__main__":
    sys.exit(main())
