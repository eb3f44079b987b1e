"""The power is cut before every call that changes the disk, of every operation, on ext4 and XFS.

What stands at a final path afterwards is whole or is not there, what was acknowledged is there, and
the next run makes good what is missing. That the harness would see the opposite is shown by seeded
bugs; `make soak-crashes` cuts before all other calls too, `make soak-mutations` seeds more bugs.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash_operations import OPERATIONS
from tests.support.crashing import Driver, PowerCuts, crash_driver
from tests.support.loop_disks import FILE_SYSTEMS, LoopDisk, loop_disk, require_loop_disks
from tests.support.straced import calls_below, in_the_kernel, strace

Powered = tuple[LoopDisk, Driver]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(fs_type, marks=pytest.mark.xdist_group(f"power-cuts-{fs_type}"))
        for fs_type in FILE_SYSTEMS
    ],
)
def powered(request: pytest.FixtureRequest) -> Iterator[Powered]:
    """A disk whose power can be cut, and who works on it."""
    require_loop_disks(request.param)
    # The disk last: it is unmounted once nobody works on it any more.
    with loop_disk(request.param) as disk, crash_driver() as driver:
        yield disk, driver


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_power_cut_before_any_change(powered: Powered, name: str) -> None:
    """A power cut at any moment loses nothing that was answered, and shows nothing partial.

    By every byte; what was answered is marked as well, and the next run makes good what is missing.

    After a power cut at any call the next start and fetch succeed, and leave nothing over.
    """
    cuts = PowerCuts(*powered)
    points = cuts.points_of_change(OPERATIONS[name])
    assert [wrong for point in points for wrong in cuts.findings(point)] == []


@pytest.mark.parametrize("mutant", ["no-file-sync", "no-folder-sync"])
def test_a_seeded_bug_is_caught(powered: Powered, mutant: str) -> None:
    """Without the sync of files, or of folders, an acknowledged version is lost."""
    cuts = PowerCuts(*powered, mutant)
    points = cuts.points_of_change(OPERATIONS["publish-directory"])
    assert any(cuts.findings(point) for point in reversed(points))


@pytest.mark.needs_program("strace")
def test_every_call_that_reaches_the_kernel_is_numbered(tmp_path: Path) -> None:
    """The kernel sees the calls among which the points are chosen, one for one, and no others."""
    logs, calls = tmp_path / "logs", {}
    logs.mkdir()
    with crash_driver(*strace(logs)) as driver:
        for operation in OPERATIONS.values():
            root = tmp_path / operation.name
            root.mkdir()
            operation.prepare(root)
            operation.disturb(root)
            calls[root] = driver.run(operation, root)["calls"]
    for root, expected in calls.items():
        assert calls_below(logs, root) == in_the_kernel(expected)
