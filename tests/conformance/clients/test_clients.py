"""Every language does in every scenario what is expected, on its public helper alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from assetd.v1.error_reason_pb2 import ErrorReason

from tests.clients.python.scripted import ScriptedDaemon
from tests.conformance.clients.conftest import Runners
from tests.conformance.clients.expectations import assert_honest, assert_like
from tests.conformance.clients.runners import LANGUAGES, Language, Runner
from tests.conformance.clients.scenarios import Scenario, filled, load
from tests.conformance.clients.stage import SOURCES, Stage
from tests.conformance.clients.worlds import Store, World, running_world
from tests.support.daemon import Daemons

SCENARIOS = load()


def _cases() -> Iterator[object]:
    for language in LANGUAGES:
        for scenario in SCENARIOS:
            if scenario.fast and not language.has_fast_path:
                continue
            yield pytest.param(
                language,
                scenario,
                id=f"{language.name}-{scenario.slug}",
                marks=[
                    pytest.mark.needs_program(language.program, "versitygw"),
                    # One runner and one daemon for all of a language.
                    pytest.mark.xdist_group(f"clients-{language.name}"),
                ],
            )


@pytest.mark.parametrize(("language", "scenario"), list(_cases()))
def test_a_scenario(
    language: Language,
    scenario: Scenario,
    runners: Runners,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """As its file says."""
    record_property("client_scenario", (language.name, scenario.name))
    if scenario.script is not None:
        scripted: ScriptedDaemon = request.getfixturevalue("scripted")
        with _told(runners.shared(language, scripted.address)) as runner:
            Stage(scenario, runner, tmp_path, scripted=scripted).play()
    elif scenario.daemon is None:
        world: World = request.getfixturevalue("shared_world")
        with _told(runners.shared(language, world.daemon.address)) as runner:
            _play(scenario, runner, tmp_path, world)
    else:
        store: Store = request.getfixturevalue("store")
        daemons: Daemons = request.getfixturevalue("daemons")
        sources = tmp_path / SOURCES
        sources.mkdir()
        settings = filled(scenario.daemon, lambda *_: str(sources))
        with running_world(store, daemons, settings, cut=scenario.cut) as world:
            variables = {"ASSETD_ADDRESS": world.address}
            if scenario.fast:
                variables["ASSETS_DIR"] = str(world.daemon.assets_dir)
            runner = runners.start(language, variables)
            try:
                with _told(runner):
                    _play(scenario, runner, tmp_path, world)
                assert runner.was_killed or runner.close() == 0
            finally:
                runner.close()


def _play(scenario: Scenario, runner: Runner, folder: Path, world: World) -> None:
    try:
        Stage(scenario, runner, folder, world=world).play()
    finally:
        world.store.calm_down()


@contextmanager
def _told(runner: Runner) -> Iterator[Runner]:
    """Show with a failure what was said, and let the next scenario begin with an empty page."""
    try:
        yield runner
    except AssertionError as failure:
        failure.add_note(runner.story())
        raise
    finally:
        runner.forget()


def test_every_reason_has_a_scenario() -> None:
    """A reason that is added to the contract cannot be forgotten."""
    wanted = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    told = {
        step["error"]["reason"]
        for scenario in SCENARIOS
        for step in scenario.steps
        if isinstance(step.get("error", {}).get("reason"), str)
    }
    assert wanted <= told


def test_what_is_compared_can_fail() -> None:
    """Each question that a scenario may ask is answered by no, too."""
    for got, wanted in (
        (1, 2),
        ({"a": 1}, {"b": 1}),
        ([1], [1, 2]),
        (None, {"none": False}),
        (1, {"at_least": 2}),
        (3, {"at_most": 2}),
        ("aa", {"length": 1}),
        ("aa", {"length_at_most": 1}),
        ("aa", {"matches": "a"}),
        ("aa", {"contains": "b"}),
    ):
        with pytest.raises(AssertionError):
            assert_like(got, wanted)
    for reports in (
        [{"present_bytes": 2, "attempt": 1}, {"present_bytes": 1, "attempt": 1}],
        [{"present_bytes": 1, "attempt": 2}, {"present_bytes": 1, "attempt": 1}],
        [{"present_bytes": 3, "total_bytes": 2, "attempt": 1}],
        [{"stored_bytes": 2}, {"stored_bytes": 1}],
    ):
        with pytest.raises(AssertionError):
            assert_honest(reports)
