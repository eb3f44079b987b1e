"""The environment into values: defaults, modelkit's names, and all faults at once."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from assetd_server import variables
from assetd_server.assets.source_uris import SourceUri
from assetd_server.config import (
    Config,
    ConfigError,
    DirectoryLocation,
    PushSources,
    S3Location,
    StoreLocation,
    load,
    load_store,
)
from assetd_server.listen import TcpAddress, UnixAddress
from assetd_server.model import Freshness
from assetd_server.versioning import VersioningSystem

REFERENCE = Path(__file__).parents[2] / "docs/configuration.md"
Load = Callable[..., Config]


@pytest.fixture
def assets_dir(tmp_path: Path) -> Path:
    """A directory for the assets."""
    path = tmp_path / "assets"
    path.mkdir()
    return path


@pytest.fixture
def read(assets_dir: Path) -> Load:
    """Reads an environment that would do, with what a test adds to it."""

    def read(**environ: str) -> Config:
        return load({"ASSETS_DIR": str(assets_dir), **environ}, user_id=0)

    return read


def faults_of(read: Load, **environ: str) -> list[str]:
    """What is wrong with an environment."""
    with pytest.raises(ConfigError) as refused:
        read(**environ)
    assert str(refused.value) == "\n".join(refused.value.faults)
    return list(refused.value.faults)


def test_the_least_that_will_do(read: Load, assets_dir: Path) -> None:
    """A directory for the assets is all that must be chosen."""
    assert read() == Config(
        assets_dir=assets_dir,
        store=None,
        push_sources=PushSources(),
        listen=(UnixAddress(Path("/run/assetd/assetd.sock")),),
        freshness=Freshness.STORE,
        versioning=VersioningSystem.MAJOR_MINOR,
        force_download=False,
        store_timeout_seconds=10,
        lock_timeout_seconds=60,
        fetch_timeout_seconds=6 * 3600,
        drain_grace_seconds=30,
        cache_max_bytes=None,
        cache_min_free=None,
        cache_min_age_seconds=90,
        restart_grace_seconds=90,
        range_bytes=8 * 2**20,
        connection_count=32,
        transfer_memory_bytes=192 * 2**20,
        heap_count=2,
        staging_max_age_seconds=24 * 3600,
        push_idle_timeout_seconds=300,
        push_resume_max_age_seconds=60,
        single_pusher=False,
        max_calls=4096,
        reflection=True,
        log_level="info",
        traces=False,
        warnings=(),
    )


def test_the_region_that_the_aws_library_reads_wins(read: Load) -> None:
    """AWS_DEFAULT_REGION is left to the library, as a profile's region is."""
    store = read(
        ASSETD_STORE="s3://models/prod", AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="eu-west-2"
    ).store
    assert isinstance(store, S3Location)
    assert store.region is None


