"""The sessions that run at once, and the views that they click on."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from qupath_sam.errors import InvalidRequest
from qupath_sam.training.embeddings import EncodedView
from qupath_sam.training.sampling import PromptMix, Session, start_session


class Views(Protocol):
    """Views by index; see `qupath_sam.training.embeddings`."""

    def __len__(self) -> int:
        """Views of an epoch."""
        ...

    def __getitem__(self, index: int) -> EncodedView:
        """View ``index % len`` as epoch ``index // len`` shows it."""
        ...


class PoolSettings(Protocol):
    """What a pool takes from the settings of a run; see `qupath_sam.training.settings.TrainingSettings`."""

    @property
    def batch(self) -> int:
        """Views that go through the network together."""
        ...

    @property
    def accumulate(self) -> int:
        """Batches of an optimiser step."""
        ...

    @property
    def sessions_per_view(self) -> int:
        """Sessions that begin on one view."""
        ...

    @property
    def seed(self) -> int:
        """Of the order of the views."""
        ...

    @property
    def mix(self) -> PromptMix:
        """What sessions ask."""
        ...


class SessionPool:
    """Sessions on views of an order that each epoch shuffles; where one ends, the next one begins.

    Args:
        views: to draw from.
        settings: how many sessions run, how many begin on one view, and what they ask.
        random: of what sessions begin with. The order of the views comes from the seed alone.

    Attributes:
        sessions: that run; each gives one answer in a step.
        drawn: views taken from the order so far.
        view: index of the view that was drawn last.
        sessions_left: sessions that may still begin on it.
    """

    def __init__(self, views: Views, settings: PoolSettings, random: np.random.Generator) -> None:
        self.sessions: list[Session] = []
        self.drawn = 0
        self.view = 0
        self.sessions_left = 0
        self._views = views
        self._settings = settings
        self._random = random
        self._loaded: dict[int, EncodedView] = {}

    def fill(self) -> None:
        """Begin sessions until as many run as an optimiser step takes answers of."""
        while len(self.sessions) < self._settings.batch * self._settings.accumulate:
            self.sessions.append(self.begin())

    def begin(self) -> Session:
        """Begin a session on the view that was drawn last, or, when that has had its share, on the next one.

        Raises:
            InvalidRequest: no view has anything to learn from.
        """
        if self.sessions_left == 0:
            self._draw_view()
        self.sessions_left -= 1
        view = self.load(self.view)
        pixels = view.image[0].permute(1, 2, 0).numpy()
        return start_session(self.view, view.labels, view.targets, self._random, self._settings.mix, image=pixels)

    def load(self, index: int) -> EncodedView:
        """Return a view. Those that a session is on stay in memory."""
        if index not in self._loaded:
            self._loaded[index] = self._views[index]
        return self._loaded[index]

    def by_view(self) -> list[dict[int, list[int]]]:
        """Return places in ``sessions`` by the view that they are on, as many views together as a batch has."""
        of_view: dict[int, list[int]] = {}
        for place, session in enumerate(self.sessions):
            of_view.setdefault(session.view, []).append(place)
        views, batch = list(of_view), self._settings.batch
        return [{view: of_view[view] for view in views[i : i + batch]} for i in range(0, len(views), batch)]

    def _draw_view(self) -> None:
        """Go on to the next view of the order that has something to learn from."""
        count = len(self._views)
        for _ in range(count):
            epoch, place = divmod(self.drawn, count)
            order = np.random.default_rng((self._settings.seed, epoch)).permutation(count)
            index = epoch * count + int(order[place])
            self.drawn += 1
            view = self._views[index]
            if view.targets:
                self._loaded = {session.view: self.load(session.view) for session in self.sessions} | {index: view}
                self.view, self.sessions_left = index, self._settings.sessions_per_view
                return
        raise InvalidRequest("no view shows an object large enough to learn from; check the data sets' masks")
