"""One open stream of live clicking: many requests under way, each answered once, newer clicks replacing older ones."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Protocol

from qupath_sam.engine.call import Call
from qupath_sam.engine.worker import CancelToken
from qupath_sam.errors import Cancelled, InvalidRequest, QupathSamError, ServerBusy
from qupath_sam.server.interceptors import failure
from qupath_sam.server.message_memory import MessageMemory
from qupath_sam.server.request_log import RequestLog
from qupath_sam.v1 import error_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb

#: Requests of one stream that are worked on at once: a click, one more, and the embedding of a view.
WORKERS_PER_STREAM = 3
#: Requests of one stream that may be unanswered at once; a person has a handful.
MAX_PENDING = 64


class Handler(Protocol):
    """The part of the servicer that a session needs."""

    def predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:
        """Answer a Predict."""
        ...

    def embed(self, request: pb.EmbedRequest, call: Call, *, owner: str) -> pb.EmbedResponse:
        """Answer an Embed."""
        ...


class _Pending:
    """A request that is not answered yet.

    Args:
        key: a newer Predict with the same one replaces it; empty for none.
        older: end with the requests that it replaces.
    """

    def __init__(self, key: str, older: Sequence[Future[None]]) -> None:
        self.key = key
        self.token = CancelToken()
        self.ended: Future[None] = Future()
        self._older = older

    def wait_for_older(self) -> None:
        """Wait until what is replaced has ended, or this request is replaced itself.

        This request goes on from the last state of the older one, so that no step is decoded twice. The older one is
        cancelled: it ends with the call of the model that is under way. It is in the same pool and came before.
        """
        replaced: Future[None] = Future()
        forget = self.token.add_callback(lambda: replaced.set_result(None))
        for ended in self._older:
            wait([ended, replaced], return_when=FIRST_COMPLETED)
        forget()


class LiveSession:
    """The requests of one stream.

    Args:
        handler: answers single requests.
        owner: names the stream, for background embedding.
        client: names who has opened it.
        requests: gets a line for each request.
        messages: the memory of requests that have arrived.
    """

    def __init__(
        self, handler: Handler, *, owner: str, client: str, requests: RequestLog, messages: MessageMemory
    ) -> None:
        self._handler = handler
        self._owner = owner
        self._client = client
        self._requests = requests
        self._messages = messages
        self._lock = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._answers: queue.SimpleQueue[pb.LiveResponse | None] = queue.SimpleQueue()
        self._closed = False

    def answers(self, requests: Iterator[pb.LiveRequest]) -> Iterator[pb.LiveResponse]:
        """Read requests on a thread of their own and yield answers as they come, until all are given."""
        pool = ThreadPoolExecutor(WORKERS_PER_STREAM, thread_name_prefix="qupath-sam-live")
        reader = threading.Thread(target=self._read, args=(requests, pool), name="qupath-sam-live-reader", daemon=True)
        reader.start()
        try:
            while (answer := self._answers.get()) is not None:
                yield answer
        finally:
            self.cancel_all()
            pool.shutdown(wait=False, cancel_futures=True)

    def cancel_all(self) -> None:
        """Cancel everything that has not been answered: the client has gone."""
        with self._lock:
            tokens = [pending.token for pending in self._pending.values()]
        for token in tokens:
            token.cancel()

    def _read(self, requests: Iterator[pb.LiveRequest], pool: ThreadPoolExecutor) -> None:
        try:
            for request in requests:
                self._accept(request, pool)
        except Exception:
            # The stream broke: gRPC ends the call, and no client is left to answer.
            self.cancel_all()
        with self._lock:
            self._closed = True
            if not self._pending:
                self._answers.put(None)

    def _accept(self, request: pb.LiveRequest, pool: ThreadPoolExecutor) -> None:
        kind = request.WhichOneof("request")
        if kind == "cancel_request_id":
            self._cancel([request.cancel_request_id])
            return
        with self._lock:
            refusal = self._refusal(request)
            key = request.supersedes_key if kind == "predict" else ""
            older = [pending for pending in self._pending.values() if key and pending.key == key]
            pending = _Pending(key, [each.ended for each in older])
            if refusal is None:
                refusal = self._take(request, pending)
            if refusal is None:
                self._pending[request.request_id] = pending
        if refusal is not None:
            self._answers.put(pb.LiveResponse(request_id=request.request_id, error=failure(refusal)[1]))
            return
        for each in older:
            each.token.cancel()
        pool.submit(self._work, request, kind, pending)

    def _refusal(self, request: pb.LiveRequest) -> QupathSamError | None:
        """Return why a request is not even begun, or None. Needs the lock."""
        if request.request_id in self._pending:
            return InvalidRequest(f"request_id {request.request_id} is under way already; use each number once")
        if len(self._pending) >= MAX_PENDING:
            return ServerBusy(f"{MAX_PENDING} requests of this stream are unanswered; wait for some of the answers")
        return None

    def _take(self, request: pb.LiveRequest, pending: _Pending) -> QupathSamError | None:
        """Count a request in memory until it is answered; return why there is no room."""
        try:
            pending.ended.add_done_callback(_calling(self._messages.take(request)))
        except ServerBusy as busy:
            return busy
        return None

    def _cancel(self, request_ids: list[int]) -> None:
        with self._lock:
            tokens = [self._pending[i].token for i in request_ids if i in self._pending]
        for token in tokens:
            token.cancel()

    def _work(self, request: pb.LiveRequest, kind: str | None, pending: _Pending) -> None:
        answer = pb.LiveResponse(request_id=request.request_id)
        token = pending.token
        pending.wait_for_older()
        started = time.perf_counter()
        try:
            if not token.cancelled:
                call = Call(cancel=token, client=self._client, notice=partial(self._notify, request.request_id))
                self._fill(answer, request, kind, call)
            if token.cancelled:
                # Even where the work was past stopping: who has cancelled waits for no result.
                raise Cancelled("cancelled, or replaced by a newer click; send it again if it is still wanted")
        except Exception as error:
            answer.error.CopyFrom(failure(error)[1])
        self._record(request, answer, kind, (time.perf_counter() - started) * 1e3)
        with self._lock:
            del self._pending[request.request_id]
            pending.ended.set_result(None)
            self._answers.put(answer)
            if self._closed and not self._pending:
                self._answers.put(None)

    def _notify(self, request_id: int, message: str) -> None:
        """Tell the client what the request waits for."""
        self._answers.put(pb.LiveResponse(request_id=request_id, notice=pb.Notice(message=message)))

    def _record(self, request: pb.LiveRequest, answer: pb.LiveResponse, kind: str | None, ms: float) -> None:
        if kind is None:
            return
        failed = answer.WhichOneof("response") == "error"
        self._requests.record(
            client=self._client,
            method=f"Live.{kind}",
            request=getattr(request, kind),
            response=None if failed else getattr(answer, kind),
            code=error_pb2.ErrorReason.Name(answer.error.reason).removeprefix("ERROR_REASON_") if failed else "OK",
            ms=ms,
        )

    def _fill(self, answer: pb.LiveResponse, request: pb.LiveRequest, kind: str | None, call: Call) -> None:
        if kind == "predict":
            answer.predict.CopyFrom(self._handler.predict(request.predict, call))
        elif kind == "embed":
            answer.embed.CopyFrom(self._handler.embed(request.embed, call, owner=self._owner))
        else:
            raise InvalidRequest("the request is empty; set predict, embed or cancel_request_id")


def _calling(give_back: Callable[[], None]) -> Callable[[object], None]:
    return lambda _: give_back()
