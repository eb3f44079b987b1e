"""The ledger of ASSETS_DIR: what is used, what is set aside, who goes first, what fits."""

import pytest
from assetd_server.cache.budget import Budget, Disk, Entry, Limits

UNLIMITED = Limits()
DISK = Disk(total_bytes=1000, free_bytes=400)
AMPLE = Disk(total_bytes=10**6, free_bytes=10**6)


def entry(key: str, size_bytes: int = 10, **facts: float | bool) -> Entry:
    """A version that the store could give back."""
    return Entry(key, size_bytes, has_receipt=True, **facts)  # type: ignore[arg-type]


def budget_of(*entries: Entry, limits: Limits = UNLIMITED) -> Budget:
    """A budget with these, the least recently used first."""
    budget = Budget(limits)
    for one in entries:
        budget.put(one)
    return budget


def order_of(budget: Budget) -> list[str]:
    """The keys, least recently used first."""
    return [one.key for one in budget]


@pytest.mark.parametrize(
    ("limits", "any_limit"),
    [
        (Limits(), False),
        (Limits(min_age_seconds=1, restart_grace_seconds=1), False),
        (Limits(max_bytes=0), True),
        (Limits(min_free_bytes=0), True),
        (Limits(min_free_fraction=0.1), True),
    ],
)
def test_an_age_alone_is_no_limit(limits: Limits, any_limit: bool) -> None:
    """Only a bound on bytes makes anything go."""
    assert limits.any is any_limit


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(max_bytes=5), 0),
        (Limits(min_free_bytes=300), 300),
        (Limits(min_free_fraction=0.25), 250),
        (Limits(min_free_fraction=0.0), 0),
    ],
)
def test_what_stays_free_is_bytes_or_a_share(limits: Limits, kept: int) -> None:
    """A share is one of the whole disk, whoever uses the rest."""
    assert limits.kept_free(1000) == kept


def test_bytes_are_counted_as_entries_come_change_and_go() -> None:
    """Used is the sum of all; putting one again replaces it, removing twice is once."""
    budget = budget_of(entry("a", 1), entry("b", 20))
    budget.put(entry("a", 300))
    assert (budget.used_bytes, len(budget), order_of(budget)) == (320, 2, ["b", "a"])
    budget.resize(entry("b", 4000))
    assert (budget.used_bytes, order_of(budget)) == (4300, ["b", "a"])
    budget.remove("a")
    budget.remove("a")
    assert (budget.used_bytes, order_of(budget)) == (4000, ["b"])
    assert budget.get("a") is None


def test_resizing_keeps_place_and_last_use() -> None:
    """What a walk finds of a known version is no use of it."""
    budget = budget_of(entry("a", used_at=5.0), entry("b"))
    found = Entry("a", 30, has_receipt=False, marked=False, used_at=99.0)
    budget.resize(found)
    known = budget.get("a")
    assert known is not None
    assert (known.used_at, known.size_bytes) == (5.0, 30)
    assert (known.has_receipt, known.marked) == (False, False)
    assert order_of(budget) == ["a", "b"]


def test_whoever_is_used_goes_last() -> None:
    """The order is ours, of uses, whatever the times say."""
    budget = budget_of(entry("a"), entry("b"), entry("c"))
    budget.touch("a", now=-1.0)
    budget.touch("unknown", now=7.0)
    assert order_of(budget) == ["b", "c", "a"]
    assert budget.get("unknown") is None


def test_entries_may_change_while_they_are_looked_through() -> None:
    """Others use and evict meanwhile."""
    budget = budget_of(entry("a"), entry("b"))
    seen = []
    for one in budget:
        budget.touch("a", 1.0)
        budget.remove("b")
        seen.append(one.key)
    assert seen == ["a", "b"]


@pytest.mark.parametrize(("age", "old"), [(89.9, False), (90.0, True), (-5.0, False)])
def test_old_enough_is_by_our_own_seconds(age: float, old: bool) -> None:
    """From `min_age` on, inclusive."""
    budget = budget_of(entry("a", used_at=1000.0), limits=Limits(min_age_seconds=90))
    [known] = budget
    assert budget.old_enough(known, 1000.0 + age) is old


def test_a_reservation_counts_until_it_is_released() -> None:
    """What has arrived is set aside still, and no longer asked of the disk."""
    budget = Budget(Limits(max_bytes=100))
    arrived = 0
    reservation = budget.reserve(60, lambda: arrived)
    assert (budget.reserved_bytes, budget.remaining_bytes, budget.written_bytes) == (60, 60, 0)
    assert budget.missing_bytes(41, AMPLE) == 1
    arrived = 50
    assert (budget.reserved_bytes, budget.remaining_bytes, budget.written_bytes) == (60, 10, 50)
    assert budget.missing_bytes(41, AMPLE) == 1
    arrived = 70
    assert budget.remaining_bytes == 0, "more than was thought is no gift"
    budget.release(reservation)
    budget.release(reservation)
    assert (budget.reserved_bytes, budget.missing_bytes(100, AMPLE)) == (0, 0)


