"""One embedding for all who ask: computed once, delivered to everybody, nobody left waiting. No test sleeps."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from qupath_sam.engine.embeddings.disk import DiskCache
from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.embeddings.writer import DiskWriter
from qupath_sam.engine.worker import CancelToken, InferenceWorker, Priority, Urgency
from qupath_sam.errors import Cancelled, DeadlineExceeded, ServerBusy
from qupath_sam.models.base import Embedding
from qupath_sam.types.results import EmbeddingSource

PATIENCE = 30.0  # seconds until a test that hangs is a test that fails
KEY = "a" * 64
LARGE = 1 << 20

Answer = Future[tuple[Embedding, EmbeddingSource]]


def embedding_of(value: int = 1) -> Embedding:
    return Embedding({"image": torch.full((8,), value, dtype=torch.bfloat16)}, (16, 16))


def never() -> Embedding:
    raise AssertionError("must not be computed")


def sharing_store() -> EmbeddingStore:
    return EmbeddingStore(MemoryCache(LARGE))


class WatchedToken(CancelToken):
    """Tells when its caller has begun to wait for another."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], None]:
        take_back = super().add_callback(callback)
        self.waits.set()
        return take_back


class Leader:
    """A caller whose computation goes on until the test ends it with an embedding or an error."""

    def __init__(self, pool: ThreadPoolExecutor, store: EmbeddingStore, urgency: Urgency | None = None) -> None:
        self._pool, self._store = pool, store
        self._computing, self._outcome = threading.Event(), Future[Embedding]()
        self.answer: Answer = pool.submit(store.get_or_compute, KEY, self._compute, urgency=urgency)
        assert self._computing.wait(PATIENCE)

    def _compute(self) -> Embedding:
        self._computing.set()
        return self._outcome.result(PATIENCE)

    def finish(self, embedding: Embedding) -> None:
        self._outcome.set_result(embedding)

    def fail(self, error: BaseException) -> None:
        self._outcome.set_exception(error)

    def follower(
        self, compute: Callable[[], Embedding] = never, *, urgency: Urgency | None = None
    ) -> tuple[WatchedToken, Answer]:
        """Another caller, who waits already when this returns."""
        token = WatchedToken()
        answer: Answer = self._pool.submit(self._store.get_or_compute, KEY, compute, cancel=token, urgency=urgency)
        assert token.waits.wait(PATIENCE)
        return token, answer


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(max_workers=16)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


def test_memory_first_then_disk_then_computation(tmp_path: Path) -> None:
    memory, disk = MemoryCache(LARGE), DiskCache(tmp_path, LARGE)
    store, made = EmbeddingStore(memory, disk), embedding_of()
    assert not store.contains(KEY)
    assert store.get_or_compute(KEY, lambda: made) == (made, EmbeddingSource.COMPUTED)
    assert store.get_or_compute(KEY, never) == (made, EmbeddingSource.MEMORY)
    memory.clear()
    assert store.contains(KEY)
    store.flush()
    assert store.contains(KEY)
    found, source = store.get_or_compute(KEY, never)
    assert source is EmbeddingSource.DISK
    assert torch.equal(found.tensors["image"], made.tensors["image"])
    assert store.get_or_compute(KEY, never) == (found, EmbeddingSource.MEMORY)


def test_a_damaged_file_is_computed_anew_and_replaced(tmp_path: Path) -> None:
    store = EmbeddingStore(MemoryCache(0), DiskCache(tmp_path, LARGE))
    store.get_or_compute(KEY, embedding_of)
    store.flush()
    (tmp_path / f"{KEY}.safetensors").write_bytes(b"damaged")
    assert store.get_or_compute(KEY, embedding_of)[1] is EmbeddingSource.COMPUTED
    store.flush()
    assert store.get_or_compute(KEY, never)[1] is EmbeddingSource.DISK


