"""What soaks have in common: they can be interrupted at any time, and say so in one line."""

from argparse import Namespace
from pathlib import Path

import pytest

from tests.soak.running import Soak


def soak(states: Path, minutes: float = 60.0) -> Soak:
    """A soak that begins, or goes on."""
    return Soak("drills", Namespace(seed=7, minutes=minutes, states=states))


def test_it_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was done is not done again, and its figures and findings count."""
    first = soak(tmp_path)
    first.note("a", ["broken"], {"drills": 2})
    assert first.end(finished=False) == 1
    assert "not finished, the next run goes on" in capsys.readouterr().out
    second = soak(tmp_path)
    assert (second.has_done("a"), second.has_done("b")) == (True, False)
    second.note("b", [], {"drills": 1})
    assert second.end(finished=True) == 1
    assert "soak-drills: seed 7: 3 drills; 1 findings; " in capsys.readouterr().out


def test_it_begins_anew_once_it_is_finished(tmp_path: Path) -> None:
    """No state is left, and nothing is found is exit code 0."""
    first = soak(tmp_path)
    first.note("a", [], {"drills": 1})
    first.save()
    assert first.end(finished=True) == 0
    assert [*tmp_path.iterdir()] == []
    assert not soak(tmp_path).has_done("a")


def test_it_ends_in_time(tmp_path: Path) -> None:
    """A run without time does nothing more."""
    assert soak(tmp_path, minutes=0).is_over
    assert not soak(tmp_path).is_over
