"""The list of holds: who holds what since when, and the lease that ends with each."""

import pytest
from assetd_server.assets.holds import Holds
from assetd_server.cache.layout import PartialPaths
from assetd_server.cache.leases import take_lease
from assetd_server.model import AssetVersion

from tests.support.assets_bench import Daemon, paths_of
from tests.support.clocks import BEGINNING, ManualClock

PATHS = paths_of("x/y:0.0")
HELD = AssetVersion(PATHS.name, PATHS.version)


def test_holds_are_listed_as_long_as_they_last() -> None:
    """Each hold names its version, its caller and its start, and goes with its block."""
    clock = ManualClock()
    holds = Holds(clock)
    with holds.hold(None, PATHS, HELD, "first"):
        clock.advance(60)
        with holds.hold(None, PATHS, HELD, "second"):
            assert [hold.caller for hold in holds] == ["first", "second"]
            assert [(hold.start_time - BEGINNING).total_seconds() for hold in holds] == [0, 60]
            assert holds.count(PATHS) == 2
        assert [hold.caller for hold in holds] == ["first"]
        assert holds.count(PATHS) == 1
    assert list(holds) == []
    assert holds.count(PATHS) == 0


def test_holds_of_other_versions_do_not_count() -> None:
    """A version's count is its own."""
    holds = Holds(ManualClock())
    with holds.hold(None, PATHS, HELD, ""):
        assert holds.count(paths_of("x/y:0.1")) == 0
        assert holds.count(paths_of("x/z:0.0")) == 0


def test_parts_are_held_apart_from_the_version() -> None:
    """Who holds parts keeps nobody from the whole version, nor the other way round."""
    holds = Holds(ManualClock())
    parts = PartialPaths.of(PATHS)
    with holds.hold(None, parts, HELD, ""):
        assert (holds.count(PATHS), holds.count(parts)) == (0, 1)
    with holds.hold(None, PATHS, HELD, ""):
        assert (holds.count(PATHS), holds.count(parts)) == (1, 0)


def test_a_plain_path_counts_for_no_version() -> None:
    """It is shown, and that is all."""
    holds = Holds(ManualClock())
    with holds.hold(None, None, HELD, ""):
        assert [hold.asset_version for hold in holds] == [HELD]
        assert holds.count(PATHS) == 0


def test_the_list_may_change_while_it_is_read() -> None:
    """A status that is being put together survives holds that come and go."""
    holds = Holds(ManualClock())
    with holds.hold(None, PATHS, HELD, "first"), holds.hold(None, PATHS, HELD, "second"):
        listed = iter(holds)
        next(listed)
        with holds.hold(None, PATHS, HELD, "third"):
            assert [hold.caller for hold in listed] == ["second"]


@pytest.mark.parametrize("fails", [False, True])
async def test_the_lease_ends_with_the_hold(daemon: Daemon, *, fails: bool) -> None:
    """However the block ends, the kernel's lock is given back."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    lease = take_lease(daemon.assets_dir, PATHS)
    assert lease is not None
    holds = Holds(daemon.clock)
    try:
        with holds.hold(lease, PATHS, HELD, "me"):
            if fails:
                raise ConnectionResetError
    except ConnectionResetError:
        assert fails
    assert daemon.fs.open_paths == [""]
    assert list(holds) == []
