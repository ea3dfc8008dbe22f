"""SAM-HQ, SAM 2.1, EdgeTAM and SAM 3's tracker, as Hugging Face's `transformers` hosts them: one adapter for all.

They share one signature: image embeddings that are made once, points, boxes and a mask prompt, one mask or three. The
weights lie as their publishers keep them there: ``model.safetensors`` and beside it ``config.json``. `transformers` is
the optional extra ``[transformers]``, and is imported when such a model is loaded, not before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.adapters.promptable import check_prompt
from qupath_sam.models.adapters.transformers_video import VIDEO_CLASSES, VideoMemory
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.models.devices import Execution, out_of_memory_mapped
from qupath_sam.models.frame import ModelFrame, masks_over_window
from qupath_sam.models.spec import Family
from qupath_sam.models.tracking import MemoryBank

if TYPE_CHECKING:
    from types import ModuleType

CONFIG = "config.json"
#: ``model_type`` of a config, its family, and the class that reads it.
_KINDS = {
    "sam_hq": (Family.SAM_HQ, "SamHQModel"),
    "sam2": (Family.SAM2, "Sam2Model"),
    "sam2_video": (Family.SAM2, "Sam2Model"),
    "edgetam": (Family.EDGETAM, "EdgeTamModel"),
    "edgetam_video": (Family.EDGETAM, "EdgeTamModel"),
    "sam3_tracker": (Family.SAM3_TRACKER, "Sam3TrackerModel"),
    "sam3_tracker_video": (Family.SAM3_TRACKER, "Sam3TrackerModel"),
    "sam3_video": (Family.SAM3_TRACKER, "Sam3TrackerModel"),
}
#: Mean and standard deviation of RGB in 0..1.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_COLOURS = {Family.SAM3_TRACKER: _HALF}


def family_beside(weights: Path) -> Family | None:
    """Return the family that the ``config.json`` beside a weights file names; None without one, or of another kind.

    Raises:
        WrongWeights: the config cannot be read.
    """
    kind = _KINDS.get(str(_config(weights).get("model_type", "")))
    return None if kind is None else kind[0]


def load_transformers_sam(
    weights: Path, *, family: Family, capabilities: Capabilities, execution: Execution
) -> TransformersSegmenter:
    """Load the segmenter of a weights file with its ``config.json``. Nothing is downloaded.

    Raises:
        WeightsMissing: the extra ``[transformers]`` is not installed.
        WrongWeights: weights and config are not of this family, or do not fit each other.
    """
    config = _config(weights)
    found, class_name = _KINDS.get(str(config.get("model_type", "")), (None, ""))
    if found is not family:
        raise WrongWeights(
            f"{weights.with_name(CONFIG)} does not describe a {family.value}; keep the publisher's config.json beside "
            "the weights"
        )
    library = _transformers()
    with out_of_memory_mapped(execution.device):
        try:
            model, report = getattr(library, class_name).from_pretrained(
                weights.parent, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            raise WrongWeights(f"{weights} does not fit the config.json beside it ({error}); get both again") from error
        if missing := sorted(report["missing_keys"]):
            raise WrongWeights(
                f"{weights} lacks {len(missing)} tensors of the network that its config.json describes "
                f"({', '.join(missing[:3])}); get both again"
            )
        segmenter = TransformersSegmenter(model, family=family, capabilities=capabilities, execution=execution)
        if (video := VIDEO_CLASSES.get(str(config.get("model_type", "")))) is not None:
            load = partial(_load_video_memory, library, video, weights, execution)
            segmenter.tracker = TransformersTracker(segmenter, load)
        return segmenter


class TransformersSegmenter:
    """A `Segmenter` round one of the four models.

    Args:
        model: of `transformers`, with its weights. It is taken over.
        family: which of the four.
        capabilities: of these weights; the input size is the model's own.
        execution: the device. The models compute in fp32.

    Attributes:
        tracker: where the weights are those of a video model, else None.
    """

    def __init__(self, model: Any, *, family: Family, capabilities: Capabilities, execution: Execution) -> None:
        self.model = model.eval().requires_grad_(False).to(execution.device)
        self.family = family
        self.execution = execution
        self._size = int(model.config.vision_config.image_size if family is Family.SAM_HQ else _input_size(model))
        self._capabilities = capabilities
        self.tracker: TransformersTracker | None = None

    @property
    def capabilities(self) -> Capabilities:
        """The prompts that these weights take, and the masks that they give."""
        return self._capabilities

    @property
    def preprocessing_version(self) -> str:
        """Names the family and how its pixels are fitted."""
        return f"{self.family.value}-{2 if self.family is Family.SAM3_TRACKER else 1}"

    def frame(self, window_size: tuple[int, int]) -> ModelFrame:
        """Return a frame: SAM-HQ pads the window's shorter side, the others stretch it."""
        if self.family is Family.SAM_HQ:
            return ModelFrame.padded(window_size, self._size)
        return ModelFrame.stretched(window_size, self._size)

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        """Encode a window; see `Segmenter.embed`.

        The embedding holds ``map0``, ``map1``, ..., finest first; SAM-HQ's also ``middle0``, ...: what its decoder
        takes from inside the encoder.
        """
        window_size = pixels.shape[0], pixels.shape[1]
        frame = self.frame(window_size)
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            # A copy: the pixels may be read-only, and torch would warn.
            image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
            image = F.interpolate(image, size=frame.content_size, mode="bilinear", antialias=True)
            mean, std = (
                torch.tensor(values, device=self.execution.device).view(1, 3, 1, 1)
                for values in _COLOURS.get(self.family, _IMAGENET)
            )
            scaled = (image.to(self.execution.device).float() / 255 - mean) / std
            height, width = frame.content_size
            square = F.pad(scaled, (0, self._size - width, 0, self._size - height))
            if self.family is Family.SAM_HQ:
                main, middle = self.model.get_image_embeddings(square)
                return Embedding({"map0": main, **{f"middle{i}": each for i, each in enumerate(middle)}}, window_size)
            return Embedding({f"map{i}": each for i, each in enumerate(self._encode(square))}, window_size)

    def _encode(self, square: Tensor) -> list[Tensor]:
        """Return the three maps of an image, finest first, the last one with what says that there is no memory.

        The library's ``get_image_embeddings`` does the same, but for SAM 3: there it adds the embedding of "no memory"
        to a fourth map, which it then drops (`transformers` 5.24).
        """
        made = self.model.get_image_features(square, return_dict=True).fpn_hidden_states
        sizes = self.model.backbone_feature_sizes
        # `zip` drops the fourth map, which no decoder takes.
        maps = [each.permute(1, 2, 0).reshape(1, -1, *size) for each, size in zip(made, sizes, strict=False)]
        maps[-1] = maps[-1] + _no_memory(self.model)
        return [each.contiguous() for each in maps]

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Decode the masks of several objects, one after the other; see `Segmenter.decode`."""
        for prompt in prompts:
            check_prompt(prompt, self._capabilities)
        several = several_masks and self._capabilities.mask_count > 1
        frame = self.frame(embedding.window_size)
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            tensors = {name: tensor.to(self.execution.device) for name, tensor in embedding.tensors.items()}
            return [self._answer(tensors, prompt, frame, several=several) for prompt in prompts]

    def _answer(
        self, tensors: Mapping[str, Tensor], prompt: WindowPrompts, frame: ModelFrame, *, several: bool
    ) -> MaskSet:
        maps = _maps(tensors)
        # The prompt encoder halves a mask twice, down to the cells of the coarsest map.
        asked = self._asked(prompt, frame, mask_side=4 * maps[-1].shape[-1])
        if self.family is Family.SAM_HQ:
            middle = [tensors[f"middle{i}"] for i in range(len(tensors) - 1)]
            answer = self.model(
                image_embeddings=maps[0], intermediate_embeddings=middle, multimask_output=several, **asked
            )
        else:
            answer = self.model(image_embeddings=maps, multimask_output=several, **asked)
        logits, scores = answer.pred_masks[0, 0].float(), answer.iou_scores[0, 0].float().clamp(0, 1)
        count = self._capabilities.mask_count if several else 1
        order = scores.argsort(descending=True, stable=True)[:count]
        return _mask_set(logits[order], scores[order], frame)

    def _asked(self, prompt: WindowPrompts, frame: ModelFrame, *, mask_side: int) -> dict[str, Tensor]:
        device = self.execution.device
        asked: dict[str, Tensor] = {}
        if len(prompt.points):
            # On edges: the models add one half to pixel indices themselves.
            places = frame.to_model(prompt.points) - np.float32(0.5)
            asked["input_points"] = torch.from_numpy(places).to(device)[None, None]
            asked["input_labels"] = torch.from_numpy(prompt.labels).to(device)[None, None]
        if prompt.box is not None:
            corners = frame.to_model(np.asarray(prompt.box, np.float32).reshape(2, 2)) - np.float32(0.5)
            asked["input_boxes"] = torch.from_numpy(corners.reshape(1, 1, 4)).to(device)
        if prompt.logits is not None:
            logits = torch.from_numpy(prompt.logits).to(device, torch.float32)[None]
            over_square = frame.logits_over_square(logits)[:, None]
            asked["input_masks"] = F.interpolate(over_square, size=(mask_side, mask_side), mode="bilinear")
        return asked


class TransformersTracker:
    """The `qupath_sam.models.tracking.Tracker` of a video model, whose image encoder is its segmenter's.

    Args:
        segmenter: that makes the embeddings.
        load: reads the rest of the video model; called once, by the first plane.
    """

    def __init__(self, segmenter: TransformersSegmenter, load: Callable[[], VideoMemory]) -> None:
        self._segmenter = segmenter
        self._load = load
        self._memory: VideoMemory | None = None

    def remember(self, embedding: Embedding, mask: NDArray[np.bool_]) -> MemoryBank:
        """See `qupath_sam.models.tracking.Tracker.remember`."""
        segmenter = self._segmenter
        frame = segmenter.frame(embedding.window_size)
        with out_of_memory_mapped(segmenter.execution.device), torch.inference_mode():
            given = torch.from_numpy(mask).to(segmenter.execution.device, torch.float32)[None, None]
            square = F.interpolate(given, size=frame.content_size, mode="bilinear", antialias=True)
            return self._video().remember(self._own_maps(embedding), (square >= 0.5).float())

    def track(self, embedding: Embedding, bank: MemoryBank) -> tuple[MaskSet, MemoryBank]:
        """See `qupath_sam.models.tracking.Tracker.track`."""
        segmenter = self._segmenter
        frame = segmenter.frame(embedding.window_size)
        with out_of_memory_mapped(segmenter.execution.device), torch.inference_mode():
            found = self._video().track(self._own_maps(embedding), bank)
            return _mask_set(found.logits, found.score[None].clamp(0, 1), frame), found.bank

    def _video(self) -> VideoMemory:
        if self._memory is None:
            self._memory = self._load()
        return self._memory

    def _own_maps(self, embedding: Embedding) -> list[Tensor]:
        """Return the encoder's maps as the memory takes them: without what stands for an empty memory."""
        device = self._segmenter.execution.device
        maps = [each.to(device) for each in _maps(embedding.tensors)]
        maps[-1] = maps[-1] - _no_memory(self._segmenter.model)
        return maps


