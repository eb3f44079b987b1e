"""A version of the other versioning system is refused before anything of it is stored."""

from pathlib import Path

import pytest
from assetd_server.assets.orders import PushMode
from assetd_server.errors import InvalidVersionError

from tests.support.assets_bench import opened_bench


@pytest.mark.parametrize("mode", [None, PushMode.UPDATE])
@pytest.mark.parametrize(
    ("there", "other"), [("0.0", "2021-03-04T05-06-07Z"), ("2021-03-04T05-06-07Z", "1.0")]
)
@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_version_of_the_other_system_is_not_pushed(
    tmp_path: Path, mode: PushMode | None, there: str, other: str, *, validate_only: bool
) -> None:
    """It leaves no part, no manifest and no claim, and the asset is pushed on as before."""
    async with opened_bench(tmp_path) as bench:
        daemon = bench.daemon()
        await daemon.push(f"some/asset:{there}", b"first")
        before = set(bench.memory.keys)
        with pytest.raises(InvalidVersionError):
            await daemon.push(
                f"some/asset:{other}", b"second", mode=mode, validate_only=validate_only
            )
        assert set(bench.memory.keys) == before
        assert (await daemon.push("some/asset", b"third")).asset_version.version is not None