class SlowDisk(DiskCache):
    """Writes when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LARGE)
        self.let = threading.Event()
        self.writers: list[str] = []

    def put(self, key: str, embedding: Embedding) -> bool:
        assert self.let.wait(PATIENCE)
        self.writers.append(threading.current_thread().name)
        return super().put(key, embedding)


def test_who_pays_for_an_encode_does_not_wait_for_the_file(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    store, made = EmbeddingStore(MemoryCache(0), disk), embedding_of()
    assert store.get_or_compute(KEY, lambda: made) == (
        made,
        EmbeddingSource.COMPUTED,
    )  # returns, though nothing is written
    assert store.contains(KEY)
    assert store.get_or_compute(KEY, never) == (made, EmbeddingSource.DISK)  # on its way there
    assert not disk.contains(KEY)
    disk.let.set()
    store.close()
    assert disk.contains(KEY)
    store.get_or_compute("b" * 64, embedding_of)  # after the end: by the caller
    assert disk.contains("b" * 64)
    assert disk.writers == ["qupath-sam-disk_0", threading.current_thread().name]


def test_what_waits_for_the_disk_is_bounded(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    writer = DiskWriter(disk, max_waiting_bytes=embedding_of().size_bytes)
    writer.put(KEY, embedding_of())
    late = threading.Thread(target=writer.put, args=("b" * 64, embedding_of()))
    late.start()
    assert writer.get("b" * 64) is None
    disk.let.set()
    late.join(PATIENCE)
    writer.close()
    assert disk.contains(KEY)
    assert disk.contains("b" * 64)
    assert sorted(disk.writers) == sorted(["qupath-sam-disk_0", late.name])
    assert writer.get(KEY) is None


def test_a_disk_that_fails_costs_the_entry_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(DiskCache):
        def put(self, key: str, embedding: Embedding) -> bool:
            raise RuntimeError("no device")

    store = EmbeddingStore(MemoryCache(LARGE), Broken(tmp_path, LARGE))
    store.get_or_compute(KEY, embedding_of)
    store.flush()
    assert "could not keep" in caplog.text
    assert store.get_or_compute(KEY, never)[1] is EmbeddingSource.MEMORY
    store.close()


def test_an_embedding_larger_than_the_bound_is_handed_out_but_not_kept() -> None:
    store = EmbeddingStore(MemoryCache(3))
    for _ in range(2):
        assert store.get_or_compute(KEY, embedding_of)[1] is EmbeddingSource.COMPUTED
    assert not store.contains(KEY)


def test_all_who_ask_at_once_get_the_one_embedding(pool: ThreadPoolExecutor) -> None:
    leader, made = Leader(pool, sharing_store()), embedding_of()
    followers = [leader.follower() for _ in range(12)]
    leader.finish(made)
    assert leader.answer.result(PATIENCE) == (made, EmbeddingSource.COMPUTED)
    assert [answer.result(PATIENCE) for _, answer in followers] == [(made, EmbeddingSource.SHARED)] * 12


def test_a_race_of_many_threads_computes_once(pool: ThreadPoolExecutor) -> None:
    for _ in range(20):
        store, gate, computed = sharing_store(), threading.Barrier(16), list[Embedding]()

        def compute(computed: list[Embedding] = computed) -> Embedding:
            computed.append(embedding_of())
            return computed[-1]

        def ask(
            store: EmbeddingStore = store,
            gate: threading.Barrier = gate,
            compute: Callable[[], Embedding] = compute,
        ) -> tuple[Embedding, EmbeddingSource]:
            gate.wait(PATIENCE)
            return store.get_or_compute(KEY, compute)

        answers = [answer.result(PATIENCE) for answer in [pool.submit(ask) for _ in range(16)]]
        assert len(computed) == 1
        assert all(found is computed[0] for found, _ in answers)
        assert Counter(source for _, source in answers)[EmbeddingSource.COMPUTED] == 1


def test_different_keys_do_not_wait_for_each_other(pool: ThreadPoolExecutor) -> None:
    store = sharing_store()
    leader = Leader(pool, store)
    assert store.get_or_compute("b" * 64, embedding_of)[1] is EmbeddingSource.COMPUTED
    leader.finish(embedding_of())


def test_an_error_goes_to_all_and_is_not_kept(pool: ThreadPoolExecutor) -> None:
    store, error = sharing_store(), RuntimeError("the encoder failed")
    leader = Leader(pool, store)
    followers = [leader.follower() for _ in range(5)]
    leader.fail(error)
    assert leader.answer.exception(PATIENCE) is error
    assert [answer.exception(PATIENCE) for _, answer in followers] == [error] * 5
    assert not store.contains(KEY)
    assert store.get_or_compute(KEY, embedding_of)[1] is EmbeddingSource.COMPUTED


@pytest.mark.parametrize(
    "error", [Cancelled("gone"), DeadlineExceeded("late"), ServerBusy("full"), KeyboardInterrupt()]
)
def test_a_leader_that_gives_up_is_followed_by_the_first_that_waits(
    pool: ThreadPoolExecutor, error: BaseException
) -> None:
    leader, made = Leader(pool, sharing_store()), embedding_of()
    _, first = leader.follower(lambda: made)
    followers = [leader.follower() for _ in range(5)]
    leader.fail(error)
    assert leader.answer.exception(PATIENCE) is error
    assert first.result(PATIENCE) == (made, EmbeddingSource.COMPUTED)
    assert [answer.result(PATIENCE) for _, answer in followers] == [(made, EmbeddingSource.SHARED)] * 5


def test_a_waiter_leaves_when_its_own_caller_does(pool: ThreadPoolExecutor) -> None:
    leader, made = Leader(pool, sharing_store()), embedding_of()
    token, leaving = leader.follower()
    _, staying = leader.follower()
    token.cancel()
    with pytest.raises(Cancelled):
        leaving.result(PATIENCE)
    leader.finish(made)
    assert staying.result(PATIENCE) == (made, EmbeddingSource.SHARED)


def test_a_waiter_leaves_at_its_own_deadline(pool: ThreadPoolExecutor) -> None:
    store = sharing_store()
    leader = Leader(pool, store)
    with pytest.raises(DeadlineExceeded):
        store.get_or_compute(KEY, never, deadline=time.monotonic() + 0.1)
    assert not leader.answer.done()
    leader.finish(embedding_of())


def test_who_has_left_is_not_asked_to_lead(pool: ThreadPoolExecutor) -> None:
    store, made = sharing_store(), embedding_of()
    leader = Leader(pool, store)
    token, left = leader.follower()
    _, staying = leader.follower(lambda: made)
    token.cancel()
    assert isinstance(left.exception(PATIENCE), Cancelled)
    leader.fail(Cancelled("gone"))
    assert staying.result(PATIENCE) == (made, EmbeddingSource.COMPUTED)


def test_who_is_chosen_to_lead_while_leaving_passes_it_on(pool: ThreadPoolExecutor) -> None:
    store, made = sharing_store(), embedding_of()
    leader = Leader(pool, store)

    class TokenOfALeaver(WatchedToken):
        """Makes the leader give up in the moment between this caller's waking and its leaving."""

        @property
        def cancelled(self) -> bool:
            if super().cancelled and not leader.answer.done():
                leader.fail(Cancelled("gone"))
                leader.answer.exception(PATIENCE)
            return super().cancelled

    token = TokenOfALeaver()
    leaving = pool.submit(store.get_or_compute, KEY, never, cancel=token)
    assert token.waits.wait(PATIENCE)
    _, staying = leader.follower(lambda: made)
    token.cancel()
    assert isinstance(leaving.exception(PATIENCE), Cancelled)
    assert staying.result(PATIENCE) == (made, EmbeddingSource.COMPUTED)