@pytest.mark.parametrize(
    ("limits", "needed", "missing"),
    [
        (Limits(), 400, 0),
        (Limits(), 401, 1),
        (Limits(max_bytes=150), 50, 0),
        (Limits(max_bytes=150), 51, 1),
        (Limits(max_bytes=50), 0, 50),
        (Limits(min_free_bytes=100), 300, 0),
        (Limits(min_free_bytes=100), 301, 1),
        (Limits(min_free_bytes=500), 0, 100),
        (Limits(min_free_fraction=0.1), 301, 1),
        (Limits(max_bytes=10**6, min_free_bytes=100), 301, 1),
        (Limits(max_bytes=120, min_free_bytes=100), 301, 281),
    ],
)
def test_what_is_missing_is_by_the_tighter_bound(limits: Limits, needed: int, missing: int) -> None:
    """The disk, what has to stay free on it, and the cache's own limit all have to be kept."""
    assert budget_of(entry("a", 100), limits=limits).missing_bytes(needed, DISK) == missing


def test_what_is_replaced_counts_on_the_disk_alone() -> None:
    """It goes when its successor stands; until then both need room on the disk."""
    budget = budget_of(entry("a", 100), limits=Limits(max_bytes=100))
    assert budget.missing_bytes(100, DISK, replaced=("a",)) == 0
    assert budget.missing_bytes(100, DISK, replaced=("b",)) == 100
    assert budget.missing_bytes(100, Disk(1000, 99), replaced=("a",)) == 1


@pytest.mark.parametrize(
    ("limits", "needed", "is_full"),
    [
        (Limits(), 400, False),
        (Limits(), 401, True),
        (Limits(max_bytes=501), 401, True),
        (Limits(max_bytes=500), 401, False),
        (Limits(max_bytes=150), 51, False),
        (Limits(min_free_bytes=100), 400, False),
        (Limits(min_free_bytes=100), 401, True),
    ],
)
def test_a_disk_is_full_where_the_limits_are_not(
    limits: Limits, needed: int, is_full: bool
) -> None:
    """What has to stay free is a limit too: a disk that lacks no more than that is not full."""
    assert budget_of(entry("a", 100), limits=limits).is_disk_full(needed, DISK) is is_full


def test_a_full_disk_lacks_what_is_set_aside() -> None:
    """What downloads will still need is gone; what is replaced leaves room below the limit."""
    budget = budget_of(entry("a", 100), limits=Limits(max_bytes=301))
    budget.reserve(100, lambda: 30)
    assert budget.disk_left_bytes(DISK) == 330
    assert budget.disk_left_bytes(Disk(1000, 50)) == 0
    assert not budget.is_disk_full(102, Disk(1000, 171))
    assert budget.is_disk_full(102, Disk(1000, 171), replaced="a")


@pytest.mark.parametrize(
    ("limits", "free"),
    [
        (Limits(), 400),
        (Limits(max_bytes=150), 50),
        (Limits(max_bytes=50), 0),
        (Limits(min_free_bytes=350), 50),
        (Limits(min_free_bytes=999), 0),
    ],
)
def test_what_is_free_is_never_less_than_nothing(limits: Limits, free: int) -> None:
    """As much as could be written now without evicting."""
    assert budget_of(entry("a", 100), limits=limits).free_bytes(DISK) == free


def test_what_is_set_aside_is_not_free() -> None:
    """Of the disk only what has still to come."""
    budget = Budget(Limits())
    budget.reserve(100, lambda: 30)
    assert budget.free_bytes(DISK) == 330


@pytest.mark.parametrize(
    ("limits", "needed", "never"),
    [
        (Limits(max_bytes=100), 100, False),
        (Limits(max_bytes=100), 101, True),
        (Limits(max_bytes=10**9), 1000, False),
        (Limits(max_bytes=10**9), 1001, True),
        (Limits(min_free_bytes=300), 700, False),
        (Limits(min_free_bytes=300), 701, True),
        (Limits(max_bytes=900, min_free_fraction=0.5), 501, True),
    ],
)
def test_what_never_fits_is_larger_than_an_empty_cache(
    limits: Limits, needed: int, never: bool
) -> None:
    """Whatever is used now: the size of the disk and the limits decide."""
    assert budget_of(entry("a", 10**6), limits=limits).never_fits(needed, DISK) is never


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(), None),
        (Limits(max_bytes=500), 500),
        # 100 are used, and of the 400 free ones 300 have to stay free.
        (Limits(min_free_bytes=300), 200),
        (Limits(min_free_bytes=450), 100),
        (Limits(max_bytes=150, min_free_bytes=300), 150),
    ],
)
def test_the_limit_is_what_the_cache_may_take_as_the_disk_is_now(
    limits: Limits, limit: int | None
) -> None:
    """Who has to leave room on the disk has a limit too, which others who write there move."""
    assert budget_of(entry("a", 100), limits=limits).limit_bytes(DISK) == limit
