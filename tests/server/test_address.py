"""Addresses as people write them, and ports that are taken."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest

from qupath_sam.client import SamClient
from qupath_sam.client.address import checked_address
from qupath_sam.errors import InvalidRequest, ServerUnavailable
from qupath_sam.server.port import check_free


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        (" gpu1.lab.example:1 ", "gpu1.lab.example:1"),
        ("gpu_1:65535", "gpu_1:65535"),
        ("[::1]:50051", "[::1]:50051"),
        ("localhost:00080", "localhost:80"),
    ],
)
def test_addresses_are_taken(written: str, address: str) -> None:
    assert checked_address(written) == address
    with SamClient(written) as client:
        assert client.address == address


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("127.0.0.1:116314", "no such port"),
        ("127.0.0.1:65536", "no such port"),
        ("127.0.0.1:99999999999999999999", "no such port"),
        ("127.0.0.1:0", "no such port"),
        ("127.0.0.1:-1", "'-1' is no port"),
        ("127.0.0.1", "port is missing"),
        ("127.0.0.1:", "port is missing"),
        ("[::1]", "port is missing"),
        ("gpu1", "port is missing"),
        (":50051", "host is missing"),
        ("50051", "port is missing"),
        ("http://127.0.0.1:50051", "leave 'http://' out"),
        ("grpc://gpu1:50051/", "leave 'grpc://' out"),
        ("dns:///gpu1:50051", "leave 'dns:///' out"),
        ("unix:/tmp/socket", "leave 'unix:/' out"),
        ("gpu1:50051/", "is no port"),
        ("gpu1:http", "'http' is no port"),
        ("gpu 1:50051", "no name of a host"),
        ("a,b:50051", "no name of a host"),
        ("::1:50051", "in brackets"),
        ("gpu1:\u0665\u0660", "is no port"),
        ("", "it is empty"),
        ("  ", "it is empty"),
    ],
)
def test_what_is_no_address_is_said(written: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"HOST:PORT, with a port from 1 to 65535") as caught:
        SamClient(written)
    assert said in str(caught.value)


def test_a_taken_port_is_said_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerUnavailable, match=f"cannot listen on 127.0.0.1:{port}.*--port"):
            check_free("127.0.0.1", port)
        # torch is not loaded: a module of that name would end the process.
        script = (
            "import sys; sys.modules['torch'] = None\n"
            "from qupath_sam.cli import main\n"
            f"sys.argv = ['qupath-sam', 'serve', '--port', '{port}']\n"
            "main()"
        )
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "another program has the port" in ended.stderr
    check_free("127.0.0.1", port)
    check_free("localhost", 0)


def test_a_port_whose_connections_have_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0] as accepted:
            accepted.close()
        time.sleep(0.05)
    check_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.7", "no such host"])
def test_an_address_of_another_machine_is_said(host: str) -> None:
    with pytest.raises(ServerUnavailable, match="cannot listen on"):
        check_free(host, 50051)


def test_a_port_that_does_not_exist_is_said() -> None:
    with pytest.raises(InvalidRequest, match=r"0\.\.65535"):
        check_free("127.0.0.1", 70000)