def test_when_all_have_left_the_next_caller_starts_afresh(pool: ThreadPoolExecutor) -> None:
    store = sharing_store()
    leader = Leader(pool, store)
    token, left = leader.follower()
    token.cancel()
    assert isinstance(left.exception(PATIENCE), Cancelled)
    leader.fail(Cancelled("gone"))
    assert isinstance(leader.answer.exception(PATIENCE), Cancelled)
    assert store.get_or_compute(KEY, embedding_of)[1] is EmbeddingSource.COMPUTED


def test_a_caller_that_has_gone_already_computes_nothing() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        sharing_store().get_or_compute(KEY, never, cancel=token)
    with pytest.raises(DeadlineExceeded):
        sharing_store().get_or_compute(KEY, never, deadline=time.monotonic())


def test_a_click_makes_the_prefetch_that_it_waits_for_urgent(pool: ThreadPoolExecutor) -> None:
    prefetch = Urgency(Priority.BACKGROUND)
    leader = Leader(pool, sharing_store(), prefetch)
    seen = []
    for urgency in (Urgency(Priority.BACKGROUND), Urgency(Priority.INTERACTIVE)):
        leader.follower(urgency=urgency)
        seen.append(prefetch.priority)
    assert seen == [Priority.BACKGROUND, Priority.INTERACTIVE]
    leader.finish(embedding_of())


