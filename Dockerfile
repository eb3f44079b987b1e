# The service in an image of its own. The steps are make targets, so that what is
# built here is what is built at a desk; tests/packaging runs them without an engine.

FROM python:3.11-bookworm AS build
WORKDIR /src
COPY Makefile LICENSE requirements.lock ./
COPY tools/uv tools/uv
COPY clients/python clients/python
COPY service service
RUN make runtime RUNTIME=/opt/assetd

# The same interpreter at the same path: the environment points at it.
FROM python:3.11-slim-bookworm
# A number, so that Kubernetes can see that it is not root.
ARG UID=10001
RUN groupadd --gid ${UID} assetd \
    && useradd --uid ${UID} --gid ${UID} --no-create-home --shell /usr/sbin/nologin assetd \
    && install --directory --owner=assetd --group=assetd --mode=0750 /run/assetd /var/lib/assetd
COPY --from=build /opt/assetd /opt/assetd
ENV PATH=/opt/assetd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ASSETS_DIR=/var/lib/assetd \
    ASSETD_LISTEN=unix:///run/assetd/assetd.sock \
    ASSETD_ADDRESS=unix:///run/assetd/assetd.sock
USER ${UID}
VOLUME /var/lib/assetd
# What the daemon itself says: ready. `assetd status` would walk the whole cache each time.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import os, grpc; \
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse; \
from grpc_health.v1.health_pb2_grpc import HealthStub; \
options = [('grpc.default_authority', 'localhost')]; \
channel = grpc.insecure_channel(os.environ['ASSETD_ADDRESS'], options); \
request = HealthCheckRequest(service='assetd.v1.AssetService'); \
answer = HealthStub(channel).Check(request, timeout=4); \
raise SystemExit(answer.status != HealthCheckResponse.SERVING)"]
# SIGTERM drains: running fetches end, new ones are refused.
STOPSIGNAL SIGTERM
ENTRYPOINT ["assetd"]
CMD ["serve"]
