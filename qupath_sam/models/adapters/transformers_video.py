"""The memory of SAM 2.1, EdgeTAM and SAM 3's tracker, through their video classes in `transformers`.

The library keeps a session with all frames of a video. Here a session lives for one plane: it gets the memories of the
planes before, and the new memory is taken out. So nothing grows with the number of planes; a memory bank is a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qupath_sam.models.tracking import MemoryBank, PlaneMemory

#: ``model_type`` of the published image and video configs, and the library's class of the video model.
VIDEO_CLASSES = {
    "sam2_video": "Sam2Video",
    "edgetam_video": "EdgeTamVideo",
    "sam3_tracker_video": "Sam3TrackerVideo",
    "sam3_video": "Sam3TrackerVideo",
}
#: What of a frame the memory attention looks at, and what of it is left beyond the window of spatial memories.
_SPATIAL, _POINTER = ("maskmem_features", "maskmem_pos_enc"), "object_pointer"
#: The one object of a session, and its first frame.
_OBJECT, _FIRST = 0, 0


@dataclass(frozen=True, slots=True, eq=False)
class TrackedPlane:
    """The model's answer on one plane.

    Attributes:
        logits: ``(1, h, w)`` over the model's square.
        score: the model's own estimate of the mask's IoU.
        bank: the memory after this plane.
    """

    logits: Tensor
    score: Tensor
    bank: MemoryBank


class VideoMemory:
    """Memory encoder and memory attention of a video model.

    Args:
        model: of `transformers`, with its weights; its image encoder is let go of.
        session: the library's class of inference sessions.
    """

    def __init__(self, model: Any, session: type[Any]) -> None:
        self._position_encoding = model.vision_encoder.neck.position_encoding
        model.vision_encoder = None
        self.model = model.eval().requires_grad_(False)
        self._session = session
        self._spatial_planes = int(model.num_maskmem) - 1
        self._planes = max(self._spatial_planes, int(model.config.max_object_pointers_in_encoder) - 1)

    def remember(self, maps: Sequence[Tensor], mask: Tensor) -> MemoryBank:
        """Begin a memory; see `qupath_sam.models.tracking.Tracker.remember`.

        Args:
            maps: the image encoder's maps, finest first, the last one without the embedding of "no memory".
            mask: 0 and 1, fp32 ``(1, 1, S, S)`` over the model's square.
        """
        session = self._new_session(maps, _FIRST)
        session.add_mask_inputs(_OBJECT, _FIRST, mask)
        session.obj_with_new_inputs = [_OBJECT]
        return MemoryBank(_memory_of(self._run(session, _FIRST, given=True), None))

    def track(self, maps: Sequence[Tensor], bank: MemoryBank) -> TrackedPlane:
        """Find the object on the next plane; see `qupath_sam.models.tracking.Tracker.track`."""
        at = bank.tracked + 1
        session = self._new_session(maps, at)
        device = maps[-1].device
        session.store_output(_OBJECT, _FIRST, output_value=_moved(bank.first, device), is_conditioning_frame=True)
        for back, plane in enumerate(reversed(bank.recent), start=1):
            moved = _moved(plane, device)
            session.store_output(_OBJECT, at - back, output_value=moved, is_conditioning_frame=False)
        scores: list[Tensor] = []
        # The library's answer of a frame leaves out the estimates of the IoU.
        hook = self.model.mask_decoder.register_forward_hook(lambda _module, _inputs, made: scores.append(made[1]))
        try:
            found = self._run(session, at, given=False)
        finally:
            hook.remove()
        recent = (*bank.recent, _memory_of(found, bank.first))[-self._planes :]
        beyond = len(recent) - self._spatial_planes
        trimmed = tuple({_POINTER: each[_POINTER]} if place < beyond else each for place, each in enumerate(recent))
        return TrackedPlane(found["pred_masks"][0].float(), scores[-1].max(), MemoryBank(bank.first, trimmed, at))

    def _new_session(self, maps: Sequence[Tensor], at: int) -> Any:
        """Return a session that holds one object and the encoded frame ``at``."""
        device = maps[-1].device
        session = self._session(inference_device=device, inference_state_device=device, dtype=torch.float32)
        session.obj_id_to_idx(_OBJECT)
        last = maps[-1]
        position = self._position_encoding(last.shape, device, last.dtype)
        features = {
            "vision_feats": [each.flatten(2).permute(2, 0, 1) for each in maps],
            "vision_pos_embeds": [position.flatten(2).permute(2, 0, 1)],
        }
        session.cache.cache_vision_features(at, features)
        return session

    def _run(self, session: Any, at: int, *, given: bool) -> Mapping[str, Tensor]:
        """Run a frame, its memory encoder included; returns what the session holds of it."""
        # The frame's features are there: its pixels are not looked at.
        self.model(inference_session=session, frame=torch.zeros(3, 1, 1), frame_idx=at)
        kind = "cond_frame_outputs" if given else "non_cond_frame_outputs"
        outputs: Mapping[str, Tensor] = session.output_dict_per_obj[_OBJECT][kind][at]
        return outputs


def _memory_of(outputs: Mapping[str, Tensor], first: PlaneMemory | None) -> PlaneMemory:
    """Return what is remembered of a frame; a tensor that equals that of the first plane is shared with it."""
    memory = {name: outputs[name] for name in (*_SPATIAL, _POINTER)}
    encoding = "maskmem_pos_enc"
    if first is not None and torch.equal(first[encoding], memory[encoding]):
        memory[encoding] = first[encoding]
    return memory


def _moved(plane: PlaneMemory, device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in plane.items()}
