"""Tokens by name: what is kept of them, what each allows, and that one can be taken back from a running server."""

from __future__ import annotations

import json
import os
import stat
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.client import Access, SamClient
from qupath_sam.errors import InvalidRequest, PixelsMissing, RequestTooLarge, ServerBusy, Unauthenticated
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.tokens import Limits, TokenFile, TokenRegistry
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.service import PixelFormat

OBJECTS = [ObjectPrompts((Click.at(700, 600),))]


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


def serve(file: TokenFile, **settings):
    return start_server(ServerSettings(port=0, model="fake", device="cpu", tokens=file.path, **settings))


def client_of(server, token: str) -> SamClient:
    return SamClient(server.address, timeout_s=20, access=Access(token=token))


def test_the_file_holds_no_token(file):
    token = file.create("Anna", Limits(calls=4))
    content = file.path.read_text("utf-8")
    assert token not in content
    assert json.loads(content)["tokens"][0]["name"] == "Anna"
    if os.name != "nt":
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_each_name_has_one_token(file):
    file.create("Anna")
    with pytest.raises(InvalidRequest, match="already"):
        file.create("Anna")
    with pytest.raises(InvalidRequest, match="known: Anna"):
        file.revoke("Bert")


@pytest.mark.parametrize("name", ["", " x", "a\nb", "x" * 65, "../x", "a/b", "\0"])
def test_a_name_is_one(file, name):
    with pytest.raises(InvalidRequest, match="no name"):
        file.create(name)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"tokens": 5}', '{"tokens": [5]}', '{"tokens": [{"name": "x", "sha256": "abc"}]}']
)
def test_a_file_that_is_none_is_refused(file, content):
    file.path.write_text(content)
    with pytest.raises(InvalidRequest, match="token create"):
        TokenRegistry("", file)


def test_a_file_that_cannot_be_read_is_said_to_be_so(file):
    file.path.mkdir()
    with pytest.raises(InvalidRequest, match=r"cannot read the tokens .*let the account"):
        TokenRegistry("", file)


@pytest.mark.skipif(os.name == "nt", reason="Windows passes access on by the folder")
def test_a_services_group_reads_the_file_after_each_change(file):
    """Else a token that root revokes is let in for as long as the service of another account runs."""
    file.create("Anna")
    file.path.chmod(0o640)
    file.create("Bert")
    file.revoke("Anna")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640


def test_several_get_in_each_by_their_own(file):
    anna, bert = file.create("Anna"), file.create("Bert")
    with serve(file) as server:
        for token in (anna, bert):
            with client_of(server, token) as client:
                assert client.capabilities().default_model == "fake"
        for token in ("", anna + "x", json.loads(file.path.read_text())["tokens"][0]["sha256"]):
            with client_of(server, token) as client, pytest.raises(Unauthenticated):
                client.capabilities()


def test_a_revoked_token_ends_what_its_holder_has_open(file, slide):
    anna, bert = file.create("Anna"), file.create("Bert")
    with serve(file) as server, client_of(server, anna) as client, client_of(server, bert) as other:
        live, others = client.live(), other.live()
        with closing(live), closing(others):
            for stream in (live, others):
                assert stream.predict(slide, OBJECTS).result(20).results
            file.revoke("Anna")
            server.refresh()
            live._reader.join(20)
            assert not live._reader.is_alive(), "the stream is still open"
            with pytest.raises(Unauthenticated):
                client.capabilities()
            assert others.predict(slide, OBJECTS).result(20).results


def test_a_new_token_needs_no_restart(file):
    file.create("Anna")
    with serve(file) as server:
        token = file.create("Bert")
        server.refresh()
        with client_of(server, token) as client:
            assert client.capabilities()


def test_a_file_that_breaks_lets_in_whom_it_let_in_before(file, caplog):
    token = file.create("Anna")
    with serve(file) as server, client_of(server, token) as client:
        file.path.write_text("{")
        server.refresh()
        assert client.capabilities()
        assert "stay as they were" in caplog.text


def test_streams_are_limited_by_name(file, slide):
    anna, bert = file.create("Anna", Limits(streams=1)), file.create("Bert", Limits(calls=1))
    with (
        serve(file) as server,
        client_of(server, anna) as one,
        client_of(server, anna) as two,
        closing(one.live()) as live,
        closing(two.live()) as second,
    ):
        assert live.predict(slide, OBJECTS).result(20).results
        with pytest.raises(ServerBusy, match="1 of your streams"):
            second.predict(slide, OBJECTS).result(20)
        assert two.capabilities()
        with client_of(server, bert) as other, closing(other.live()) as open_stream:
            assert open_stream.predict(slide, OBJECTS).result(20).results
            with pytest.raises(ServerBusy, match="1 of your calls"):
                other.capabilities()


def push(client: SamClient, value: int, side: int = 100):
    size = side, side
    return client.push_pixels(
        bytes([value]) * (3 * side * side),
        pixel_format=PixelFormat.RGB,
        region=Region(0, 0, side, side),
        image_size=size,
        pixel_size=size,
        mpp=0.5,
    )


def test_pushed_bytes_are_limited_by_name(file):
    anna, bert = file.create("Anna", Limits(pushed_bytes=70_000)), file.create("Bert")
    with serve(file) as server, client_of(server, anna) as one, client_of(server, bert) as two:
        kept = push(two, 9)
        pushed = [push(one, value) for value in (1, 2, 3)]
        with pytest.raises(PixelsMissing):
            one.describe(pushed[0])
        assert one.describe(pushed[2]).width == 100
        assert two.describe(kept).width == 100, "another client's pixels gave way"
        with pytest.raises(RequestTooLarge, match="70000 allowed"):
            push(one, 4, side=200)


def test_what_two_have_pushed_stays_while_one_of_them_needs_it(file):
    anna, bert = file.create("Anna", Limits(pushed_bytes=30_000)), file.create("Bert")
    with serve(file) as server, client_of(server, anna) as one, client_of(server, bert) as two:
        shared = push(one, 1)
        push(two, 1)
        push(one, 2)
        assert two.describe(shared).width == 100


def test_a_single_token_and_named_ones_go_together(file):
    named = file.create("Anna")
    single = "a-token-for-tests~0123456789"
    with serve(file, token=single) as server:
        for token in (named, single):
            with client_of(server, token) as client:
                assert client.capabilities()


def test_the_commands(file):
    runner = CliRunner()
    option = ["--tokens", str(file.path)]
    made = runner.invoke(app, ["token", "create", "Anna Müller", "--calls", "4", "--pushed-mib", "64", *option])
    assert made.exit_code == 0
    registry = TokenRegistry("", file)
    found = registry.find(made.stdout.strip())
    assert found is not None
    assert found.limits == Limits(4, 0, 64 * 1024 * 1024)
    listed = runner.invoke(app, ["token", "list", *option]).stdout
    assert "Anna Müller" in listed
    assert "4 calls, 64 MiB pushed" in listed
    assert made.stdout.strip() not in listed
    assert runner.invoke(app, ["token", "revoke", "Anna Müller", *option]).exit_code == 0
    registry.refresh()
    assert registry.find(made.stdout.strip()) is None


def test_strangers_are_refused_where_nobody_has_a_token_yet(file):
    with serve(file) as server, grpc.insecure_channel(server.address), client_of(server, "") as client:
        with pytest.raises(Unauthenticated):
            client.capabilities()
        assert server.engine is not None
