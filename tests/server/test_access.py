"""Who gets in: tokens and TLS, over real channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.client import Access, Capabilities, SamClient
from qupath_sam.client.access import read_ca
from qupath_sam.errors import InvalidRequest, QupathSamError, ServerUnavailable, Unauthenticated
from qupath_sam.protocol.bearer import authorization, check_token, is_loopback, read_token, token_of
from qupath_sam.protocol.status import ERROR_METADATA
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.v1 import error_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc
from tests.certificates import CERTIFICATE, ENCRYPTED_KEY, KEY, OTHER_CERTIFICATE, OTHER_KEY

TOKEN = "a-token-for-tests~0123456789"
OBJECTS = [ObjectPrompts((Click.at(700, 600),))]


def fake(**settings) -> ServerSettings:
    return ServerSettings(**{"port": 0, "model": "fake", "device": "cpu", **settings})


def client_of(server: RunningServer, *, timeout_s: float = 20, **access) -> SamClient:
    return SamClient(server.address, timeout_s=timeout_s, access=Access(**access))


@pytest.fixture(scope="module")
def locked() -> Iterator[RunningServer]:
    """Wants a token, speaks in plain text."""
    with start_server(fake(token=TOKEN)) as server:
        yield server


@pytest.fixture(scope="module")
def encrypted() -> Iterator[RunningServer]:
    """Wants a token, speaks TLS."""
    with start_server(fake(token=TOKEN, tls_certificate=CERTIFICATE, tls_key=KEY)) as server:
        yield server


STRANGERS = pytest.mark.parametrize("token", ["", TOKEN + "x", TOKEN[:-1], TOKEN.upper()], ids=str)


def test_the_token_lets_every_rpc_in(locked, slide):
    with client_of(locked, token=TOKEN) as client:
        assert client.capabilities().default_model == "fake"
        single = client.predict(slide, OBJECTS)
        with client.live() as live:
            streamed = live.predict(slide, OBJECTS).result(20)
    assert streamed.results[0].outlines[0].geometry.equals(single.results[0].outlines[0].geometry)


@STRANGERS
def test_a_single_call_without_the_token_is_refused(locked, slide, token):
    with client_of(locked, token=token) as client, pytest.raises(Unauthenticated, match="--token-file") as caught:
        client.predict(slide, OBJECTS)
    assert TOKEN not in str(caught.value)


@STRANGERS
def test_a_stream_without_the_token_is_refused(locked, slide, token):
    with client_of(locked, token=token) as client, pytest.raises(Unauthenticated):
        client.live()
    with client_of(locked, token=token) as client:
        client._known = Capabilities(
            "", "", "", 0, 0, 0, 0, reads_slides=True
        )  # a client that has asked for the protocol already
        with closing(client.live()) as live, pytest.raises(Unauthenticated):
            live.predict(slide, OBJECTS).result(20)


def test_the_reason_travels_in_the_trailers(locked):
    with grpc.insecure_channel(locked.address) as channel, pytest.raises(grpc.RpcError) as caught:
        pb_grpc.SegmentationServiceStub(channel).GetCapabilities(pb.GetCapabilitiesRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    info = error_pb2.ErrorInfo.FromString(dict(caught.value.trailing_metadata())[ERROR_METADATA])
    assert info.reason == error_pb2.ERROR_REASON_UNAUTHENTICATED


def test_a_strangers_pixels_are_not_even_read(locked):
    """More than a message may have: that the server would say so shows that it had begun to read."""
    options = [("grpc.max_send_message_length", -1)]
    request = pb.PushPixelsRequest(data=bytes(65 * 1024 * 1024))
    with grpc.insecure_channel(locked.address, options=options) as channel, pytest.raises(grpc.RpcError) as caught:
        pb_grpc.SegmentationServiceStub(channel).PushPixels(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_strangers_take_nobodys_place(slide):
    with (
        start_server(fake(token=TOKEN, max_calls=1)) as server,
        client_of(server, token=TOKEN) as client,
        client.live() as live,
        client_of(server) as stranger,
    ):
        assert live.predict(slide, OBJECTS).result(20).results
        with pytest.raises(Unauthenticated):
            stranger.capabilities()


def test_streams_of_strangers_hold_nothing_up():
    """Health's Watch holds a thread for as long as it is open."""
    with (
        start_server(fake(token=TOKEN, max_calls=1)) as server,
        client_of(server, token=TOKEN) as client,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        for stream in [stub.Watch(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(20)]:
            assert stream.code() is grpc.StatusCode.UNAUTHENTICATED
        assert client.is_serving()
        watch = stub.Watch(health_pb2.HealthCheckRequest(), metadata=authorization(TOKEN), timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING


def test_health_is_for_everybody_and_reflection_is_not(locked):
    with client_of(locked) as stranger:
        assert stranger.is_serving()

    def services(metadata) -> int:
        with grpc.insecure_channel(locked.address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            (answer,) = stub.ServerReflectionInfo(iter([asked]), metadata=metadata, timeout=10)
        return len(answer.list_services_response.service)

    with pytest.raises(grpc.RpcError) as caught:
        services(())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert services(authorization(TOKEN)) == 3


@pytest.mark.parametrize(
    ("header", "let_in"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (f"Basic {TOKEN}", False),
        (TOKEN, False),
        ("Bearer", False),
        (f"Bearer {TOKEN} {TOKEN}", False),
    ],
)
def test_the_header_is_that_of_bearer_tokens(locked, header, let_in):
    with grpc.insecure_channel(locked.address) as channel:
        call = pb_grpc.SegmentationServiceStub(channel).GetCapabilities.future(
            pb.GetCapabilitiesRequest(), metadata=(("authorization", header),), timeout=10
        )
        assert call.code() is (grpc.StatusCode.OK if let_in else grpc.StatusCode.UNAUTHENTICATED)


def test_through_tls_everything_is_as_without(encrypted, slide, client):
    ca = read_ca(CERTIFICATE)
    with client_of(encrypted, ca=ca, token=TOKEN) as secured:
        assert secured.is_serving()
        ours, plain = secured.predict(slide, OBJECTS), client.predict(slide, OBJECTS)
        with secured.live() as live:
            streamed = live.predict(slide, OBJECTS).result(20)
    shapes = [answer.results[0].outlines[0].geometry.wkb for answer in (ours, plain, streamed)]
    assert shapes[0] == shapes[1] == shapes[2]
    with client_of(encrypted, ca=ca) as stranger, pytest.raises(Unauthenticated):
        stranger.capabilities()


def test_a_plain_client_at_a_tls_server_is_told_to_encrypt(encrypted):
    with client_of(encrypted, token=TOKEN) as client, pytest.raises(ServerUnavailable, match="--tls where it speaks"):
        client.capabilities()


def test_a_certificate_saved_with_a_byte_order_mark_is_one(tmp_path) -> None:
    (tmp_path / "server.pem").write_bytes(b"\xef\xbb\xbf" + CERTIFICATE.read_bytes())
    assert read_ca(tmp_path / "server.pem") == CERTIFICATE.read_bytes()


@pytest.mark.parametrize("access", [{"tls": True}, {"ca": read_ca(OTHER_CERTIFICATE)}], ids=["public", "another"])
def test_a_certificate_that_nobody_vouches_for_is_not_believed(encrypted, access):
    refused = pytest.raises(ServerUnavailable, match=r"does not prove who it is.*--tls-ca")
    with client_of(encrypted, token=TOKEN, **access) as client, refused:
        client.capabilities()


def test_a_certificate_for_another_machine_is_not_believed():
    with (
        start_server(fake(tls_certificate=OTHER_CERTIFICATE, tls_key=OTHER_KEY)) as server,
        client_of(server, ca=read_ca(OTHER_CERTIFICATE)) as client,
        pytest.raises(ServerUnavailable, match="certificate for another name"),
    ):
        client.capabilities()


def test_tls_at_a_plain_server_is_told(locked):
    refused = pytest.raises(ServerUnavailable, match=r"does not speak TLS.*leave TLS out")
    with client_of(locked, ca=read_ca(CERTIFICATE), token=TOKEN) as client, refused:
        client.capabilities()


def test_a_token_may_not_travel_unencrypted_unless_somebody_says_so(caplog):
    with pytest.raises(InvalidRequest, match=r"--tls-certificate.*--token-without-tls"):
        fake(host="0.0.0.0", read_slides=False, token=TOKEN)
    fake(host="127.0.0.1", token=TOKEN)
    fake(host="0.0.0.0", read_slides=False, token=TOKEN, tls_certificate=CERTIFICATE, tls_key=KEY)
    with start_server(fake(host="0.0.0.0", read_slides=False, token=TOKEN, token_without_tls=True)):
        assert ["the token too" in record.getMessage() for record in caplog.records] == [True]


def test_with_a_token_and_tls_there_is_nothing_to_warn_of(caplog):
    with start_server(fake(host="0.0.0.0", read_slides=False, token=TOKEN, tls_certificate=CERTIFICATE, tls_key=KEY)):
        assert not caplog.records


def test_encryption_alone_still_lets_everybody_in_and_says_so(caplog):
    with start_server(fake(host="0.0.0.0", read_slides=False, tls_certificate=CERTIFICATE, tls_key=KEY)):
        assert ["everybody who can reach" in record.getMessage() for record in caplog.records] == [True]


def test_a_client_that_shows_its_token_to_the_network_says_so(caplog):
    for address in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        SamClient(address, access=Access(token=TOKEN)).close()
    SamClient("192.0.2.7:1", access=Access(token=TOKEN, tls=True)).close()
    assert not caplog.records
    SamClient("192.0.2.7:1", access=Access(token=TOKEN)).close()
    assert "unencrypted" in caplog.text
    assert TOKEN not in caplog.text


def test_what_is_announced_says_who_gets_in():
    assert fake().exposure == "this machine only"
    assert fake(token=TOKEN).exposure == "this machine only, with a token"
    assert fake(host="0.0.0.0", read_slides=False).exposure == "EVERY MACHINE THAT CAN REACH IT, WITHOUT A TOKEN"
    both = fake(host="0.0.0.0", read_slides=False, token=TOKEN, tls_certificate=CERTIFICATE, tls_key=KEY)
    assert both.exposure == "every machine that can reach it, with a token; encrypted"
    assert TOKEN not in repr(both) + repr(Access(token=TOKEN))


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (CERTIFICATE, OTHER_KEY, "does not belong to the certificate"),
        (CERTIFICATE, ENCRYPTED_KEY, "has a password; write one without: `openssl pkey"),
        (KEY, KEY, "holds no certificate"),
        (CERTIFICATE, CERTIFICATE, "holds no private key"),
        (CERTIFICATE, CERTIFICATE.parent / "no.key", "cannot read .*no.key"),
        (CERTIFICATE.parent, KEY, "cannot read .*--tls-certificate"),
        (CERTIFICATE, None, "--tls-key"),
        (None, KEY, "--tls-certificate"),
    ],
)
def test_a_pair_that_cannot_be_used_says_what_to_do(certificate, key, said):
    with pytest.raises(InvalidRequest, match=said):
        start_server(fake(tls_certificate=certificate, tls_key=key))


def test_a_broken_certificate_is_told_apart_from_a_missing_one(tmp_path):
    broken = tmp_path / "Zertifikat für uns.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    with pytest.raises(InvalidRequest, match=r"cannot be used .*certs create"):
        start_server(fake(tls_certificate=broken, tls_key=KEY))
    with pytest.raises(InvalidRequest, match="no certificate in PEM form"):
        read_ca(broken)


def test_token_files_are_read_as_people_write_them(tmp_path):
    for content in (TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n"):
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            file = tmp_path / "token"
            file.write_bytes(content.encode(encoding))
            assert read_token(file) == TOKEN


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "token_urlsafe"),
        (b"short", "can be guessed"),
        (b"two words that are long enough", "one word"),
        (f"{TOKEN}\n{TOKEN}".encode(), "one word"),
        ("schlüssel-mit-umlauten".encode(), "one word"),
        (b"\xff\xfe\x00 no text", "one word"),
        (b"\x80\x81\x82 no text either", "one word"),
        (b"x" * 100_000, "at most"),
    ],
)
def test_a_file_without_a_token_says_so_and_not_what_it_holds(tmp_path, content, said):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(InvalidRequest, match=said) as caught:
        read_token(file)
    assert not content or content.decode("utf-8", "replace") not in str(caught.value)


def test_a_token_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidRequest, match="cannot read the token"):
        read_token(tmp_path / "none")


@given(st.from_regex(r"[A-Za-z0-9._~+/-]{16,64}={0,2}", fullmatch=True))
def test_a_token_comes_out_as_it_went_in(token):
    assert check_token(token) == token
    ((_, value),) = authorization(token)
    assert token_of(value) == token


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gpu-machine", "localhost.example", ""])
def test_not_loopback(host):
    assert not is_loopback(host)


def test_without_an_info_the_status_is_still_told():
    class Refusal(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.UNAUTHENTICATED

        def details(self):
            return "a proxy says no"

        def trailing_metadata(self):
            return ()

    from qupath_sam.client.failures import error_from

    error: QupathSamError = error_from(Refusal(), "gpu:1")
    assert isinstance(error, Unauthenticated)
    assert "a proxy says no" in str(error)
