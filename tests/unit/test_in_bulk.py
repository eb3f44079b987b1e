"""Making many objects: the interpreter's search is off meanwhile, and on again in the end."""

import gc
import threading

import pytest
from assetd_server.assets.in_bulk import in_bulk


def test_blocks_may_lie_in_each_other_and_in_threads() -> None:
    """The last that ends switches it on again."""
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with in_bulk():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    assert gc.isenabled()
    with in_bulk():
        thread.start()
        inside.wait()
        with in_bulk():
            assert not gc.isenabled()
    assert not gc.isenabled(), "the other thread is not through"
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_a_failure_switches_it_on_again() -> None:
    """However the block ends."""
    with pytest.raises(OSError, match="x"), in_bulk():
        raise OSError("x")
    assert gc.isenabled()


def test_who_had_it_off_keeps_it_off() -> None:
    """It is the program's own choice."""
    gc.disable()
    try:
        with in_bulk():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
