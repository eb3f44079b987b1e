"""How the two SDKs are set up for one bucket, so that they agree on who, where and how long.

botocore reads what AWS users have set up (environment, profiles, roles), and obstore is told what
it found. Retries are off in both: `retrying.py` is the one layer that has them.
"""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import botocore.exceptions
import botocore.session
import botocore.utils
from botocore.config import Config
from obstore.store import S3Store

from assetd_server.store.objects.failures import NO_CREDENTIALS, NOWHERE
from assetd_server.store.objects.sdk_errors import NO_CREDENTIALS_ERRORS
from assetd_server.store.objects.signing import sign_pieces_at_once

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Credential

# obstore bounds a whole request with its body, by 30 s unless told otherwise. A slow download is no
# failure as long as it moves, and the stall timeout sees to that.
_REQUEST_TIMEOUT = timedelta(days=1)
# S3 closes idle connections after some 20 s; a request sent into a closing one is lost.
_IDLE_TIMEOUT = timedelta(seconds=15)
# botocore renews credentials 10 minutes before they expire, obstore asks again a few minutes before
# the time it was told: so what it signs with always lasts.
_CREDENTIALS_LIFETIME = timedelta(minutes=9)
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True)
class S3Settings:
    """Where an S3 store is, and how to talk to it. The store is what lies below `prefix`.

    `endpoint_url` and `region`, where they are None, are found as the AWS tools find them.
    `kms_key_id` encrypts what is written. A connection is made within `connect_timeout_seconds`;
    the answer begins, and goes on, within `stall_timeout_seconds` each; the whole may take longer.
    Readers yield chunks of `chunk_bytes`: smaller ones cost CPU, larger ones memory. At most
    `max_calls` of botocore's (listings, and parts of uploads) run at once.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    kms_key_id: str | None = None
    chunk_bytes: int = 1 << 20
    connect_timeout_seconds: float = 10.0
    stall_timeout_seconds: float = 30.0
    max_calls: int = 16

    @property
    def url(self) -> str:
        """The store's address, for people."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


Addressing = Literal["auto", "path"]


def make_client(settings: S3Settings, session: botocore.session.Session) -> Any:
    """Return botocore's S3 client: by host on AWS, by path at any other endpoint.

    Which endpoint it is may stand in the environment or a profile, so only the client can tell.
    """
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_parse_timestamp)
    if settings.endpoint_url is None:
        client = _make_client(settings, session, addressing="auto")
        if _is_aws(client.meta.endpoint_url):
            return client
    return _make_client(settings, session, addressing="path")


def _parse_timestamp(text: str) -> datetime:
    """Return the time that an answer tells; botocore's own way takes most of a listing's time."""
    try:
        parsed = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return botocore.utils.parse_timestamp(text)
    return parsed if parsed.tzinfo else botocore.utils.parse_timestamp(text)


def _make_client(
    settings: S3Settings, session: botocore.session.Session, addressing: Addressing
) -> Any:
    client = session.create_client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        config=Config(
            connect_timeout=settings.connect_timeout_seconds,
            read_timeout=settings.stall_timeout_seconds,
            max_pool_connections=settings.max_calls,
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={"addressing_style": addressing},
            # Stores other than AWS refuse, or keep, the trailers that botocore adds by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    sign_pieces_at_once(client)
    return client


def make_store(
    settings: S3Settings, session: botocore.session.Session, client: Any, executor: Executor
) -> S3Store:
    """Return obstore's store of the bucket, at the client's endpoint."""
    endpoint, is_by_host = _address(settings.bucket, client.meta.endpoint_url)
    # obstore reads variables of its own: what is given here goes before them.
    config: S3Config = {
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "region": client.meta.region_name,
        "virtual_hosted_style_request": is_by_host,
        "skip_signature": False,
        # Each body goes with its signed SHA-256, which the store can compare.
        "unsigned_payload": False,
        "conditional_put": "etag",
        # One DELETE per key: not every store knows the other way, and its answer hides failures.
        "disable_bulk_delete": True,
    }
    if settings.kms_key_id:
        config["server_side_encryption"] = "aws:kms"
        config["sse_kms_key_id"] = settings.kms_key_id
    return S3Store(
        settings.bucket,
        config=config,
        client_options=_client_options(settings, session, endpoint),
        retry_config={"max_retries": 0},
        credential_provider=_Credentials(session, executor),
    )


def _address(bucket: str, endpoint: str) -> tuple[str, bool]:
    """Return the endpoint as obstore wants it, and whether its host names the bucket.

    A bucket with a dot has to go by path: no certificate covers two levels of names.
    """
    if not _is_aws(endpoint) or "." in bucket:
        return endpoint, False
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{bucket}.{host}", True


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(_AWS_HOSTS)


def _client_options(
    settings: S3Settings, session: botocore.session.Session, endpoint: str
) -> "ClientConfig":
    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=settings.connect_timeout_seconds),
        "read_timeout": timedelta(seconds=settings.stall_timeout_seconds),
        "timeout": _REQUEST_TIMEOUT,
        "pool_idle_timeout": _IDLE_TIMEOUT,
    }
    if not botocore.utils.get_environ_proxies(endpoint):
        # obstore follows redirects and cannot be told not to. None must lead to another host, so
        # all hosts but the store's are behind a proxy that is not there.
        options["proxy_url"] = f"http://{NOWHERE}"
        options["proxy_excludes"] = urlsplit(endpoint).hostname or ""
    if certificates := session.get_config_variable("ca_bundle"):
        options["root_certificate"] = Path(certificates).read_bytes()
    return options


def encryption_of(settings: S3Settings) -> dict[str, str]:
    """Return the arguments with which botocore starts an upload."""
    if not settings.kms_key_id:
        return {}
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key_id}


class _Credentials:
    """botocore's credentials for obstore, which asks whenever those that it holds run out.

    A new look may ask the network (SSO, a role, the instance), so it is taken in a thread.
    """

    def __init__(self, session: botocore.session.Session, executor: Executor) -> None:
        self._session = session
        self._executor = executor

    async def __call__(self) -> "S3Credential":
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._load)

    def _load(self) -> "S3Credential":
        expires_at = datetime.now(UTC) + _CREDENTIALS_LIFETIME
        try:
            credentials = self._session.get_credentials()
            frozen = credentials.get_frozen_credentials() if credentials else None
            if frozen is None or frozen.access_key is None or frozen.secret_key is None:
                raise botocore.exceptions.NoCredentialsError
        except (*NO_CREDENTIALS_ERRORS, botocore.exceptions.ClientError) as error:
            # obstore hands on the text alone, so that is where the meaning has to stand.
            raise PermissionError(NO_CREDENTIALS) from error
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": expires_at,
        }
