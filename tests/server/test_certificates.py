"""Certificates of a laboratory's own: made, shown by both sides, and renewed under a running server."""

from __future__ import annotations

import logging
import os
import ssl
import stat
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.client import Access, SamClient
from qupath_sam.client.access import read_ca
from qupath_sam.errors import InvalidRequest, ServerUnavailable
from qupath_sam.server.app import start_server
from qupath_sam.server.certificates import Authority, Pair
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.tls import ReloadingTls, TlsFiles
from tests.certificates import CERTIFICATE, KEY


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def serve(pair: Pair, **settings):
    return start_server(
        ServerSettings(
            port=0, model="fake", device="cpu", tls_certificate=pair.certificate, tls_key=pair.key, **settings
        )
    )


def connect(server, ca: Path, shown: Pair | None = None) -> str:
    access = Access(
        ca=read_ca(ca),
        certificate=shown.certificate.read_bytes() if shown else None,
        key=shown.key.read_bytes() if shown else None,
    )
    with SamClient(server.address, timeout_s=10, access=access) as client:
        return client.capabilities().default_model


def test_a_server_of_ones_own_is_trusted_by_its_authority(authority):
    with serve(authority.server(["localhost", "127.0.0.1"], days=30)) as server:
        assert connect(server, authority.files.certificate) == "fake"
        with pytest.raises(ServerUnavailable, match="does not prove who it is"):
            connect(server, CERTIFICATE)


def test_another_name_is_not_believed(authority):
    with (
        serve(authority.server(["elsewhere.example"], days=30)) as server,
        pytest.raises(ServerUnavailable, match="another name"),
    ):
        connect(server, authority.files.certificate)


def test_only_who_shows_a_certificate_of_the_authority_is_let_in(authority, tmp_path):
    pair, anna = authority.server(["localhost", "127.0.0.1"], days=30), authority.client("Anna Müller", days=30)
    stranger = Authority(tmp_path / "strangers").client("Anna Müller", days=30)
    ca = authority.files.certificate
    with serve(pair, tls_client_ca=ca) as server:
        assert connect(server, ca, anna) == "fake"
        for shown in (None, stranger, Pair(CERTIFICATE, KEY)):
            with pytest.raises(ServerUnavailable):
                connect(server, ca, shown)
        # A server's certificate is none of a client's.
        with pytest.raises(ServerUnavailable):
            connect(server, ca, pair)


def test_a_clients_limits_go_by_its_certificates_name(authority):
    from qupath_sam.server.clients import Clients
    from qupath_sam.server.tokens import TokenRegistry

    class Context:
        def auth_context(self):
            return {"x509_common_name": ["Anna Müller".encode()]}

        def peer(self):
            return "ipv4:192.0.2.7:1"

    assert Clients(TokenRegistry("", None)).of(Context()).name == "Anna Müller"


def test_a_renewed_certificate_is_used_without_a_restart(authority):
    hosts = ["localhost", "127.0.0.1"]
    with serve(authority.server(hosts, days=30)) as server:
        before = shown_by(server)
        connect(server, authority.files.certificate)
        authority.server(hosts, days=60)
        server.refresh(force=True)
        assert shown_by(server) != before
        assert connect(server, authority.files.certificate) == "fake"


@pytest.mark.skipif(os.name == "nt", reason="Windows passes access on by the folder")
def test_a_services_group_reads_the_renewed_key(authority):
    pair = authority.server(["localhost"], days=30)
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
    pair.key.chmod(0o640)
    authority.server(["localhost"], days=60)
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o640


def test_half_a_pair_changes_nothing(authority, caplog):
    pair = authority.server(["localhost", "127.0.0.1"], days=30)
    with serve(pair) as server:
        before = shown_by(server)
        pair.certificate.write_bytes(CERTIFICATE.read_bytes())
        server.refresh(force=True)
        assert shown_by(server) == before
        assert "stays as it was" in caplog.text
        pair.key.write_bytes(KEY.read_bytes())
        server.refresh(force=True)
        assert shown_by(server) == serial_of(CERTIFICATE.read_bytes())


