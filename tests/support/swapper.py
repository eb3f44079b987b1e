"""A program that swaps the two entries of each pair below a folder, in turn, until it is ended.

python tests/support/swapper.py FOLDER ONE OTHER [ONE OTHER ...]
"""

import itertools
import sys

from assetd_server.cache.linux import FileSystem


def main(above: str, *names: str) -> None:
    """Says that it has begun, and swaps as fast as it can."""
    fs = FileSystem()
    fd = fs.open_root(above)
    print("swapping", flush=True)  # noqa: T201 - whoever started it waits for this
    for one, other in itertools.cycle(zip(names[::2], names[1::2], strict=True)):
        fs.rename_exchange(fd, one, fd, other)


if __name__ == "__main__":
    main(*sys.argv[1:])
