"""What the settings and the environment of AWS users come to in both SDKs, which have to agree."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from assetd_server.errors import StoreAccessDeniedError, StoreUnavailableError
from assetd_server.store.base import ObjectStore
from assetd_server.store.objects import S3Settings, open_s3_store
from assetd_server.store.objects.clients import make_client, make_store
from botocore.config import Config

from tests.support.moto_server import moto_server
from tests.support.scripted_s3 import found, scripted_s3

BUCKET = "models"
PROFILE = """
[profile trainer]
region = eu-west-1
aws_access_key_id = profile-key
aws_secret_access_key = profile-secret

[profile elsewhere]
region = eu-north-1
endpoint_url = https://s3.example:9000

[profile role]
region = us-east-1
role_arn = arn:aws:iam::123456789012:role/assetd
source_profile = trainer
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An AWS user's environment, without what this machine's user has in theirs."""
    profiles = tmp_path / "config"
    profiles.write_text(PROFILE)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "CA_BUNDLE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profiles))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def threads() -> Iterator[Executor]:
    """Threads for what blocks."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@dataclass(frozen=True)
class Handles:
    """Both SDKs' handles of a bucket; what obstore tells of itself, as the text that it is."""

    client: Any
    config: Mapping[str, Any]
    options: Mapping[str, Any]
    retries: Mapping[str, Any]


Make = Callable[[S3Settings], Handles]


@pytest.fixture
def make(threads: Executor) -> Make:
    """Makes the handles that settings describe."""

    def make_both(settings: S3Settings) -> Handles:
        session = botocore.session.Session()
        client = make_client(settings, session)
        store = make_store(settings, session, client, threads)
        assert store.client_options is not None
        assert store.retry_config is not None
        return Handles(client, {**store.config}, {**store.client_options}, {**store.retry_config})

    return make_both


# Where


def test_on_aws_the_host_names_the_bucket(make: Make) -> None:
    """In the region that is asked for."""
    both = make(S3Settings(BUCKET, region="eu-central-1"))
    assert both.client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    assert both.config["endpoint"] == f"https://{BUCKET}.s3.eu-central-1.amazonaws.com"
    assert both.config["virtual_hosted_style_request"] == "true"
    assert both.config["region"] == "eu-central-1"


def test_a_bucket_with_a_dot_goes_by_path(make: Make) -> None:
    """No certificate of AWS covers its host."""
    both = make(S3Settings("my.models", region="eu-central-1"))
    assert both.config["endpoint"] == "https://s3.eu-central-1.amazonaws.com"
    assert both.config["virtual_hosted_style_request"] == "false"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_elsewhere_the_path_names_the_bucket(make: Make, scheme: str) -> None:
    """And plain http is allowed where the endpoint says it, and nowhere else."""
    endpoint = f"{scheme}://minio.example:9000"
    both = make(S3Settings(BUCKET, endpoint_url=endpoint))
    assert both.client.meta.endpoint_url == both.config["endpoint"] == endpoint
    assert both.client.meta.config.s3["addressing_style"] == "path"
    assert both.config["virtual_hosted_style_request"] == "false"
    assert both.options["allow_http"] == str(scheme == "http").lower()


def test_the_environment_names_the_endpoint(make: Make, environment: pytest.MonkeyPatch) -> None:
    """As it does for the AWS tools; both SDKs then go by path."""
    environment.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example:9000")
    both = make(S3Settings(BUCKET))
    assert both.client.meta.endpoint_url == both.config["endpoint"] == "https://s3.example:9000"
    assert both.client.meta.config.s3["addressing_style"] == "path"
    assert both.config["virtual_hosted_style_request"] == "false"


def test_the_profile_names_region_and_endpoint(make: Make, environment: pytest.MonkeyPatch) -> None:
    """obstore, which knows no profiles, is told."""
    environment.setenv("AWS_PROFILE", "elsewhere")
    both = make(S3Settings(BUCKET))
    assert both.config["endpoint"] == "https://s3.example:9000"
    assert both.config["region"] == "eu-north-1"


def test_the_settings_go_before_the_environment(
    make: Make, environment: pytest.MonkeyPatch
) -> None:
    """In both SDKs, of which obstore has variables of its own."""
    environment.setenv("AWS_PROFILE", "elsewhere")
    environment.setenv("AWS_ENDPOINT_URL_S3", "http://other.example")
    environment.setenv("AWS_ENDPOINT", "http://third.example")
    environment.setenv("AWS_ALLOW_HTTP", "true")
    environment.setenv("AWS_SKIP_SIGNATURE", "true")
    environment.setenv("AWS_CONDITIONAL_PUT", "disabled")
    settings = S3Settings(BUCKET, endpoint_url="https://minio.example", region="eu-west-3")
    both = make(settings)
    assert both.client.meta.endpoint_url == both.config["endpoint"] == "https://minio.example"
    assert both.client.meta.region_name == both.config["region"] == "eu-west-3"
    assert both.config["endpoint_url_s3"] == "https://minio.example"
    assert both.config["skip_signature"] == "false"
    assert both.config["conditional_put"] == "etag"
    assert both.options["allow_http"] == "false"


# How


