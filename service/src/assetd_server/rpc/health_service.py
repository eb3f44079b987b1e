"""grpc.health.v1: whether the daemon lives, and whether each service is ready.

Knows no reason for readiness: `app` tells it. Written here because grpcio's own servicer lets one
watcher that stops reading hold up every change of status, a stop of the daemon included.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
from grpc.aio import ServicerContext
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

ALIVE: Final = ""

Context = ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):
    """Answers probes; `""` serves from the start, the services once they are ready."""

    def __init__(self, services: Iterable[str]) -> None:
        """Report on `services`, none of which is ready yet."""
        self._serving = {ALIVE: True, **dict.fromkeys(services, False)}
        self._stopped = False
        self._changed = asyncio.Event()

    def set_ready(self, ready: bool) -> None:
        """Tell whether the services can do their work. Without effect after `stop`."""
        if not self._stopped:
            self._set({name: ready or name == ALIVE for name in self._serving})

    def stop(self) -> None:
        """Say NOT_SERVING to everybody from now on, and end all watches after having said so."""
        self._stopped = True
        self._set(dict.fromkeys(self._serving, False))

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        """Answer one probe; a service that the daemon does not have is NOT_FOUND."""
        if request.service not in self._serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "the daemon has no such service")
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(
        self, request: HealthCheckRequest, _context: Context
    ) -> AsyncIterator[HealthCheckResponse]:
        """Send the status now and whenever it changes; a slow reader misses those between."""
        told: int | None = None
        while True:
            # Taken before the status is read: what changes while a slow reader reads is seen.
            changed, status, stopped = self._changed, self._status(request.service), self._stopped
            if status != told:
                told = status
                yield HealthCheckResponse(status=status)
            if stopped:
                return
            await changed.wait()

    def _set(self, serving: dict[str, bool]) -> None:
        self._serving = serving
        self._changed.set()
        self._changed = asyncio.Event()

    def _status(self, service: str) -> int:
        if service not in self._serving:
            return HealthCheckResponse.SERVICE_UNKNOWN
        serving = self._serving[service]
        return HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