def test_a_prefetch_that_takes_over_is_as_urgent_as_the_click_behind_it(pool: ThreadPoolExecutor) -> None:
    leader, second = Leader(pool, sharing_store()), Urgency(Priority.BACKGROUND)
    seen: list[Priority] = []

    def compute() -> Embedding:
        seen.append(second.priority)
        return embedding_of()

    _, prefetch = leader.follower(compute, urgency=second)
    _, click = leader.follower()
    leader.fail(Cancelled("gone"))
    assert prefetch.result(PATIENCE)[1] is EmbeddingSource.COMPUTED
    assert click.result(PATIENCE)[1] is EmbeddingSource.SHARED
    assert seen == [Priority.INTERACTIVE]


def test_with_the_worker_a_cancelled_leader_frees_its_place_and_the_next_one_encodes(pool: ThreadPoolExecutor) -> None:
    store, release, made = sharing_store(), threading.Event(), embedding_of()
    first, second = WatchedToken(), WatchedToken()
    with InferenceWorker() as worker:
        busy = worker.submit(lambda: release.wait(PATIENCE))

        def ask(token: CancelToken) -> tuple[Embedding, EmbeddingSource]:
            return store.get_or_compute(KEY, lambda: worker.run(lambda: made, cancel=token), cancel=token)

        leading = pool.submit(ask, first)
        assert first.waits.wait(PATIENCE)  # in the worker's queue
        waiting = pool.submit(ask, second)
        assert second.waits.wait(PATIENCE)  # for the leader
        first.cancel()
        with pytest.raises(Cancelled):
            leading.result(PATIENCE)
        release.set()
        assert waiting.result(PATIENCE) == (made, EmbeddingSource.COMPUTED)
        assert busy.result(PATIENCE)


def test_nobody_is_lost_when_callers_come_and_go_at_random() -> None:
    """16 clients, 8 keys, a memory that holds 3 embeddings, every third call cancelled at some moment."""
    values = {f"{number:064x}": number for number in range(8)}
    store = EmbeddingStore(MemoryCache(3 * embedding_of().size_bytes))
    computing, twice, outcomes = Counter[str](), list[str](), Counter[str]()
    counting = threading.Lock()

    def client(worker: InferenceWorker, number: int) -> None:
        choose = random.Random(number)
        for _ in range(40):
            key, token = choose.choice(list(values)), CancelToken()

            def encode(key: str = key) -> Embedding:
                computing[key] += 1  # only the worker's thread counts here
                return embedding_of(values[key])

            def compute(key: str = key, token: CancelToken = token) -> Embedding:
                with counting:
                    leading[key] += 1
                    if leading[key] > 1:
                        twice.append(key)
                try:
                    return worker.run(lambda: encode(key), cancel=token)
                finally:
                    with counting:
                        leading[key] -= 1

            canceller = threading.Thread(target=token.cancel)
            if choose.random() < 1 / 3:
                canceller.start()
            try:
                found, source = store.get_or_compute(key, compute, cancel=token)
            except Cancelled:
                outcome = "cancelled"
            else:
                assert torch.equal(found.tensors["image"], embedding_of(values[key]).tensors["image"])
                outcome = source.value
            with counting:
                outcomes[outcome] += 1
            if canceller.ident is not None:
                canceller.join()

    leading = Counter[str]()
    with InferenceWorker() as worker, ThreadPoolExecutor(16) as clients:
        for answer in [clients.submit(client, worker, number) for number in range(16)]:
            answer.result(PATIENCE)
    assert outcomes.total() == 16 * 40
    assert twice == []
    assert computing.total() >= outcomes["computed"] > 0
    assert store.memory.stats().size_bytes <= 3 * embedding_of().size_bytes
