"""The client for asyncio: `assetd.Client`'s methods, to be awaited.

    async with assetd.aio.Client() as client:
        async with client.fetch("ranker:1", hold=True) as model:
            load(model.path)

Importing this imports neither grpc nor the stubs in `assetd.v1`. Arguments, answers and errors are
those of the package `assetd`.
"""

from assetd.aio.client import Client

__all__ = ["Client"]