def test_everything_can_be_chosen(read: Load, assets_dir: Path, tmp_path: Path) -> None:
    """Each variable arrives in its value."""
    sources = tmp_path / "sources"
    sources.mkdir()
    config = read(
        ASSETD_STORE="s3://models/prod",
        S3_ENDPOINT="http://127.0.0.1:9000",
        AWS_KMS_KEY_ID="key-1",
        AWS_REGION="eu-west-1",
        ASSETD_LISTEN="unix:///srv/a.sock, 127.0.0.1:7070",
        ASSETD_FRESHNESS="store_or_cache",
        ASSETD_VERSIONING="simple_date",
        MODELKIT_STORAGE_FORCE_DOWNLOAD="False",
        ASSETD_STORE_TIMEOUT="2s",
        ASSETD_LOCK_TIMEOUT="5m",
        ASSETD_FETCH_TIMEOUT="1h",
        ASSETD_DRAIN_GRACE="0s",
        ASSETD_CACHE_MAX_BYTES="2TB",
        ASSETD_CACHE_MIN_FREE="10%",
        ASSETD_CACHE_MIN_AGE="10m",
        ASSETD_RESTART_GRACE="0s",
        ASSETD_PUSH_SOURCES=f"file://{sources}, s3://incoming/models/",
        ASSETD_RANGE_BYTES="16MiB",
        ASSETD_CONNECTIONS="64",
        ASSETD_TRANSFER_MEMORY="1GB",
        MALLOC_ARENA_MAX="16",
        ASSETD_STAGING_MAX_AGE="90m",
        ASSETD_PUSH_IDLE_TIMEOUT="30s",
        ASSETD_PUSH_RESUME_MAX_AGE="0s",
        ASSETD_PUSH_SINGLE_PUSHER="true",
        ASSETD_MAX_CALLS="100",
        ASSETD_REFLECTION="true",
        ASSETD_LOG_LEVEL="debug",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318",
    )
    assert config == Config(
        assets_dir=assets_dir,
        store=S3Location("models", "prod", "http://127.0.0.1:9000", "eu-west-1", "key-1"),
        push_sources=PushSources(
            (SourceUri("", sources.parts[1:]), SourceUri("incoming", ("models",))),
            "http://127.0.0.1:9000",
            "eu-west-1",
        ),
        listen=(UnixAddress(Path("/srv/a.sock")), TcpAddress("127.0.0.1", 7070)),
        freshness=Freshness.STORE_OR_CACHE,
        versioning=VersioningSystem.SIMPLE_DATE,
        force_download=True,
        store_timeout_seconds=2,
        lock_timeout_seconds=300,
        fetch_timeout_seconds=3600,
        drain_grace_seconds=0,
        cache_max_bytes=2 * 10**12,
        cache_min_free=0.1,
        cache_min_age_seconds=600,
        restart_grace_seconds=0,
        range_bytes=16 * 2**20,
        connection_count=64,
        transfer_memory_bytes=10**9,
        heap_count=16,
        staging_max_age_seconds=5400,
        push_idle_timeout_seconds=30,
        push_resume_max_age_seconds=0,
        single_pusher=True,
        max_calls=100,
        reflection=True,
        log_level="debug",
        traces=True,
        warnings=config.warnings,
    )
    [downloads, pushes] = config.warnings
    assert downloads.startswith(
        "MODELKIT_STORAGE_FORCE_DOWNLOAD='False': every fetch downloads anew"
    )
    assert pushes.startswith("ASSETD_PUSH_SINGLE_PUSHER='true': the store is not tried")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """An operator mends them in one go; each line says which, what, and what to do."""
    with pytest.raises(ConfigError) as refused:
        load(
            {
                "ASSETS_DIR": str(tmp_path / "missing"),
                "ASSETD_STORE": "gs://models",
                "ASSETD_LISTEN": "0.0.0.0:7070",
                "ASSETD_PUSH_SOURCES": "http://models",
                "ASSETD_FRESHNESS": "fresh",
                "ASSETD_STORE_TIMEOUT": "soon",
                "ASSETD_RANGE_BYTES": "1kB",
                "ASSETD_TRANSFER_MEMORY": "1kB",
                "ASSETD_CONNECTIONS": "none",
                "ASSETD_REFLECTION": "maybe",
                "ASSETD_LOG_LEVEL": "loud",
            },
            user_id=0,
        )
    faults = dict(fault.split(" ", 1) for fault in refused.value.faults)
    assert faults == {
        f"ASSETS_DIR='{tmp_path}/missing'": "is no directory: make it, or mount it",
        "ASSETD_STORE='gs://models'": "is a kind of store that comes in a later release: write"
        " s3:// or file://",
        "ASSETD_LISTEN='0.0.0.0:7070'": "cannot be listened on: '0.0.0.0:7070' is beyond loopback,"
        " where callers need TLS or a token, which come in a later release: write unix:///path or"
        " 127.0.0.1:port",
        "ASSETD_PUSH_SOURCES='http://models'": "holds 'http://models', which is no source: write"
        " file:///directory or s3://bucket/prefix",
        "ASSETD_FRESHNESS='fresh'": "is unknown: write one of store, store_or_cache, cache",
        "ASSETD_STORE_TIMEOUT='soon'": "is no duration: write a number and its unit, as in 500ms,"
        " 10s, 5m or 1h",
        "ASSETD_RANGE_BYTES='1kB'": "is no size of a range: write 1MiB to 1GiB",
        "ASSETD_TRANSFER_MEMORY='1kB'": "is too little for any download: write 1MiB or more",
        "ASSETD_CONNECTIONS='none'": "is no count: write a number from 1 to 999999",
        "ASSETD_REFLECTION='maybe'": "is unknown: write one of true, false",
        "ASSETD_LOG_LEVEL='loud'": "is unknown: write one of debug, info, warning, error",
    }


