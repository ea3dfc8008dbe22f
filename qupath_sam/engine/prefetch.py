"""Work ahead of what a user will ask for, in the background; what is newer makes what is older useless."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from qupath_sam.engine.worker import CancelToken
from qupath_sam.errors import QupathSamError

log = logging.getLogger(__name__)

#: Callers whose windows are encoded ahead in turns; one with a large view does not keep the others waiting.
PREFETCHERS = 4


class Prefetcher:
    """Runs jobs in threads that begin with the first. Safe to call from many threads."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._tokens: dict[str, CancelToken] = {}
        self._lock = threading.Lock()

    def start(self, job: Callable[[CancelToken], None], *, owner: str) -> None:
        """Run a job in the background. A newer one of the same owner cancels the older one.

        Args:
            job: is given the token that cancels it.
            owner: names the client and the image.
        """
        token = CancelToken()
        with self._lock:
            previous = self._tokens.get(owner)
            self._tokens[owner] = token
            if self._pool is None:
                self._pool = ThreadPoolExecutor(PREFETCHERS, thread_name_prefix="qupath-sam-prefetch")
            pool = self._pool
        if previous is not None:
            previous.cancel()
        pool.submit(self._run, job, token, owner)

    def close(self) -> None:
        """Cancel all jobs and wait for those under way."""
        with self._lock:
            for token in self._tokens.values():
                token.cancel()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Callable[[CancelToken], None], token: CancelToken, owner: str) -> None:
        try:
            if not token.cancelled:
                job(token)
        except QupathSamError as error:
            # No caller waits for this answer: the click that needs the window meets the same error and reports it.
            log.debug("prefetching ended: %s", error)
        except Exception:
            log.exception("a fault while prefetching")
        finally:
            with self._lock:
                if self._tokens.get(owner) is token:
                    del self._tokens[owner]
