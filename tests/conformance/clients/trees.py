"""The contents that scenarios name: a file, or a folder of them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

Tree = bytes | Mapping[str, bytes]

# As long as a name in a path may be, in bytes, beside what a store's own directories add to it.
_LONG: Final = "long-" + "n" * 195
_DEEP: Final = "/".join(["deep"] * 40)
MANY_FILES: Final = 2000

TREES: Final[Mapping[str, Tree]] = {
    "file": b"the weights\n",
    "other": b"other weights\n",
    "empty": b"",
    "large": bytes(range(256)) * (1 << 12) * 3,
    "huge": bytes(5 << 20),
    "folder": {
        "config.json": b"{}\n",
        "vocab.txt": b"a\nb\n",
        "layers/0/weights.bin": b"0" * 1000,
        "layers/1/weights.bin": b"1" * 2000,
    },
    "other folder": {"config.json": b"[]\n"},
    "hollow": {"empty": b"", "sub/also-empty": b"", "not": b"!"},
    # Composed and decomposed, beyond the BMP, right to left, a space, and a quote.
    "unicode": {
        "é.txt": b"composed",
        "e\u0301.txt": b"decomposed",
        "模型/𝕨eights 🦀.bin": b"wide",  # noqa: RUF001 - beyond the BMP is what it is for
        '\u05de\u05d5\u05d3\u05dc/it\'s "it".txt': b"quoted",
    },
    "long": {_LONG: b"long", f"{_DEEP}/{_LONG}": b"deep and long"},
    "many": {
        f"{number // 100:02}/part-{number:04}": b"%d" % number for number in range(MANY_FILES)
    },
}


def write(tree: Tree, path: Path) -> Path:
    """Write a tree to where nothing is, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return path
    for name, data in tree.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def read(path: Path) -> Tree:
    """Return what lies there; the files that a cache keeps for itself are none of it."""
    if path.is_file():
        return path.read_bytes()
    files = (file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in files
        if not file.name.startswith(".")
    }


def digest(tree: Tree) -> str:
    """Return the digest as api.md defines it, computed here and by nothing of assetd's."""
    if isinstance(tree, bytes):
        return _sha256(tree)
    ordered = sorted(tree.items(), key=lambda item: item[0].encode())
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in ordered)
    return _sha256(lines.encode())


def size(tree: Tree) -> int:
    """Return the bytes of all files together."""
    return len(tree) if isinstance(tree, bytes) else sum(map(len, tree.values()))


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
