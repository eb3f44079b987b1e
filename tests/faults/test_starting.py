"""Daemons that cannot start: they say why, all of it at once, and disturb nobody."""

import socket
from pathlib import Path

import pytest

from tests.support.daemon import Daemons, StartFailedError

USAGE, PRECONDITION = 2, 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Something to push."""
    (tmp_path / "file").write_bytes(b"content")
    return tmp_path / "file"


def test_a_second_daemon_on_one_assets_dir(daemons: Daemons, tmp_path: Path, file: Path) -> None:
    """One daemon owns an ASSETS_DIR: a second ends with the reason, and disturbs nobody.

    The first goes on, its holds, its socket and its staging with it.
    """
    first = daemons(store=tmp_path / "store")
    with first.client() as client:
        client.push(file, "some/asset")
        with client.fetch("some/asset", hold=True) as held:
            with pytest.raises(StartFailedError) as refused:
                daemons(assets_dir=first.assets_dir, store=tmp_path / "store")
            assert refused.value.exit_code == PRECONDITION
            assert str(first.assets_dir) in refused.value.errors
            assert "stop it, or choose another ASSETS_DIR" in refused.value.errors
            assert len(refused.value.errors.splitlines()) == 1
            # By another way to the same directory, too.
            (tmp_path / "link").symlink_to(first.assets_dir)
            with pytest.raises(StartFailedError) as refused:
                daemons(assets_dir=tmp_path / "link", store=tmp_path / "store")
            assert refused.value.exit_code == PRECONDITION
            assert held.is_held
            assert len(client.status().holds) == 1
        assert client.fetch("some/asset").path.read_bytes() == b"content"
    with first.client() as newcomer:
        assert newcomer.resolve("some/asset").asset_version.version == "0.0"


def test_a_second_daemon_on_one_socket(daemons: Daemons, tmp_path: Path) -> None:
    """The socket of a daemon that is alive is never taken; that of a dead one is."""
    first = daemons(store=tmp_path / "store")
    with pytest.raises(StartFailedError) as refused:
        daemons(assets_dir=tmp_path / "other", store=tmp_path / "store", socket=first.socket)
    assert refused.value.exit_code == PRECONDITION
    assert str(first.socket) in refused.value.errors
    with first.client() as client:
        assert client.status().assets_dir == str(first.assets_dir)
    first.kill()
    assert first.socket.exists()
    second = daemons(assets_dir=tmp_path / "other", store=tmp_path / "store", socket=first.socket)
    with second.client() as client:
        assert client.status().assets_dir == str(second.assets_dir)


def test_a_port_that_is_taken(daemons: Daemons, tmp_path: Path) -> None:
    """A port that is taken ends the start, with the reason; it is never shared.

    No socket of its own is left behind.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        prepared = daemons.prepare()
        listen = f"unix://{prepared.socket},127.0.0.1:{port}"
        with pytest.raises(StartFailedError) as refused:
            daemons(store=tmp_path / "store", variables={"ASSETD_LISTEN": listen})
    assert refused.value.exit_code == PRECONDITION
    assert f"127.0.0.1:{port}" in refused.value.errors
    assert list(prepared.folder.iterdir()) == []


BAD_VARIABLES = {
    "ASSETS_DIR": "/no/such/directory",
    "ASSETD_STORE": "ftp://bucket",
    "ASSETD_LISTEN": "0.0.0.0:7070",
    "ASSETD_FRESHNESS": "always",
    "ASSETD_VERSIONING": "semver",
    "ASSETD_STORE_TIMEOUT": "soon",
    "ASSETD_FETCH_TIMEOUT": "0s",
    "ASSETD_CONNECTIONS": "many",
    "ASSETD_RANGE_BYTES": "1KiB",
    "ASSETD_TRANSFER_MEMORY": "-1",
    "ASSETD_MAX_CALLS": "0",
    "ASSETD_REFLECTION": "perhaps",
    "ASSETD_LOG_LEVEL": "loud",
}


def test_bad_variables_are_all_told_at_once(daemons: Daemons) -> None:
    """Faults of the configuration are told all at once, a line each, with what to write instead.

    With name and value; exit code 2, nothing started.
    """
    daemon = daemons.prepare(variables=BAD_VARIABLES)
    with pytest.raises(StartFailedError) as refused:
        daemon.start()
    assert refused.value.exit_code == USAGE
    lines = refused.value.errors.splitlines()
    assert len(lines) == len(BAD_VARIABLES)
    for name, value in BAD_VARIABLES.items():
        (line,) = [line for line in lines if f"{name}={value!r}" in line]
        assert line.startswith("assetd: ")
    assert not daemon.socket.exists()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ASSETS_DIR": ""}, ["ASSETS_DIR is not set", "MODELKIT_ASSETS_DIR"]),
        ({"MODELKIT_ASSETS_DIR": "/tmp"}, ["two directories", "unset one"]),
        ({"ASSETD_STORE": "s3://key:secret@bucket"}, ["holds credentials", "//***@bucket"]),
        ({"ASSETD_STORE": "gs://bucket"}, ["comes in a later release"]),
        ({"ASSETD_STORE": "", "MODELKIT_STORAGE_PROVIDER": "s3"}, ["MODELKIT_STORAGE_BUCKET"]),
        ({"S3_ENDPOINT": "localhost:9000", "ASSETD_STORE": "s3://bucket"}, ["S3_ENDPOINT"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_bad_variable_says_what_to_do(
    daemons: Daemons, variables: dict[str, str], words: list[str]
) -> None:
    """Also the ones that contradict each other; never a secret."""
    with pytest.raises(StartFailedError) as refused:
        daemons(variables=variables)
    assert refused.value.exit_code == USAGE
    assert [word for word in words if word not in refused.value.errors] == []
    assert "secret" not in refused.value.errors


def test_an_assets_dir_beside_its_store_is_refused(daemons: Daemons, tmp_path: Path) -> None:
    """A store and an ASSETS_DIR that lie in each other, by whatever name, are refused.

    Only the cache may ever be lost.
    """
    store = tmp_path / "store"
    (store / "inside").mkdir(parents=True)
    (tmp_path / "link").symlink_to(store / "inside")
    for assets_dir in (store, store / "inside", tmp_path / "link", tmp_path):
        with pytest.raises(StartFailedError) as refused:
            daemons(assets_dir=assets_dir, store=store)
        assert refused.value.exit_code == USAGE
        assert "give each a directory of its own" in refused.value.errors


def test_an_unknown_variable_is_a_warning(daemons: Daemons, tmp_path: Path) -> None:
    """A variable that assetd does not know is a warning, with what may be meant.

    Kubernetes' own variables are not told of.
    """
    injected = {"ASSETD_PORT": "tcp://10.0.0.1:80", "ASSETD_SERVICE_HOST": "10.0.0.1"}
    daemon = daemons(store=tmp_path / "store", variables={"ASSETD_CONECTIONS": "8", **injected})
    with daemon.client() as client:
        warnings = list(client.status().warnings)
    assert warnings == ["ASSETD_CONECTIONS is no variable of assetd: is ASSETD_CONNECTIONS meant?"]
    assert [line for line in daemon.log_lines() if line["event"] == warnings[0]]
