"""What holds for every test.

Knows no module of the product: fixtures live in `tests.support` and in the folders that need them.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

ROOT = Path(__file__).resolve().parent.parent
PROGRAM_FOLDERS = os.pathsep.join(
    [str(ROOT / ".tools/bin"), str(ROOT / ".tools/s3rver/node_modules/.bin"), os.environ["PATH"]]
)
IN_CI = os.environ.get("CI") == "true"

pytest.register_assert_rewrite("tests.support")

# No deadline, and no complaint about slow generation: both read the wall clock,
# and a busy machine is no defect of ours.
hypothesis.settings.register_profile(
    "everywhere",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# The same examples in each run: a red build is caused by the change it names.
hypothesis.settings.register_profile(
    "ci",
    hypothesis.settings.get_profile("everywhere"),
    derandomize=True,
    print_blob=True,
)
hypothesis.settings.load_profile("ci" if IN_CI else "everywhere")


@pytest.fixture(autouse=True)
def log_settings() -> Iterator[None]:
    """What is logged, and where, is a process's: a program that a test runs in this one sets it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose program is missing, by name; in CI that is a failure."""
    for marker in item.iter_markers("needs_program"):
        for program in marker.args:
            if shutil.which(program, path=PROGRAM_FOLDERS) is not None:
                continue
            if IN_CI:
                pytest.fail(f"{program} is missing, and nothing may be skipped in CI")
            pytest.skip(f"needs {program}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what the clients' scenarios came to, language by language."""
    # Late: pytest has to be told of that package first.
    from tests.support.client_table import table

    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    lines = list(table(reports))
    if lines:
        terminalreporter.section("clients")
        terminalreporter.write("\n".join(lines) + "\n")