def test_an_empty_variable_is_not_set(read: Load) -> None:
    """Compose files and charts write empty values for what nobody chose."""
    empty = {variable.name: "" for variable in variables.ALL if variable.name != "ASSETS_DIR"}
    assert read(**empty) == read()


def test_the_environment_is_the_process_s(
    monkeypatch: pytest.MonkeyPatch, assets_dir: Path
) -> None:
    """Unless a test says otherwise."""
    for name in os.environ:
        if name.startswith(("ASSETD_", "MODELKIT_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ASSETS_DIR", str(assets_dir))
    monkeypatch.setenv("ASSETD_LISTEN", "127.0.0.1:0")
    assert load().listen == (TcpAddress("127.0.0.1", 0),)


def test_the_command_line_wins(assets_dir: Path, tmp_path: Path) -> None:
    """Also over modelkit's name for the same; what it does not say stays as it is."""
    other = tmp_path / "other"
    other.mkdir()
    environ = {"MODELKIT_ASSETS_DIR": str(assets_dir), "ASSETD_STORE": "s3://models"}
    config = load(environ, {"ASSETS_DIR": str(other), "ASSETD_STORE": None}, user_id=0)
    assert (config.assets_dir, config.store) == (other, S3Location("models", ""))
    assert load(environ, {"ASSETD_STORE": "none"}, user_id=0).store is None


class TestAssetsDir:
    """Where the assets are kept."""

    def test_modelkits_name_will_do(self, assets_dir: Path) -> None:
        """A modelkit deployment just starts."""
        config = load({"MODELKIT_ASSETS_DIR": str(assets_dir)}, user_id=0)
        assert config.assets_dir == assets_dir

    def test_both_may_name_the_same(self, assets_dir: Path, tmp_path: Path) -> None:
        """By whatever path."""
        link = tmp_path / "link"
        link.symlink_to(assets_dir)
        for other in (assets_dir, f"{assets_dir}/", link):
            environ = {"ASSETS_DIR": str(assets_dir), "MODELKIT_ASSETS_DIR": str(other)}
            assert load(environ, user_id=0).assets_dir == assets_dir

    def test_both_and_different_is_a_fault(self, read: Load, tmp_path: Path) -> None:
        """One of them is a mistake, and nobody can know which."""
        [fault] = faults_of(read, MODELKIT_ASSETS_DIR=str(tmp_path))
        assert "are two directories: unset one, or set both alike" in fault

    def test_neither_is_a_fault(self) -> None:
        """There is no directory that would be a good guess."""
        with pytest.raises(ConfigError, match="ASSETS_DIR is not set, nor is MODELKIT_ASSETS_DIR"):
            load({}, user_id=0)

    def test_a_file_is_none(self, assets_dir: Path) -> None:
        """Said at the start, and not by the first fetch."""
        file = assets_dir / "file"
        file.write_text("")
        with pytest.raises(ConfigError, match="is no directory"):
            load({"ASSETS_DIR": str(file)}, user_id=0)

    def test_a_relative_path_is_made_whole(
        self, monkeypatch: pytest.MonkeyPatch, assets_dir: Path
    ) -> None:
        """Callers are told absolute paths."""
        monkeypatch.chdir(assets_dir.parent)
        assert load({"ASSETS_DIR": "assets"}, user_id=0).assets_dir == assets_dir


class TestStore:
    """Where assets come from."""

    @pytest.mark.parametrize(
        ("text", "store"),
        [
            ("none", None),
            ("s3://models", S3Location("models", "")),
            ("s3://models/", S3Location("models", "")),
            ("s3://models/prod/eu/", S3Location("models", "prod/eu")),
            ("file:///", DirectoryLocation(Path("/"))),
        ],
    )
    def test_urls(self, text: str, store: StoreLocation | None) -> None:
        """What the text means, wherever ASSETS_DIR is."""
        assert variables.STORE.parse(text) == store

    def test_a_directory(self, read: Load, tmp_path: Path) -> None:
        """A folder beside ASSETS_DIR, whatever its name."""
        path = tmp_path / "my store"
        path.mkdir()
        config = read(ASSETD_STORE=path.as_uri())
        assert (config.store, config.warnings) == (DirectoryLocation(path), ())

    def test_a_missing_directory_is_no_fault(self, read: Load, tmp_path: Path) -> None:
        """Hits need no store: a mount that is late must not keep the daemon from serving them."""
        config = read(ASSETD_STORE=f"file://{tmp_path}/missing")
        assert config.store == DirectoryLocation(tmp_path / "missing")
        [warning] = config.warnings
        assert f"the store {tmp_path}/missing is not there yet" in warning

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("/srv/store", "is no store: write"),
            ("file://srv/store", "is no store: write"),
            ("file:store", "is no store: write"),
            ("models", "is no store: write"),
            ("http://host/bucket", "is no store: write"),
            ("az://models", "later release"),
            ("gs://models", "later release"),
            ("s3://", "is no bucket"),
            ("s3:///prefix", "is no bucket"),
            ("s3://models/a/../b", "write the folder as it is"),
            ("s3://models/a//b", "write the folder as it is"),
            ("s3://models?region=eu", "leave out"),
            ("s3://models#1", "leave out"),
            ("file:///srv/../etc", "climbs"),
            ("file:///srv/%2e%2e/etc", "climbs"),
        ],
    )
    def test_faults(self, read: Load, text: str, hint: str) -> None:
        """A store that cannot be is refused at the start."""
        [fault] = faults_of(read, ASSETD_STORE=text)
        assert fault.startswith(f"ASSETD_STORE='{text}'")
        assert hint in fault

    def test_credentials_are_refused_and_not_repeated(self, read: Load) -> None:
        """What is told goes into logs."""
        faults = faults_of(
            read, ASSETD_STORE="s3://AKIA:secret@models", S3_ENDPOINT="http://AKIA:secret@host"
        )
        [fault] = faults
        assert fault.startswith("ASSETD_STORE='s3://***@models' holds credentials")
        [fault] = faults_of(read, ASSETD_STORE="s3://models", S3_ENDPOINT="http://AKIA:sec@host")
        assert fault.startswith("S3_ENDPOINT='http://***@host' holds credentials")

    def test_modelkits_bucket(self, read: Load) -> None:
        """A modelkit deployment just starts."""
        environ = {"MODELKIT_STORAGE_PROVIDER": "s3", "MODELKIT_STORAGE_BUCKET": "models"}
        assert read(**environ).store == S3Location("models", "modelkit-assets")
        assert read(**environ, MODELKIT_STORAGE_PREFIX="prod").store == S3Location("models", "prod")
        assert read(**environ, S3_ENDPOINT="http://host").store == S3Location(
            "models", "modelkit-assets", "http://host"
        )

    def test_modelkits_directory(self, read: Load, tmp_path: Path) -> None:
        """Its bucket is a directory."""
        config = read(
            MODELKIT_STORAGE_PROVIDER="local", MODELKIT_STORAGE_BUCKET=str(tmp_path / "bucket")
        )
        assert config.store == DirectoryLocation(tmp_path / "bucket/modelkit-assets")

    def test_ours_wins_over_modelkits(self, read: Load) -> None:
        """Also when it says that there is none."""
        environ = {"MODELKIT_STORAGE_PROVIDER": "gcs", "MODELKIT_STORAGE_BUCKET": "models"}
        assert read(**environ, ASSETD_STORE="none").store is None

    @pytest.mark.parametrize(
        ("environ", "hint"),
        [
            ({"MODELKIT_STORAGE_PROVIDER": "s3"}, "MODELKIT_STORAGE_BUCKET is not set"),
            ({"MODELKIT_STORAGE_PROVIDER": "gcs"}, "later release"),
            ({"MODELKIT_STORAGE_PROVIDER": "az"}, "later release"),
            ({"MODELKIT_STORAGE_PROVIDER": "ftp"}, "write one of s3, local"),
            (
                {"MODELKIT_STORAGE_PROVIDER": "s3", "MODELKIT_STORAGE_BUCKET": "a/b"},
                "MODELKIT_STORAGE_BUCKET='a/b' is no bucket",
            ),
            (
                {
                    "MODELKIT_STORAGE_PROVIDER": "s3",
                    "MODELKIT_STORAGE_BUCKET": "models",
                    "MODELKIT_STORAGE_PREFIX": "../x",
                },
                "MODELKIT_STORAGE_PREFIX='../x' holds",
            ),
        ],
    )
    def test_faults_of_modelkits_names(
        self, read: Load, environ: dict[str, str], hint: str
    ) -> None:
        """They are told like ours, one for one."""
        [fault] = faults_of(read, **environ)
        assert hint in fault

    def test_a_bucket_without_a_provider_is_no_store(self, read: Load) -> None:
        """As in modelkit; but it is said."""
        config = read(MODELKIT_STORAGE_BUCKET="models")
        assert config.store is None
        [warning] = config.warnings
        assert "without MODELKIT_STORAGE_PROVIDER names no store" in warning

    def test_the_store_is_not_the_cache(self, read: Load, assets_dir: Path, tmp_path: Path) -> None:
        """Nested, turned round, the same, or by a link: the cache may be lost, the store not."""
        link = tmp_path / "link"
        link.symlink_to(assets_dir)
        for path in (
            assets_dir,
            assets_dir / "store",
            assets_dir.parent,
            Path("/"),
            link,
            link / "store",
            assets_dir / ".." / "assets",
        ):
            store = DirectoryLocation(path)
            [fault] = faults_of(
                read,
                MODELKIT_STORAGE_PROVIDER="local",
                MODELKIT_STORAGE_BUCKET=str(store.path),
                MODELKIT_STORAGE_PREFIX="/",
            )
            assert "lie one in the other" in fault

    def test_a_link_in_a_circle_is_no_store(self, read: Load, tmp_path: Path) -> None:
        """It leads nowhere; that is no reason to fail without a word."""
        circle = tmp_path / "circle"
        circle.symlink_to(circle)
        [warning] = read(ASSETD_STORE=f"file://{circle}").warnings
        assert "is not there yet" in warning