def _load_video_memory(library: ModuleType, video: str, weights: Path, execution: Execution) -> VideoMemory:
    """Read a video model.

    Raises:
        WrongWeights: the file lacks the memory that its config describes.
    """
    model, report = getattr(library, f"{video}Model").from_pretrained(
        weights.parent, local_files_only=True, output_loading_info=True, dtype=torch.float32
    )
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith("vision_encoder.")):
        raise WrongWeights(
            f"{weights} lacks {len(missing)} tensors of the memory that its config.json describes "
            f"({', '.join(missing[:3])}); get both again"
        )
    memory = VideoMemory(model, getattr(library, f"{video}InferenceSession"))
    memory.model.to(execution.device)
    return memory


def _no_memory(model: Any) -> Tensor:
    """Return the embedding that stands for an empty memory, ``(1, C, 1, 1)``."""
    embedding: Tensor = model.no_memory_embedding.view(1, -1, 1, 1)
    return embedding


def _maps(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the maps of an embedding, finest first."""
    return [tensors[f"map{i}"] for i in range(sum(name.startswith("map") for name in tensors))]


def _mask_set(logits: Tensor, scores: Tensor, frame: ModelFrame) -> MaskSet:
    """Return masks over the window from logits ``(M, h, w)`` over the model's square, best first."""
    square = F.interpolate(logits[None], size=(LOW_RES_SIZE, LOW_RES_SIZE), mode="bilinear")[0]
    over_window = frame.logits_over_window(square)
    return MaskSet(
        masks=masks_over_window(over_window, frame.window_size).cpu().numpy(),
        scores=scores.cpu().numpy(),
        logits=over_window.cpu().numpy(),
    )


def _input_size(model: Any) -> int:
    size = model.prompt_encoder.input_image_size
    return int(size[0] if isinstance(size, (tuple, list)) else size)


def _config(weights: Path) -> dict[str, Any]:
    path = weights.with_name(CONFIG)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WrongWeights(f"{path} cannot be read ({error}); get it again") from error
    return content if isinstance(content, dict) else {}


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise WeightsMissing(
            "this model needs an optional package; install it with `pip install 'qupath-sam[transformers]'`"
        ) from error
    return transformers