def test_neither_sdk_repeats_and_both_give_up_alike(make: Make) -> None:
    """One layer has the retries, and it can only count what it sees."""
    settings = S3Settings(BUCKET, connect_timeout_seconds=2.5, stall_timeout_seconds=7)
    both = make(settings)
    assert both.client.meta.config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert both.client.meta.config.connect_timeout == 2.5
    assert both.client.meta.config.read_timeout == 7
    assert both.retries["max_retries"] == 0
    assert both.options["connect_timeout"] == "2s 500ms"
    assert both.options["read_timeout"] == "7s"
    # A whole request may take as long as it moves: obstore's own bound is 30 s.
    assert both.options["timeout"] == "1day"


def test_no_checksums_are_added(make: Make) -> None:
    """Stores other than AWS refuse them, or keep them with the object."""
    both = make(S3Settings(BUCKET))
    assert both.client.meta.config.request_checksum_calculation == "when_required"
    assert both.client.meta.config.response_checksum_validation == "when_required"


def test_an_operators_proxy_is_left_alone(make: Make, environment: pytest.MonkeyPatch) -> None:
    """Where there is one, it decides where requests may go."""
    both = make(S3Settings(BUCKET, region="eu-west-1"))
    assert both.options["proxy_excludes"] == f"{BUCKET}.s3.eu-west-1.amazonaws.com"
    environment.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    both = make(S3Settings(BUCKET, region="eu-west-1"))
    assert "proxy_url" not in both.options


def test_the_operators_certificates_are_read(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`AWS_CA_BUNDLE` holds for obstore too; one that is no certificate is refused at once."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
    environment.setenv("AWS_CA_BUNDLE", str(bundle))
    with pytest.raises(StoreUnavailableError, match="AWS_CA_BUNDLE"):
        open_s3_store(S3Settings(BUCKET, region="eu-west-1"))
    environment.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(StoreUnavailableError, match="AWS_CA_BUNDLE"):
        open_s3_store(S3Settings(BUCKET, region="eu-west-1"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (S3Settings(BUCKET, endpoint_url="not an address"), "not an address"),
        (S3Settings(BUCKET, region="no region"), "AWS"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: S3Settings, words: str) -> None:
    """When the store is opened, with their own words."""
    with pytest.raises(StoreUnavailableError, match=words):
        open_s3_store(settings)


def test_the_url_names_bucket_and_prefix() -> None:
    """As the operator wrote it."""
    assert S3Settings(BUCKET).url == "s3://models"
    assert S3Settings(BUCKET, "a/b").url == "s3://models/a/b"


# Who


def test_a_profile_that_does_not_exist_is_refused(environment: pytest.MonkeyPatch) -> None:
    """As no usable credentials."""
    environment.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreAccessDeniedError, match="AWS_PROFILE"):
        open_s3_store(S3Settings(BUCKET, region="eu-west-1"))


async def test_missing_credentials_are_told_as_such() -> None:
    """By both SDKs, without a request."""
    async with scripted_s3() as server:
        store = open_s3_store(S3Settings(BUCKET, endpoint_url=server.endpoint_url))
        with pytest.raises(StoreAccessDeniedError, match="no usable AWS credentials"):
            await store.head("k")
        with pytest.raises(StoreAccessDeniedError, match="no usable AWS credentials"):
            await store.start_upload("k")
        assert server.requests == []
        await store.close()


async def test_credentials_come_from_the_profile(environment: pytest.MonkeyPatch) -> None:
    """obstore, which knows no profiles, asks botocore."""
    environment.setenv("AWS_PROFILE", "trainer")
    async with scripted_s3(found(b"x")) as server:
        store = open_s3_store(S3Settings(BUCKET, endpoint_url=server.endpoint_url))
        await store.get("k", 1)
        signature = server.requests[0].headers["authorization"]
        assert "Credential=profile-key/" in signature
        assert "/eu-west-1/s3/" in signature
        await store.close()


async def test_a_role_is_assumed(environment: pytest.MonkeyPatch) -> None:
    """Its credentials, token included, do for the calls of both SDKs."""
    environment.setenv("AWS_PROFILE", "role")
    with moto_server() as address:
        environment.setenv("AWS_ENDPOINT_URL_STS", address)
        make_bucket(address)
        store = open_s3_store(S3Settings(BUCKET, "p", endpoint_url=address))
        await uses_both(store)
        await store.close()


def make_bucket(address: str) -> None:
    """Creates the bucket."""
    session = botocore.session.Session()
    session.set_credentials("owner", "secret")
    client: Any = session.create_client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()


async def uses_both(store: ObjectStore) -> None:
    """Writes by each SDK what the other reads back."""
    await store.create("small", b"small")
    begun = await store.start_upload("large")
    receipts = [await store.upload_part(begun, 1, 0, [b"large"])]
    await store.create_from_upload(begun, receipts)
    pages = [page async for page in store.list("")]
    assert [found.key for page in pages for found in page.objects] == ["large", "small"]
    assert (await store.get("large", 9))[1] == b"large"


def test_settings_are_compared_by_value() -> None:
    """They are plain values, handed down."""
    assert replace(S3Settings(BUCKET, "a"), prefix="b") == S3Settings(BUCKET, "b")
