"""How far a download is: figures that never fall within one attempt."""

from datetime import timedelta

import pytest
from assetd_server.assets.orders import FetchPhase
from assetd_server.assets.progress import ProgressMeter

from tests.support.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """Time that the test moves."""
    return ManualClock()


@pytest.fixture
def meter(clock: ManualClock) -> ProgressMeter:
    """The meter of a download of 1,000 bytes in two files."""
    return ProgressMeter(clock, 1000, 2)


def test_a_download_begins_with_nothing(meter: ProgressMeter) -> None:
    """No rate and no time left are made up before the first byte."""
    progress = meter.snapshot()
    assert (progress.present_bytes, progress.total_bytes) == (0, 1000)
    assert (progress.present_files, progress.total_files) == (0, 2)
    assert (progress.bytes_per_second, progress.eta, progress.attempt) == (0, None, 1)
    assert progress.phase is FetchPhase.DOWNLOADING


def test_a_steady_rate_tells_the_time_left(meter: ProgressMeter, clock: ManualClock) -> None:
    """100 bytes a second, 600 of 1,000 to come: six seconds."""
    for _ in range(4):
        clock.advance(1)
        meter.add_bytes(100)
    meter.add_file()
    progress = meter.snapshot()
    assert progress.present_bytes == 400
    assert progress.present_files == 1
    assert progress.bytes_per_second == 100
    assert progress.eta == timedelta(seconds=6)
    assert progress.since_last_byte == timedelta(0)


def test_silence_shows(meter: ProgressMeter, clock: ManualClock) -> None:
    """A store that stalls: the rate falls, the time left grows, and the silence is told."""
    clock.advance(1)
    meter.add_bytes(100)
    before = meter.snapshot()
    clock.advance(9)
    after = meter.snapshot()
    assert after.since_last_byte == timedelta(seconds=9)
    assert after.bytes_per_second == 10 < before.bytes_per_second
    assert after.eta == timedelta(seconds=90)
    assert after.present_bytes == before.present_bytes


def test_the_rate_follows_a_change(meter: ProgressMeter, clock: ManualClock) -> None:
    """What happened a minute ago does not slow down the figure of the last seconds."""
    meter = ProgressMeter(clock, None, None)
    for _ in range(60):
        clock.advance(1)
        meter.add_bytes(10)
    for _ in range(6):
        clock.advance(1)
        meter.add_bytes(1000)
    assert meter.snapshot().bytes_per_second > 900


def test_many_small_pieces_do_not_fill_the_memory(meter: ProgressMeter, clock: ManualClock) -> None:
    """A million chunks of a second are one rate."""
    for _ in range(10_000):
        clock.advance(0.0001)
        meter.add_bytes(1)
    assert meter.snapshot().bytes_per_second == pytest.approx(10_000, rel=0.15)
    assert meter.arrived_bytes == 10_000


def test_bytes_fall_only_with_a_new_attempt(meter: ProgressMeter, clock: ManualClock) -> None:
    """Thrown away bytes are subtracted, and the attempt says why; what came, came."""
    clock.advance(1)
    meter.add_bytes(700)
    meter.start_over(300)
    progress = meter.snapshot()
    assert (progress.present_bytes, progress.attempt) == (400, 2)
    assert meter.arrived_bytes == 700
    assert progress.bytes_per_second == 700


def test_an_unknown_size_has_no_time_left(clock: ManualClock) -> None:
    """The wire leaves out what is not known."""
    meter = ProgressMeter(clock, None, None)
    clock.advance(1)
    meter.add_bytes(5)
    progress = meter.snapshot()
    assert (progress.total_bytes, progress.total_files, progress.eta) == (None, None, None)


def test_more_than_was_promised_leaves_no_negative_time(
    meter: ProgressMeter, clock: ManualClock
) -> None:
    """An object that grew is refused at its end; until then the figures stay sane."""
    clock.advance(1)
    meter.add_bytes(1500)
    assert meter.snapshot().eta == timedelta(0)


def test_the_wall_clock_plays_no_part(meter: ProgressMeter, clock: ManualClock) -> None:
    """Rates come from the clock that never goes back."""
    clock.advance(1)
    meter.add_bytes(100)
    clock.jump(-10 * 365 * 24 * 3600)
    assert meter.snapshot().bytes_per_second == 100