class TestListen:
    """Where callers find the daemon."""

    def test_the_default_is_the_users_own(self, assets_dir: Path) -> None:
        """Whoever is not root cannot write below /run."""
        environ = {"ASSETS_DIR": str(assets_dir), "XDG_RUNTIME_DIR": "/run/user/7"}
        assert load(environ, user_id=7).listen == (
            UnixAddress(Path("/run/user/7/assetd/assetd.sock")),
        )

    def test_no_default_is_a_fault(self, assets_dir: Path) -> None:
        """The message says what to set."""
        with pytest.raises(ConfigError, match="set ASSETD_LISTEN=unix:"):
            load({"ASSETS_DIR": str(assets_dir)}, user_id=7)

    def test_a_default_that_is_too_long_is_a_fault(self, assets_dir: Path) -> None:
        """The variable at fault is named."""
        environ = {"ASSETS_DIR": str(assets_dir), "XDG_RUNTIME_DIR": "/" + "d" * 107}
        with pytest.raises(ConfigError, match=r"XDG_RUNTIME_DIR='/d.*at most 107 bytes"):
            load(environ, user_id=7)

    def test_an_address_once(self, read: Load) -> None:
        """The second could not be bound."""
        [fault] = faults_of(read, ASSETD_LISTEN="127.0.0.1:1,tcp://127.0.0.1:1")
        assert "names an address twice" in fault

    @pytest.mark.parametrize(
        ("environ", "reflection"),
        [
            ({}, True),
            ({"ASSETD_REFLECTION": "false"}, False),
            ({"ASSETD_LISTEN": "127.0.0.1:1"}, False),
            ({"ASSETD_LISTEN": "unix:///a,127.0.0.1:1"}, False),
            ({"ASSETD_LISTEN": "127.0.0.1:1", "ASSETD_REFLECTION": "true"}, True),
        ],
    )
    def test_a_port_tells_nothing_by_itself(
        self, read: Load, environ: dict[str, str], reflection: bool
    ) -> None:
        """Any user of the machine reaches a port, but a socket only who may."""
        assert read(**environ).reflection is reflection