def test_files_are_looked_at_once_a_second(authority):
    now = [0.0]
    pair = authority.server(["localhost"], days=30)
    tls = ReloadingTls(TlsFiles(pair.certificate, pair.key), clock=lambda: now[0])
    authority.server(["localhost"], days=31)
    assert tls._changed() is None
    now[0] = 2.0
    assert tls._changed() is not None
    now[0] = 4.0
    assert tls._changed() is None


def test_a_certificate_that_ends_soon_is_warned_of_once_a_day(authority, caplog):
    caplog.set_level(logging.INFO)
    seconds, day = [0.0], [datetime.now(UTC)]
    pair = authority.server(["localhost"], days=40)
    tls = ReloadingTls(TlsFiles(pair.certificate, pair.key), clock=lambda: seconds[0], today=lambda: day[0])
    end = day[0] + timedelta(days=40)
    assert f"good until {end.date()}" in caplog.text

    def warned_after(hours: float) -> list[str]:
        caplog.clear()
        seconds[0] += hours * 3600
        day[0] += timedelta(hours=hours)
        tls.remind()
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    assert warned_after(5 * 24) == []
    (said,) = warned_after(10 * 24)
    assert "for 24 more days" in said
    assert "certs create" in said
    assert warned_after(12) == []
    assert "for 23 more days" in warned_after(13)[0]
    assert "has ended on" in warned_after(40 * 24)[0]
    authority.server(["localhost"], days=400)
    assert tls._changed() is not None
    assert warned_after(25) == []


def test_prometheus_is_told_when_the_certificate_ends(authority):
    with serve(authority.server(["localhost", "127.0.0.1"], days=30), metrics_port=0) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.listener.web.port}/metrics", timeout=20) as answer:
            (line,) = [
                each
                for each in answer.read().decode().splitlines()
                if each.startswith("qupath_sam_certificate_expires")
            ]
        assert float(line.split()[1]) == pytest.approx(time.time() + 30 * 24 * 3600, abs=600)


def shown_by(server) -> int:
    host, port = server.address.rsplit(":", 1)
    return serial_of(ssl.get_server_certificate((host, int(port))).encode())


def serial_of(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


@pytest.mark.parametrize("host", ["", "a b", "-x", "x/../y", "http://a", "a:1"])
def test_a_host_is_one(authority, host):
    with pytest.raises(InvalidRequest, match="no name or address"):
        authority.server([host], days=1)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "CA", "server", "x" * 65])
def test_a_clients_name_is_one(authority, name):
    with pytest.raises(InvalidRequest):
        authority.client(name, days=1)
    assert not list(authority.folder.parent.glob("*.pem"))


def test_an_authority_is_used_again_or_refused(authority):
    first = serial_of(authority.files.certificate.read_bytes())
    assert serial_of(Authority(authority.folder).files.certificate.read_bytes()) == first
    authority.files.key.unlink()
    with pytest.raises(InvalidRequest, match=r"one of ca\.pem and ca\.key"):
        Authority(authority.folder)
    authority.files.key.write_text("nonsense")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        Authority(authority.folder)


def test_the_command(tmp_path):
    folder = tmp_path / "certs"
    done = CliRunner().invoke(
        app, ["certs", "create", "localhost", "127.0.0.1", "--client", "Anna", "--folder", str(folder)]
    )
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} == {
        "ca.pem", "ca.key", "server.pem", "server.key", "Anna.pem", "Anna.key",
    }  # fmt: skip
    assert (folder / "ca.key").stat().st_mode & 0o077 == 0


def test_certificates_of_clients_need_tls():
    with pytest.raises(InvalidRequest, match="--tls-client-ca"):
        ServerSettings(tls_client_ca=CERTIFICATE)


def test_an_authority_that_is_none_is_refused(authority, tmp_path):
    pair = authority.server(["localhost"], days=1)
    broken = tmp_path / "broken.pem"
    broken.write_text("x")
    with pytest.raises(InvalidRequest, match="authority's that signs"):
        TlsFiles(pair.certificate, pair.key, broken).load()
