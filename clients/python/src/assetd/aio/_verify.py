"""One check of the cache: its stream, begun anew after a cut, and each result given once."""

import asyncio
from collections.abc import AsyncGenerator

from assetd._retry import Deadline, Retry
from assetd._verify import VerifyCourse
from assetd.aio._connection import Connection, CutError
from assetd.v1.cache_service_pb2 import VerifyRequest, VerifyResult


async def verify(
    connection: Connection, request: VerifyRequest, deadline: Deadline, course: VerifyCourse
) -> AsyncGenerator[VerifyResult, None]:
    """Give the results as they come. Leaves no call behind however the iteration ends.

    Raises:
        AssetdError: the check failed, or its deadline passed.
    """
    retry = Retry(connection.policy, deadline)
    while True:
        stream = connection.stream(connection.cache.Verify, request, deadline.remaining_seconds())
        try:
            while response := await stream.next(deadline):
                retry.answered(response.progress.hashed_bytes)
                result = course.note(response)
                if result is not None:
                    yield result
            course.finish()
            return
        except CutError as cut:
            error = cut.error
        finally:
            stream.cancel()
        await asyncio.sleep(retry.delay_or_raise(error))
