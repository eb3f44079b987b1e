"""A user's program in small: every module is imported, and every kind of call is made once.

Run with the daemon's address, a folder and a name; prints as JSON what it saw. It runs where the
wheel is installed with what that needs, and nothing else, so it knows nothing of the tests.
"""

import asyncio
import importlib
import json
import pkgutil
import sys
from importlib.metadata import version
from pathlib import Path

import assetd
import assetd.aio
from google.protobuf.internal import api_implementation


def imported_modules() -> list[str]:
    """The names of all modules of the client, each of them imported: the stubs among them."""
    names = [module.name for module in pkgutil.walk_packages(assetd.__path__, "assetd.")]
    for name in names:
        importlib.import_module(name)
    return names


def content(folder: Path) -> dict[str, str]:
    """What the files of a version hold, by their paths in it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".SUCCESS"]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def calls(address: str, folder: Path, name: str) -> dict[str, object]:
    """What push, fetch, list and a failure answer: one stream each way, pages, and details."""
    with assetd.Client(address, caller="small-program") as client:
        pushed = client.push(folder, name, labels={"by": "me"})
        with client.fetch(f"{name}:0", hold=True) as model:
            fetched, was_held = content(model.path), model.is_held
        listed = [
            (entry.asset_version.version, dict(entry.asset_version.labels))
            for page in client.list(name, full=True)
            for entry in page.entries
        ]
        try:
            client.fetch(f"{name}:7.0")
        except assetd.VersionNotFoundError as error:
            # What protobuf reads from the bytes of the trailers.
            failure = {"reason": error.reason, **error.metadata}
    return {
        "pushed": pushed,
        "fetched": fetched,
        "was_held": was_held,
        "listed": listed,
        "failure": failure,
    }


async def calls_of_asyncio(address: str, name: str) -> str:
    """The version that a fetch finds on the loop."""
    async with (
        assetd.aio.Client(address, caller="small-program") as client,
        client.fetch(name, hold=True) as model,
    ):
        return model.version


def main() -> None:
    """Do it all, and print it."""
    address, folder, name = sys.argv[1:]
    print(  # noqa: T201 - the answer
        json.dumps(
            {
                "package": assetd.__file__,
                "modules": imported_modules(),
                "protobuf": version("protobuf"),
                "implementation": api_implementation.Type(),
                "grpcio": version("grpcio"),
                **calls(address, Path(folder), name),
                "version_on_the_loop": asyncio.run(calls_of_asyncio(address, name)),
            }
        )
    )


if __name__ == "__main__":
    main()