def test_versioning_has_modelkits_name_too(read: Load) -> None:
    """Ours wins."""
    modelkits = {"MODELKIT_ASSETS_VERSIONING_SYSTEM": "simple_date"}
    assert read(**modelkits).versioning is VersioningSystem.SIMPLE_DATE
    ours = read(**modelkits, ASSETD_VERSIONING="major_minor")
    assert ours.versioning is VersioningSystem.MAJOR_MINOR
    [fault] = faults_of(read, MODELKIT_ASSETS_VERSIONING_SYSTEM="semver")
    assert fault.startswith("MODELKIT_ASSETS_VERSIONING_SYSTEM='semver' is unknown")


@pytest.mark.parametrize(
    ("environ", "traces"),
    [
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "false"}, True),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            True,
        ),
    ],
)
def test_traces_follow_the_standard_variables(
    read: Load, environ: dict[str, str], traces: bool
) -> None:
    """An endpoint turns them on."""
    config = read(**environ)
    assert (config.traces, config.warnings) == (traces, ())


@pytest.mark.parametrize(
    "protocol", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
)
def test_a_protocol_that_is_not_spoken_is_told(read: Load, protocol: str) -> None:
    """Traces are no reason not to serve; but nobody should look for them in vain."""
    config = read(**{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", protocol: "grpc"})
    assert config.traces is False
    assert config.warnings == (
        f"{protocol}='grpc' is not spoken, only http/protobuf: no traces are sent",
    )


def test_unknown_variables_are_told(read: Load) -> None:
    """A typing error does not go unseen, and does not keep a node from serving."""
    warnings = read(ASSETD_STROE="s3://models", ASSETD_COLOUR="red").warnings
    assert warnings == (
        "ASSETD_COLOUR is no variable of assetd",
        "ASSETD_STROE is no variable of assetd: is ASSETD_STORE meant?",
    )


def test_what_others_put_there_is_nobodys_fault(read: Load) -> None:
    """Kubernetes puts these beside a service called assetd; one is the client's."""
    injected = {
        "ASSETD_PORT": "tcp://10.0.0.1:7070",
        "ASSETD_PORT_7070_TCP": "tcp://10.0.0.1:7070",
        "ASSETD_PORT_7070_TCP_ADDR": "10.0.0.1",
        "ASSETD_SERVICE_HOST": "10.0.0.1",
        "ASSETD_SERVICE_PORT": "7070",
        "ASSETD_SERVICE_PORT_GRPC": "7070",
        "ASSETD_METRICS_SERVICE_HOST": "10.0.0.1",
        "ASSETD_METRICS_PORT": "tcp://10.0.0.1:9",
        "ASSETD_ADDRESS": "unix:///run/assetd/assetd.sock",
    }
    assert read(**injected) == read()


def test_no_variable_looks_like_an_injected_one() -> None:
    """Else a service of the right name would configure the daemon."""
    ours = [name for name in _names() if name.startswith("ASSETD_")]
    assert not [name for name in ours if re.search(r"_(PORT|SERVICE)(_|$)", name)]


def _names() -> list[str]:
    return [variable.name for variable in variables.ALL]


def test_every_default_can_be_read() -> None:
    """What the reference shows as a default is what an operator could write."""
    for variable in variables.ALL:
        variable.parse(variable.default)


def test_the_reference_lists_each_variable_once() -> None:
    """Also those that are read under modelkit's or OpenTelemetry's names."""
    constants = [
        value for value in vars(variables).values() if isinstance(value, variables.Variable)
    ]
    assert len(_names()) == len(set(_names())) == len(constants)


def test_the_reference_is_printed_for_people() -> None:
    """On a terminal, within its width."""
    text = variables.as_text()
    assert all(name in text for name in _names())
    assert "ASSETD_STORE_TIMEOUT (default 10s)" in text
    assert max(len(line) for line in text.splitlines()) <= 92


def test_the_document_is_the_reference() -> None:
    """Each variable has its row, in the order of the reference, with what that says of it."""
    rows = [
        f"| `{variable.name}` | {f'`{variable.default}`' if variable.default else ''} |"
        f" {variable.meaning} |"
        for variable in variables.ALL
    ]
    table = "\n".join(["| Variable | Default | Meaning |", "| --- | --- | --- |", *rows])
    assert f"\n\n{table}\n" in REFERENCE.read_text()


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """A directory beside ASSETS_DIR with a name that a URI escapes."""
    path = tmp_path / "in coming"
    path.mkdir()
    return path


@pytest.mark.parametrize("between", [",", " ", ", ", " ,\n\t"])
def test_sources_are_separated_by_spaces_or_commas(
    read: Load, incoming: Path, between: str
) -> None:
    """Or both; the last one may have one behind it."""
    uris = [incoming.as_uri(), "s3://models/in/coming/", "s3://whole"]
    config = read(ASSETD_PUSH_SOURCES=between.join([*uris, ""]))
    assert config.push_sources.allowed == (
        SourceUri("", incoming.parts[1:]),
        SourceUri("models", ("in", "coming")),
        SourceUri("whole", ()),
    )


@pytest.mark.parametrize("store", ["", "s3://models/prod", "file:///store"])
def test_buckets_of_sources_are_at_the_stores_endpoint(read: Load, store: str) -> None:
    """Whatever the store is; and without such a bucket nobody asks what the endpoint is."""
    config = read(
        ASSETD_STORE=store,
        ASSETD_PUSH_SOURCES="s3://incoming",
        S3_ENDPOINT="http://127.0.0.1:9000",
        AWS_REGION="eu-west-1",
    )
    assert config.push_sources == PushSources(
        (SourceUri("incoming", ()),), "http://127.0.0.1:9000", "eu-west-1"
    )
    if not store.startswith("s3"):
        assert read(ASSETD_STORE=store, S3_ENDPOINT="no url").push_sources == PushSources()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("file:///", "would allow every file of the machine"),
        ("file://host/share", "'file://host/share', which is no source"),
        ("/srv/models", "'/srv/models', which is no source"),
        ("s3://", "'s3://', which is no bucket"),
        ("s3://models/a//b", "holds '//'"),
        ("s3://key:secret@models/a", "'s3://***@models/a', which is no bucket"),
        ("file:///srv/../etc", "climbs by '..'"),
        ("file:///srv/%2e%2e/etc", "climbs by '..'"),
        ("file:///nowhere-at-all", "names /nowhere-at-all, which is no directory: make or mount"),
        ("file:///etc/passwd", "names /etc/passwd, which is no directory"),
    ],
)
def test_a_source_that_cannot_be_allowed_is_a_fault(read: Load, text: str, wrong: str) -> None:
    """Told at the start, and not with the first push; without credentials."""
    [fault] = faults_of(read, ASSETD_PUSH_SOURCES=text)
    assert fault.startswith("ASSETD_PUSH_SOURCES=")
    assert wrong in fault
    assert "secret" not in fault


