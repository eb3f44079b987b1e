"""The digests of what is about to be pushed, computed on several threads.

Reads the source through `assetd._source` alone. hashlib lets go of the interpreter while it works,
so that two processors hash two files at once.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

from assetd._source import READ_BYTES, Source, SourceFile

TELL_SECONDS = 0.1


@dataclass(frozen=True)
class Digests:
    """What a source hashes to: the whole, and each file by its path."""

    digest: str
    files: dict[str, str]


def hash_source(source: Source, on_hashed: Callable[[int], object]) -> Digests:
    """Read everything once; `on_hashed` gets the bytes hashed so far, now and then and at the end.

    It is called in the caller's thread, and what it raises ends the hashing.

    Raises:
        SourceChangedError: a file is not, or did not stay, what was listed.
    """
    # The threads share it: each file is handed out once. The largest first: were it the last one,
    # all other threads would be done long before.
    todo = iter(sorted(source.files, key=lambda file: -file.size_bytes))
    stopped = Event()
    count = min(len(source.files), _processor_count())
    hashers = [_Hasher(source, todo, stopped) for _ in range(count)]
    with ThreadPoolExecutor(count) as threads:
        try:
            _wait([threads.submit(hasher.run) for hasher in hashers], hashers, on_hashed)
        finally:
            stopped.set()
    found = {path: digest for hasher in hashers for path, digest in hasher.hexes.items()}
    return _digests(source, found)


def _processor_count() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wait(
    running: "list[Future[None]]", hashers: "list[_Hasher]", on_hashed: Callable[[int], object]
) -> None:
    """Return when all are done, raising what one of them, or `on_hashed`, raised."""
    pending = set(running)
    while pending:
        done, pending = wait(pending, timeout=TELL_SECONDS, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        on_hashed(sum(hasher.hashed_bytes for hasher in hashers))


def _digests(source: Source, hexes: dict[str, str]) -> Digests:
    files = {file.path: f"sha256:{hexes[file.path]}" for file in source.files}
    if not source.is_directory:
        return Digests(files[""], files)
    # As `sha256sum` prints it, so that anyone can compute the digest of a folder.
    lines = hashlib.sha256()
    for file in source.files:
        lines.update(f"{hexes[file.path]}  {file.path}\n".encode())
    return Digests(f"sha256:{lines.hexdigest()}", files)


class _Hasher:
    """Hashes file after file on one thread, until there are no more or it is stopped."""

    def __init__(self, source: Source, todo: Iterator[SourceFile], stopped: Event) -> None:
        self.hashed_bytes = 0
        self.hexes: dict[str, str] = {}
        self._source = source
        self._todo = todo
        self._stopped = stopped

    def run(self) -> None:
        """Hash what is to be done, or some of it."""
        # One for all files: memory that is new for each read costs more than the reading.
        buffer = memoryview(bytearray(READ_BYTES))
        for file in self._todo:
            sha256 = hashlib.sha256()
            for data in self._source.read_into(buffer, file):
                if self._stopped.is_set():
                    return
                sha256.update(data)
                self.hashed_bytes += len(data)
            self.hexes[file.path] = sha256.hexdigest()
