"""What asyncio says of failures that nobody has looked at."""

import gc

import pytest


def complaints_of_asyncio(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return them; others in this process, such as exporters of traces, may log what they like.

    Such a failure is told once its future is gone: what holds it is to be deleted before.
    """
    gc.collect()
    return [record.getMessage() for record in caplog.records if record.name == "asyncio"]