@pytest.mark.parametrize("where", ["", "models", "..", "link"])
def test_sources_lie_beside_assets_dir(
    read: Load, assets_dir: Path, tmp_path: Path, where: str
) -> None:
    """By whatever name: what others are pushing lies in there."""
    (assets_dir / "models").mkdir()
    (tmp_path / "link").symlink_to(assets_dir, target_is_directory=True)
    named = {"..": tmp_path, "link": tmp_path / "link"}.get(where, assets_dir / where)
    [fault] = faults_of(read, ASSETD_PUSH_SOURCES=named.as_uri())
    assert "which is in ASSETS_DIR or holds it" in fault


def test_who_needs_the_store_alone_needs_nothing_else() -> None:
    """It is where `load` says, with neither an ASSETS_DIR nor a place to listen."""
    environ = {"ASSETD_STORE": "s3://models/prod", "AWS_REGION": "eu-west-1"}
    assert load_store(environ) == S3Location("models", "prod", region="eu-west-1")
    overridden = load_store(environ, {"ASSETD_STORE": "file:///srv"})
    assert overridden == DirectoryLocation(Path("/srv"))
    assert load_store({}) is None
    with pytest.raises(ConfigError) as refused:
        load_store({"ASSETD_STORE": "ftp://x", "ASSETD_MAX_CALLS": "none"})
    assert len(refused.value.faults) == 1
