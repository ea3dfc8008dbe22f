"""A stream that stays open while a person clicks: answers come as futures; a newer click replaces an older one."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import grpc

from qupath_sam.client.failures import error_from
from qupath_sam.client.images import ImageRef
from qupath_sam.client.messages import embed_request, predict_request
from qupath_sam.errors import QupathSamError, ServerUnavailable
from qupath_sam.protocol.convert import prediction_of, status_of
from qupath_sam.protocol.status import error_of
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Prediction, WindowStatus
from qupath_sam.types.service import EmbedMode
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

T = TypeVar("T")


class LiveClient:
    """One open Live stream. Safe to use from several threads. Use as a context manager, or call `close`.

    Args:
        stub: of an open channel.
        address: of the server, for messages.
        metadata: that the stream carries.
    """

    def __init__(
        self, stub: pb_grpc.SegmentationServiceStub, address: str, metadata: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._address = address
        self._numbers = itertools.count(1)
        self._requests: queue.SimpleQueue[pb.LiveRequest | None] = queue.SimpleQueue()
        self._waiting: dict[int, tuple[Future[Any], Callable[[pb.LiveResponse], Any]]] = {}
        self._lock = threading.Lock()
        self._ended: QupathSamError | None = None
        self._responses = stub.Live(iter(self._requests.get, None), metadata=tuple(metadata))
        self._reader = threading.Thread(target=self._read, name="qupath-sam-live-client", daemon=True)
        self._reader.start()

    def predict(
        self,
        image: ImageRef,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        supersedes_key: str = "",
    ) -> Future[Prediction]:
        """Ask for a prediction; a newer one with the same key cancels older ones that are not answered yet.

        Returns:
            A future of the `Prediction`; it raises the server's error, or `Cancelled` where it was replaced.
            Cancelling the future cancels the request on the server.
        """
        request = predict_request(image, objects, model=model, window=window, output=output)
        asked = pb.LiveRequest(supersedes_key=supersedes_key, predict=request)
        return self._send(asked, lambda response: prediction_of(response.predict))

    def embed(
        self,
        image: ImageRef,
        *,
        model: str = "",
        window: WindowRequest | None = None,
        view: Region | None = None,
        focus: tuple[float, float] | None = None,
        max_windows: int = 0,
        mode: EmbedMode = EmbedMode.WAIT,
    ) -> Future[list[WindowStatus]]:
        """Ask for windows to be encoded; as `SamClient.embed`."""
        request = embed_request(
            image, model=model, window=window, view=view, focus=focus, max_windows=max_windows, mode=mode
        )
        return self._send(
            pb.LiveRequest(embed=request), lambda response: [status_of(each) for each in response.embed.embeddings]
        )

    def close(self) -> None:
        """Half-close the stream and wait for what is under way."""
        self._requests.put(None)
        self._reader.join()

    def __enter__(self) -> LiveClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, request: pb.LiveRequest, read: Callable[[pb.LiveResponse], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._ended is not None:
                raise self._ended
            request.request_id = number = next(self._numbers)
            self._waiting[number] = future, read
            self._requests.put(request)
        future.add_done_callback(lambda done: self._cancel(number) if done.cancelled() else None)
        return future

    def _cancel(self, number: int) -> None:
        self._requests.put(pb.LiveRequest(cancel_request_id=number))

    def _read(self) -> None:
        ended: QupathSamError = ServerUnavailable(f"the stream to {self._address} is closed; open a new one")
        try:
            for response in self._responses:
                self._deliver(response)
        except grpc.RpcError as error:
            ended = error_from(error, self._address)
        with self._lock:
            self._ended = ended
            left, self._waiting = list(self._waiting.values()), {}
        # gRPC's thread that takes requests waits for the next one; after a broken stream nobody else would end it.
        self._requests.put(None)
        for future, _ in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(ended)

    def _deliver(self, response: pb.LiveResponse) -> None:
        if response.WhichOneof("response") == "notice":
            return  # for a person who looks on
        with self._lock:
            future, read = self._waiting.pop(response.request_id, (None, None))
        if future is None or read is None or not future.set_running_or_notify_cancel():
            return
        try:
            if response.WhichOneof("response") == "error":
                raise error_of(response.error)
            future.set_result(read(response))
        except Exception as error:
            future.set_exception(error)
