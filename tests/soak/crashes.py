"""Power cuts on ext4 and XFS: before every call of every operation, in two ways; then of daemons.

`python -m tests.soak.crashes`, as root. The journal is lost with all else, or has been written
while no file has: what a disk does lies between the two.
"""

import random
import sys
from contextlib import ExitStack

from tests.soak.daemon_cuts import DaemonCuts
from tests.soak.running import Soak, arguments
from tests.support.crash_operations import OPERATIONS
from tests.support.crashing import Driver, PowerCuts, crash_driver
from tests.support.loop_disks import FILE_SYSTEMS, Cut, LoopDisk, loop_disk


def cut_operations(soak: Soak, disk: LoopDisk, driver: Driver) -> bool:
    """Cut before every call of the cache's operations; tell whether there was time for all."""
    cuts = PowerCuts(disk, driver)
    points = [p for cut in Cut for o in OPERATIONS.values() for p in cuts.points(o, cut)]
    # Shuffled: a run that ends early has seen something of everything.
    random.Random(soak.seed).shuffle(points)
    for point in points:
        key = f"{disk.fs_type} {point}"
        if soak.has_done(key):
            continue
        if soak.is_over:
            return False
        found = [f"{disk.fs_type}: {finding}" for finding in cuts.findings(point)]
        soak.note(key, found, {"calls of the cache": 1})
    return True


def cut_daemons(soak: Soak, disk: LoopDisk) -> bool:
    """Cut before system calls of a real daemon; tell whether there was time for all."""
    with DaemonCuts(disk) as cuts:
        for point in cuts.points():
            key = f"{disk.fs_type} {point}"
            if soak.has_done(key):
                continue
            if soak.is_over:
                return False
            found = [f"{disk.fs_type}: {finding}" for finding in cuts.findings(point)]
            soak.note(key, found, {"system calls of a daemon": 1})
    return True


def main() -> int:
    """Run, and return the exit code."""
    given = arguments("Cut the power at every point.").parse_args()
    soak, finished = Soak("crashes", given), True
    for fs_type in FILE_SYSTEMS:
        with ExitStack() as stack:
            disk = stack.enter_context(loop_disk(fs_type))
            driver = stack.enter_context(crash_driver())
            finished = finished and cut_operations(soak, disk, driver)
            finished = finished and cut_daemons(soak, disk)
    return soak.end(finished=finished)


if __name__ == "__main__":
    sys.exit(main())
