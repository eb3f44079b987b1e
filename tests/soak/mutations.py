"""Every harness against seeded bugs: each has to be caught, and code without one has to pass.

`python -m tests.soak.mutations`, as root; `docs/proofs.md` has the result. A bug that is not caught
is a finding: a promise that nobody would see broken.
"""

import itertools
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from tests.soak.running import Soak, arguments
from tests.support.crash_operations import OPERATIONS
from tests.support.crashing import PowerCuts, crash_driver
from tests.support.killing import Killing
from tests.support.lease_drills import lease_findings
from tests.support.loop_disks import FILE_SYSTEMS, Cut, loop_disk
from tests.support.memory_store import MemoryStore
from tests.support.mutants import MUTANTS
from tests.support.resume_drills import NoIfMatchStore, resume_findings
from tests.support.scratch import scratch_folder

# The operations in which each bug is sought, by its name; "" = none, which nobody may find.
_CUT = {
    "": ("publish-directory", "publish-many", "replace-file", "replace-directory", "evict-file"),
    "no-file-sync": (
        "publish-file",
        "publish-directory",
        "replace-file",
        "resume-file",
        "grow-more",
    ),
    "no-folder-sync": (
        *("publish-file", "publish-directory", "replace-file", "replace-directory"),
        *("evict-file", "evict-directory", "grow-first", "evict-parts"),
    ),
    "no-syncfs": ("publish-many", "adopt-file", "adopt-directory"),
    "no-sync": ("publish-file", "publish-many", "evict-directory"),
    "marker-first": ("replace-file",),
    "in-place": ("replace-file",),
    "two-renames": ("replace-directory",),
}
_KILLS = 3_000
# A bug that shows for some microseconds takes a thousand kills, or some thousands, to be met.
_KILLS_FOR_A_BUG = 20_000


@dataclass(frozen=True)
class Drill:
    """A bug, where it is sought, and who yields what is found there; the first finding will do."""

    harness: str
    bug: str
    where: str
    seek: Callable[[], Generator[str, None, None]]


def cut(fs_type: str, name: str, bug: str) -> Generator[str, None, None]:
    """Cut the power of an operation, in both ways, from its end on."""
    operation = OPERATIONS[name]
    with loop_disk(fs_type) as disk, crash_driver() as driver:
        cuts = PowerCuts(disk, driver, bug)
        for kind in reversed(Cut):
            for point in reversed(cuts.points_of_change(operation, kind)):
                yield from cuts.findings(point)


def kill(bug: str, seed: int) -> Generator[str, None, None]:
    """Kill at random."""
    with scratch_folder() as folder:
        killing = Killing(folder, seed, bug)
        for number in range(_KILLS_FOR_A_BUG if bug else _KILLS):
            yield from killing.live(number)


def lease(bug: str) -> Generator[str, None, None]:
    """Let leases meet replacement and eviction."""
    yield from lease_findings(MUTANTS[bug])


def resume(store_type: type[MemoryStore]) -> Generator[str, None, None]:
    """Replace an object while its download is interrupted."""
    yield from resume_findings(store_type)


def drills(seed: int) -> Iterator[Drill]:
    """Yield what is tried."""
    for fs_type, (bug, names) in itertools.product(FILE_SYSTEMS, _CUT.items()):
        for name in names:
            yield Drill("power cut", bug, f"{name}, {fs_type}", partial(cut, fs_type, name, bug))
    for bug in ("", "in-place", "marker-first", "two-renames"):
        yield Drill("random kill", bug, "all operations", partial(kill, bug, seed))
    for bug in ("", "no-recheck", "no-exclusion"):
        yield Drill("lease", bug, "replace, evict", partial(lease, bug))
    yield Drill("resume", "", "a replaced object", partial(resume, MemoryStore))
    yield Drill("resume", "no-if-match", "a replaced object", partial(resume, NoIfMatchStore))


def main() -> int:
    """Run, and return the exit code."""
    given = arguments("Seed bugs, and see them caught.").parse_args()
    soak = Soak("mutations", given)
    for drill in drills(soak.seed):
        key = f"{drill.harness}, bug {drill.bug or 'none'}, in {drill.where}"
        if soak.has_done(key):
            continue
        if soak.is_over:
            return soak.end(finished=False)
        with closing(drill.seek()) as seeking:
            first = next(seeking, "")
        soak.tell(f"{key}: {first or 'nothing found'}")
        wrong = [key] if bool(first) is not bool(drill.bug) else []
        soak.note(key, wrong, {"times a bug" if drill.bug else "times none": 1})
    return soak.end(finished=True)


if __name__ == "__main__":
    sys.exit(main())
