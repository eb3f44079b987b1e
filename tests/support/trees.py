"""Files and folders with contents that a seed decides, and what stands in a folder."""

import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

MARKER = ".SUCCESS"
_BLOCK_BYTES = 1 << 20

Tree = Mapping[str, bytes]


def write_random_file(path: Path, size_bytes: int, seed: int) -> str:
    """Writes a file of that size and returns its SHA-256 in hex."""
    source, sha256 = random.Random(seed), hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for begin in range(0, size_bytes, _BLOCK_BYTES):
            block = source.randbytes(min(_BLOCK_BYTES, size_bytes - begin))
            sha256.update(block)
            file.write(block)
    return sha256.hexdigest()


def write_tree(root: Path, tree: Tree) -> Path:
    """Writes files below `root`, folders as needed, and returns `root`."""
    for name, data in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def read_tree(root: Path) -> dict[str, bytes]:
    """Returns all files below `root` but the marker of a version; of a file, itself as ""."""
    if root.is_file():
        return {"": root.read_bytes()}
    return {
        name: (root / name).read_bytes() for name in sorted(_names(root, root)) if name != MARKER
    }


def _names(root: Path, folder: Path) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _names(root, Path(entry.path))
        else:
            yield str(Path(entry.path).relative_to(root))


def sha256_of(path: Path) -> str:
    """Returns a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
