"""What is fuzzed: a reader of untrusted input, what it may refuse with, and who judges the rest.

Knows no reader of ours and no engine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

# The bound that users are given for anything a caller can send in one field.
MAX_CPU_NS: Final = 10_000_000
# A document's reader may take this for each byte, once that is more. The promise is 1,000, which
# `unit/test_huge_documents.py` holds; where branches are traced it takes up to five times as long.
MAX_CPU_NS_A_BYTE: Final = 4_000

# Some thousand parts, as a real document may have; a hundred times that is for directed tests.
MAX_DOCUMENT_BYTES: Final = 65_536

# Bytes of the engine's own making from bytes, of at most so many.
Havoc = Callable[[bytes, int], bytes]
Mutate = Callable[[bytes, int, Random, Havoc], bytes]


def as_text(raw: bytes) -> str:
    """Any text at all: what is no UTF-8 becomes half of a surrogate pair."""
    return raw.decode("utf-8", "surrogateescape")


def as_bytes(raw: bytes) -> bytes:
    """The very bytes."""
    return raw


@dataclass(frozen=True)
class Target:
    """A reader, and what makes and judges its input.

    `read` gets what `given` makes of the engine's bytes, and is what is timed and watched; `judge`
    gets the same and what `read` returned, None where it refused, and asserts what has to be true.
    Any error but the `refusals` is a finding. `look` uses what was accepted as the daemon does; it
    is called for some of the input.
    """

    name: str
    read: Callable[[Any], Any]
    refusals: tuple[type[Exception], ...]
    judge: Callable[[Any, Any], None]
    seeds: tuple[bytes, ...]
    mutate: Mutate
    given: Callable[[bytes], Any] = as_text
    max_bytes: int = 5_000
    look: Callable[[Any, Any], None] | None = None
    # Reading is all that it does: not one file is opened.
    opens_nothing: bool = True
    max_cpu_ns_a_byte: int = 0

    def max_cpu_ns(self, raw: bytes) -> int:
        """How long `read` may take."""
        return max(MAX_CPU_NS, self.max_cpu_ns_a_byte * len(raw))


def document_target(
    name: str,
    read: Callable[[Any], Any],
    judge: Callable[[Any, Any], None],
    seeds: tuple[bytes, ...],
    mutate: Mutate,
    *,
    refusals: tuple[type[Exception], ...] = (),
    opens: bool = False,
) -> Target:
    """A reader of documents, which `opens` the file that it reads, or gets the bytes."""
    return Target(
        name,
        read,
        refusals,
        judge,
        seeds,
        mutate,
        as_bytes,
        MAX_DOCUMENT_BYTES,
        opens_nothing=not opens,
        max_cpu_ns_a_byte=MAX_CPU_NS_A_BYTE,
    )
