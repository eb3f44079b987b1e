"""Very large files and very many: pushed, fetched, copied from store to store, and compared.

`python -m tests.soak.sizes`. A file of more than the 5 GiB that S3 takes in one request, and a
folder of a hundred thousand files, empty and deep ones among them; on S3 and on a directory. Needs
some 25 GiB beside the state of soaks.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from assetd import AssetdError

from tests.soak.running import Soak, arguments
from tests.support.daemon import running_daemons
from tests.support.processes import peak_rss_bytes
from tests.support.push_crowd import STORES, place
from tests.support.trees import MARKER, write_random_file

_MIB: Final = 2**20
_LARGE_BYTES: Final = 5 * 2**30 + 100 * _MIB + 1
_FILES: Final = 100_000
_DEPTH: Final = 200
# No file is so large that a daemon may take more.
_MAX_RSS_BYTES: Final = 512 * _MIB


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Push and fetch what is very large, and very much.")
    parser.add_argument("--bytes", type=int, default=_LARGE_BYTES, help="of the large file")
    parser.add_argument("--files", type=int, default=_FILES, help="of the folder")
    given = parser.parse_args()
    soak = Soak("sizes", given)
    sources: dict[str, Callable[[Path], object]] = {
        f"a file of {given.bytes:,} bytes": lambda path: write_random_file(
            path, given.bytes, soak.seed
        ),
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
    with place(kind, folder) as store, running_daemons(folder) as daemons:
        variables = store.variables | {"ASSETD_PUSH_SOURCES": f"{store.store}/"}
        daemon = daemons(store=store.store, variables=variables)
        findings = []
        with daemon.client() as client:
            try:
                for version in (
                    client.push(source, "pushed"),
                    client.push_from(f"{store.store}/pushed/0.0", "copied"),
                ):
                    spec = f"{version.name}:{version}"
                    if version != "0.0":
                        findings.append(f"{spec} should have been 0.0")
                    if digests_of(client.fetch(spec).path) != expected:
                        findings.append(f"{spec} is not what was sent")
                    client.evict(spec)
            except AssetdError as error:
                findings.append(f"{type(error).__name__}: {error}")
        peak = peak_rss_bytes(daemon.pid)
    if peak > _MAX_RSS_BYTES:
        findings.append(f"{peak:,} bytes of memory")
    return findings, peak


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
        if file.name != MARKER
    }


if __name__ == "__main__":
    sys.exit(main())
