"""The sessions that run at once, and the crops that they click on."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from qupath_sam.errors import InvalidRequest
from qupath_sam.training.embeddings import EncodedCrop
from qupath_sam.training.sampling import PromptMix, Session, start_session


class Crops(Protocol):
    """Crops by index; see `qupath_sam.training.embeddings`."""

    def __len__(self) -> int:
        """Return the number of crops of an epoch."""
        ...

    def __getitem__(self, index: int) -> EncodedCrop:
        """Return crop ``index % len`` as epoch ``index // len`` shows it."""
        ...


class PoolSettings(Protocol):
    """What a pool takes from the settings of a run; see `qupath_sam.training.settings.TrainingSettings`."""

    @property
    def batch(self) -> int:
        """Crops that go through the network together."""
        ...

    @property
    def accumulate(self) -> int:
        """Batches of an optimiser step."""
        ...

    @property
    def sessions_per_crop(self) -> int:
        """Sessions that begin on one crop."""
        ...

    @property
    def seed(self) -> int:
        """Of the order of the crops."""
        ...

    @property
    def mix(self) -> PromptMix:
        """What sessions ask."""
        ...


class SessionPool:
    """Sessions on crops of an order that each epoch shuffles; where one ends, the next one begins.

    Args:
        crops: to draw from.
        settings: how many sessions run, how many begin on one crop, and what they ask.
        random: of what sessions begin with. The order of the crops comes from the seed alone.

    Attributes:
        sessions: that run; each gives one answer in a step.
        drawn: crops taken from the order so far.
        crop: index of the crop that was drawn last.
        sessions_left: sessions that may still begin on it.
    """

    def __init__(self, crops: Crops, settings: PoolSettings, random: np.random.Generator) -> None:
        self.sessions: list[Session] = []
        self.drawn = 0
        self.crop = 0
        self.sessions_left = 0
        self._crops = crops
        self._settings = settings
        self._random = random
        self._loaded: dict[int, EncodedCrop] = {}

    def fill(self) -> None:
        """Begin sessions until as many run as an optimiser step takes answers of."""
        while len(self.sessions) < self._settings.batch * self._settings.accumulate:
            self.sessions.append(self.begin())

    def begin(self) -> Session:
        """Begin a session on the crop that was drawn last, or, when that has had its share, on the next one.

        Raises:
            InvalidRequest: no crop has anything to learn from.
        """
        if self.sessions_left == 0:
            self._draw_crop()
        self.sessions_left -= 1
        crop = self.load(self.crop)
        pixels = crop.image[0].permute(1, 2, 0).numpy()
        return start_session(self.crop, crop.labels, crop.targets, self._random, self._settings.mix, image=pixels)

    def load(self, index: int) -> EncodedCrop:
        """Return a crop. Those that a session is on stay in memory."""
        if index not in self._loaded:
            self._loaded[index] = self._crops[index]
        return self._loaded[index]

    def by_crop(self) -> list[dict[int, list[int]]]:
        """Return places in ``sessions`` by the crop that they are on, as many crops together as a batch has."""
        of_crop: dict[int, list[int]] = {}
        for place, session in enumerate(self.sessions):
            of_crop.setdefault(session.crop, []).append(place)
        crops, batch = list(of_crop), self._settings.batch
        return [{crop: of_crop[crop] for crop in crops[i : i + batch]} for i in range(0, len(crops), batch)]

    def _draw_crop(self) -> None:
        """Go on to the next crop of the order that has something to learn from."""
        count = len(self._crops)
        for _ in range(count):
            epoch, place = divmod(self.drawn, count)
            order = np.random.default_rng((self._settings.seed, epoch)).permutation(count)
            index = epoch * count + int(order[place])
            self.drawn += 1
            crop = self._crops[index]
            if crop.targets:
                self._loaded = {session.crop: self.load(session.crop) for session in self.sessions} | {index: crop}
                self.crop, self.sessions_left = index, self._settings.sessions_per_crop
                return
        raise InvalidRequest("no crop shows an object large enough to learn from; check the data sets' masks")
