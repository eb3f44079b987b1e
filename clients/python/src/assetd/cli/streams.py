"""The standard streams, where cron, a daemon or a full disk has left less than three of them.

What cannot be said on standard error is left out: the exit code still tells how it ended. What
cannot be written to standard output is a failure, and that is for those who write it.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@contextmanager
def usable_streams() -> Iterator[None]:
    """Have a standard output and a standard error for the block that can be written to.

    One that is closed takes what it gets, and shows nobody. Standard input stays None if it is
    closed: nobody said that there is nothing to read.
    """
    open_descriptors()
    out, error = sys.stdout, sys.stderr
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        sys.stdout = ours = out or nothing
        sys.stderr = unfailing(error or nothing)
        try:
            yield
        finally:
            sys.stderr = error
            # Where a pipe broke, click has put something there that keeps silent about it.
            if sys.stdout is ours:
                sys.stdout = out


def open_descriptors() -> None:
    """Open the standard descriptors that are closed, on nothing.

    The next file to be opened would get the number, such as a socket or a lease, and whoever
    writes to standard error, or a program that takes this one's place, would write into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def unfailing(stream: TextIO) -> TextIO:
    """Return the stream, without the failures of its file; as it is if it is none of Python's."""
    buffer = getattr(stream, "buffer", None)
    # With PYTHONUNBUFFERED there is no buffer between the text and its file.
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.FileIO):
        return stream
    # Nothing is kept between the two: it would fail later on, or where an interrupt comes in the
    # middle of a line, be written twice.
    file = cast("BinaryIO", _Unfailing(raw))
    return io.TextIOWrapper(
        file, encoding=stream.encoding, errors=stream.errors, write_through=True
    )


class _Unfailing(io.RawIOBase):
    """A file that takes everything."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        left = memoryview(data)
        with suppress(OSError):
            while left and (written := self._raw.write(left)):
                left = left[written:]
        return memoryview(data).nbytes

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()
