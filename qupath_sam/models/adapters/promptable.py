"""The common part of all adapters: pixels to an embedding, prompts to masks. What differs is a few lines each."""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.errors import InvalidPrompt, UnsupportedPrompt
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.models.click_rules import PINHOLE_AREA, ClickRules, apply_rules
from qupath_sam.models.devices import CompiledEncoder, Execution, encode, out_of_memory_mapped, prepare
from qupath_sam.models.frame import ModelFrame
from qupath_sam.models.one_object import in_one_piece
from qupath_sam.models.square_logits import Detail, SquareLogits, mask_set
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick, CanvasPrompts
from qupath_sam.networks.mask_decoder import Decoded
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.refinement_head import Refined, refine
from qupath_sam.types.masks import intersection_over_union

#: Two models' answers to a box are about one object from this IoU on; below, the surer one is taken, if it is surer by
#: this much (docs/science/experiments.md).
BOX_AGREEMENT, SURER = 0.75, 0.1
#: Independent prompts that share one pass through the decoder on an accelerator (about 50 MB each).
PROMPTS_PER_BATCH = 32
#: Windows whose embedding for the box checker is kept, some hundred KB each.
BOX_EMBEDDINGS = 32
#: Name of the canvas in an embedding. Embeddings on disk have it, so it stays.
CANVAS_RGB = "view"


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The mask decoder's answer to one prompt, before the refinement head and the rules of clicks.

    Attributes:
        decoded: of one prompt, best score first.
        mask: logits of the mask so far over the model's square, fp32 ``(256, 256)``; None where there is none.
    """

    decoded: Decoded
    mask: Tensor | None

    def only_best(self) -> Draft:
        """Return the same with the best mask alone."""
        return replace(self, decoded=self.decoded.only_first())


class PromptableSegmenter(abc.ABC):
    """A `Segmenter` round a `PromptableNetwork`; adapters say how pixels are fitted and normalised.

    Args:
        network: with its weights. It is taken over: moved, folded and converted for inference.
        capabilities: of these weights.
        execution: device and number format.
    """

    #: Changes with anything that alters what the encoder is given.
    preprocessing: ClassVar[str]

    def __init__(self, network: PromptableNetwork, *, capabilities: Capabilities, execution: Execution) -> None:
        with out_of_memory_mapped(execution.device), torch.inference_mode():
            prepare(network, execution)
            self._dense_position: Tensor = network.prompt_encoder.get_dense_pe()
        self.network = network
        self.execution = execution
        self.click_rules = ClickRules()
        #: The last embedding that was decoded, and its image in fp32: a person clicks in one window for a while.
        self._last_image: tuple[Embedding, Tensor] | None = None
        #: The same of the head's projection, where it is not in the embedding.
        self._last_projected: tuple[Embedding, Tensor] | None = None
        #: Whether the embeddings come from a segmenter with the same encoder and another head.
        self.decodes_for_another = False
        self._box_checker: PromptableSegmenter | None = None
        #: The box checker's embeddings by the identity of ours, which is held so that it stays the same object.
        self._box_embeddings: OrderedDict[int, tuple[Embedding, Embedding]] = OrderedDict()
        self._capabilities = replace(capabilities, mask_count=1) if network.gives_one_mask else capabilities

    @property
    def capabilities(self) -> Capabilities:
        """The prompts that these weights take, and the masks that they give."""
        return self._capabilities

    @property
    def preprocessing_version(self) -> str:
        """Names the preprocessing, and the encoder's number format and runtime; torch's are one on CPU and GPU."""
        # A network with a refinement head keeps more than the encoder's answer.
        head = "" if self.network.refinement_head is None else "+head"
        by = "+openvino" if isinstance(self.network.image_encoder, CompiledEncoder) else ""
        return f"{self.preprocessing}+{self.execution.precision.value}{by}{head}"

    @abc.abstractmethod
    def frame(self, window_size: tuple[int, int]) -> ModelFrame:
        """Return the place of a window of ``(height, width)`` px in the model's square."""

    @staticmethod
    @abc.abstractmethod
    def normalise(image: Tensor) -> Tensor:
        """Map pixels ``(1, 3, H, W)`` in 0..255, fp32, to what the encoder was trained on."""

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        """Encode a window; see `Segmenter.embed`.

        The embedding holds ``image``, ``(1, 256, 64, 64)``; for a refinement head also `CANVAS_RGB`, uint8
        ``(1, 3, input_size, input_size)``, and ``projected``, the head's projection of ``image``.
        """
        height, width = pixels.shape[:2]
        frame = self.frame((height, width))
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            scaled = self._scaled(pixels, frame)
            tensors = dict(self.encode_image(_padded(self.normalise(scaled), frame)))
            if self.network.refinement_head is not None:
                tensors[CANVAS_RGB] = canvas_of(_padded(scaled, frame))
                projected = self.network.refinement_head.project(tensors["image"])
                tensors["projected"] = projected.to(tensors["image"].dtype)
        return Embedding(tensors, (height, width))

    def encode_image(self, image: Tensor) -> Mapping[str, Tensor]:
        """Return the encoder's part of an `Embedding` of a normalised fp32 image ``(1, 3, input_size, input_size)``."""
        return {"image": encode(self.network.image_encoder, image, self.execution)}

    def check_boxes_with(self, other: PromptableSegmenter) -> None:
        """Hold answers to boxes that come alone against another model's.

        Tuning on some tissues makes a model better there, and lets it forget how to outline others. The other's
        embedding of a window is made when the first such box comes, from the `CANVAS_RGB` that is kept for the head.

        Args:
            other: of the same family. Its answer is taken where the two have less than `BOX_AGREEMENT` in common and it
                gives itself a score that is higher by more than `SURER`.

        Raises:
            ValueError: the canvas is not what the other model sees.
        """
        sees_canvas = type(other) is type(self) and other.network.input_size == CANVAS_SIZE
        if not sees_canvas or self.network.refinement_head is None:
            raise ValueError(
                "boxes can be checked by a model of the same family that sees the refinement head's canvas"
            )
        self._box_checker = other

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Decode the masks of several objects, one by one on CPU, else together; see `Segmenter.decode`."""
        answers = self._decode(embedding, prompts, several_masks=several_masks)
        boxes = [i for i, prompt in enumerate(prompts) if _is_box_alone(prompt)]
        other = self._box_checker
        if other is not None and boxes:
            checks = other.decode(self._embedding_for_checker(other, embedding), [prompts[i] for i in boxes])
            for i, check in zip(boxes, checks, strict=True):
                if _is_surer(answers[i], check):
                    answers[i] = check
        return answers

    def _decode(self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool) -> list[MaskSet]:
        return self.finish(embedding, prompts, self.draft(embedding, prompts, several_masks=several_masks))

    def draft(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[Draft]:
        """Return the mask decoder's answer to each prompt, best score first, for `finish`; see `decode`."""
        for prompt in prompts:
            check_prompt(prompt, self._capabilities)
        several = several_masks and self._capabilities.mask_count > 1
        frame = self.frame(embedding.window_size)
        drafts: dict[int, Draft] = {}
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            image = self._image_of(embedding)
            for indices in self._batches(prompts):
                some = [prompts[i] for i in indices]
                masks = self._masks(some, frame)
                decoded = best_first(self._decode_batch(image, some, masks, frame), several=several)
                so_far = [None] * len(some) if masks is None else list(masks[:, 0])
                drafts |= zip(indices, map(Draft, decoded.one_by_one(), so_far), strict=True)
        return [drafts[i] for i in range(len(prompts))]

    def finish(
        self,
        embedding: Embedding,
        prompts: Sequence[WindowPrompts],
        drafts: Sequence[Draft],
        *,
        refines: bool = True,
    ) -> list[MaskSet]:
        """Return the masks of drafts: refined by the head, under the rules of clicks, over the window.

        Args:
            embedding: that `draft` got, or of a segmenter with the same encoder.
            prompts: that `draft` got.
            drafts: by `draft`.
            refines: whether the head refines the best mask, or each where the prompt asks for it; else none.
        """
        frame = self.frame(embedding.window_size)
        answers: dict[int, MaskSet] = {}
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            for indices in self._batches(prompts):
                some = [prompts[i] for i in indices]
                some_drafts = [drafts[i] for i in indices]
                draft = Decoded.together([each.decoded for each in some_drafts])
                masks = [each.mask for each in some_drafts]
                answered = self._answered(embedding, draft, some, masks, frame, refines=refines)
                for place, index in enumerate(indices):
                    found = mask_set(answered[place], draft.scores[place], frame)
                    answers[index] = self._in_one_piece(found, some[place], frame)
        return [answers[i] for i in range(len(prompts))]

    def _image_of(self, embedding: Embedding) -> Tensor:
        """Return the image embedding in the decoder's number format, on the device."""
        if self._last_image is None or self._last_image[0] is not embedding:
            image = embedding.tensors["image"].to(self.execution.device, torch.float32)
            self._last_image = embedding, image
        return self._last_image[1]

    def _in_one_piece(self, found: MaskSet, prompt: WindowPrompts, frame: ModelFrame) -> MaskSet:
        """Apply the rule of one object on the window's own px: they may part what hangs together in the logits."""
        if not self.click_rules.one_object or prompt.box is not None or prompt.keep_parts:
            return found
        height, width = frame.window_size
        pixels = np.clip(np.floor(prompt.points[:, ::-1]).astype(int), 0, (height - 1, width - 1))
        positive, negative = (
            [(int(row), int(column)) for row, column in pixels[prompt.labels == label]] for label in (1, 0)
        )
        area = PINHOLE_AREA * (max(height, width) / CANVAS_SIZE) ** 2
        masks = [in_one_piece(mask, positive, negative, pinhole_area=area) for mask in found.masks]
        return replace(found, masks=np.stack(masks))

    def _embedding_for_checker(self, other: PromptableSegmenter, embedding: Embedding) -> Embedding:
        """Return the other model's embedding of the same window. The last ones are kept: people go back and forth."""
        kept = self._box_embeddings.get(id(embedding))
        if kept is None:
            frame = self.frame(embedding.window_size)
            height, width = frame.content_size
            with out_of_memory_mapped(self.execution.device), torch.inference_mode():
                content = embedding.tensors[CANVAS_RGB][..., :height, :width].to(self.execution.device).float()
                made = other.encode_image(_padded(other.normalise(content), frame))
            kept = self._box_embeddings[id(embedding)] = embedding, Embedding(made, embedding.window_size)
            while len(self._box_embeddings) > BOX_EMBEDDINGS:
                self._box_embeddings.popitem(last=False)
        self._box_embeddings.move_to_end(id(embedding))
        return kept[1]

    def bare_decoder(self, embedding: Embedding, prompt: WindowPrompts) -> Callable[[], object]:
        """Return a call of prompt encoder and mask decoder alone, for `bench click` to compare clicks with."""
        frame = self.frame(embedding.window_size)
        image = embedding.tensors["image"].to(self.execution.device, torch.float32)

        def decode() -> object:
            with torch.inference_mode():
                return self._decode_batch(image, [prompt], self._masks([prompt], frame), frame)

        return decode

    def _scaled(self, pixels: NDArray[np.uint8], frame: ModelFrame) -> Tensor:
        """Map uint8 ``(H, W, 3)`` to fp32 ``(1, 3, h, w)`` in 0..255 on the device, as large as the frame's content."""
        # A copy: the pixels may be read-only, and torch would warn.
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        if frame.content_size != frame.window_size:
            # On bytes and against aliasing, as Pillow does for SAM.
            image = F.interpolate(image, size=frame.content_size, mode="bilinear", antialias=True)
        return image.to(self.execution.device).float()

    def _batches(self, prompts: Sequence[WindowPrompts]) -> list[list[int]]:
        """Return the indices of prompts that can go through the decoder together without changing each other's answer.

        Padding to a common number of points would change it, as the decoder attends to padding too; so only
        prompts of one shape share a batch.
        """
        if not self.execution.batches_prompts:
            return [[i] for i in range(len(prompts))]
        shapes: dict[tuple[int, bool, bool, bool], list[int]] = {}
        for i, prompt in enumerate(prompts):
            shape = len(prompt.points), prompt.box is None, prompt.logits is None, prompt.refine_all
            shapes.setdefault(shape, []).append(i)
        return [
            same[start : start + PROMPTS_PER_BATCH]
            for same in shapes.values()
            for start in range(0, len(same), PROMPTS_PER_BATCH)
        ]

    def _decode_batch(
        self, image: Tensor, prompts: Sequence[WindowPrompts], masks: Tensor | None, frame: ModelFrame
    ) -> Decoded:
        """Decode prompts of one shape, with masks of `_masks`; logits over the model's square."""
        return self.network.decode(
            image,
            self._points(prompts, frame),
            self._boxes(prompts, frame),
            masks,
            dense_position=self._dense_position,
        )

    def _answered(
        self,
        embedding: Embedding,
        decoded: Decoded,
        prompts: Sequence[WindowPrompts],
        masks: Sequence[Tensor | None],
        frame: ModelFrame,
        *,
        refines: bool,
    ) -> list[SquareLogits]:
        """Return the masks of each prompt over the model's square, as the rules leave them.

        The head refines the first mask; each, where it is asked for. The prompts of a batch ask for the same.
        """
        device = self.execution.device
        asked = [self._canvas_prompts(*each, frame) for each in zip(prompts, masks, strict=True)]
        logits = decoded.logits.float()
        corrections: list[Refined] = []
        head = self.network.refinement_head
        if head is not None and refines:
            canvas, projected = embedding.tensors[CANVAS_RGB].to(device), self._projected(embedding).to(device)
            for place in range(logits.shape[1] if prompts[0].refine_all else 1):
                one = slice(place, place + 1)
                mask = Decoded(decoded.logits[:, one], decoded.scores[:, one], decoded.features)
                corrections.append(refine(head, canvas, projected, mask, asked))
            refined = [correction.logits for correction in corrections]
            logits = torch.cat([*refined, logits[:, len(refined) :]], dim=1)
        before = logits.cpu().numpy()
        ruled = apply_rules(before, asked, self.click_rules, refined=len(corrections))
        return [
            SquareLogits(
                torch.from_numpy(after).to(device),
                [
                    Detail(
                        correction.in_region[place, 0],
                        correction.regions[place],
                        torch.from_numpy(after[index] - before[place, index]).to(device),
                    )
                    for index, correction in enumerate(corrections)
                ],
            )
            for place, after in enumerate(ruled)
        ]

    def _projected(self, embedding: Embedding) -> Tensor:
        """Return the head's projection of the image; of another segmenter's embedding, its own is made once."""
        head = self.network.refinement_head
        if head is None or not self.decodes_for_another:
            return embedding.tensors["projected"]
        if self._last_projected is None or self._last_projected[0] is not embedding:
            image = embedding.tensors["image"].to(self.execution.device)
            self._last_projected = embedding, head.project(image).to(image.dtype)
        return self._last_projected[1]

    def _canvas_prompts(self, prompt: WindowPrompts, previous: Tensor | None, frame: ModelFrame) -> CanvasPrompts:
        scale = np.float32(CANVAS_SIZE / frame.input_size)
        points = frame.to_model(prompt.points) * scale - np.float32(0.5)
        box = None
        if prompt.box is not None:
            x0, y0, x1, y1 = (frame.to_model(np.asarray(prompt.box, np.float32).reshape(2, 2)) * scale).ravel().tolist()
            box = x0, y0, x1, y1
        return CanvasPrompts(
            clicks=tuple(
                CanvasClick(float(x), float(y), bool(label == 1))
                for (x, y), label in zip(points, prompt.labels, strict=True)
            ),
            newest=prompt.last_click,
            box=box,
            previous=previous,
            keep_parts=prompt.keep_parts,
        )

    def _points(self, prompts: Sequence[WindowPrompts], frame: ModelFrame) -> tuple[Tensor, Tensor] | None:
        if not len(prompts[0].points):
            return None
        points = np.stack([frame.to_model(p.points) for p in prompts])
        labels = np.stack([p.labels for p in prompts])
        return self._sam_coordinates(points), torch.from_numpy(labels).to(self.execution.device)

    def _boxes(self, prompts: Sequence[WindowPrompts], frame: ModelFrame) -> Tensor | None:
        boxes = [p.box for p in prompts if p.box is not None]
        if not boxes:
            return None
        corners = np.asarray(boxes, np.float32).reshape(-1, 2)
        return self._sam_coordinates(frame.to_model(corners).reshape(-1, 4))

    def _masks(self, prompts: Sequence[WindowPrompts], frame: ModelFrame) -> Tensor | None:
        """Return the masks so far over the model's square, fp32 ``(B, 1, 256, 256)``; None where there are none."""
        logits = [p.logits for p in prompts if p.logits is not None]
        if not logits:
            return None
        tensor = torch.from_numpy(np.stack(logits)).to(self.execution.device, torch.float32)
        return frame.logits_over_square(tensor)[:, None]

    def _sam_coordinates(self, edges: NDArray[np.float32]) -> Tensor:
        """Map model px on edges to the pixel indices that SAM's prompt encoder shifts by one half itself."""
        return torch.from_numpy(edges - np.float32(0.5)).to(self.execution.device)


def _is_surer(own: MaskSet, check: MaskSet) -> bool:
    """Return whether the answer of the model that checks is to be taken."""
    agreement = intersection_over_union(own.masks[0], check.masks[0])
    return bool(agreement < BOX_AGREEMENT and check.scores[0] > own.scores[0] + SURER)


def _is_box_alone(prompt: WindowPrompts) -> bool:
    return prompt.box is not None and prompt.logits is None and not len(prompt.points)


def canvas_of(square: Tensor) -> Tensor:
    """Return RGB ``(B, 3, S, S)`` in 0..255 as the refinement head sees it: the same as uint8."""
    return square.round().to(torch.uint8)


def check_prompt(prompt: WindowPrompts, capabilities: Capabilities) -> None:
    """Check a prompt before it costs anything.

    Raises:
        UnsupportedPrompt: it asks for more than the model can, or says nothing.
        InvalidPrompt: it holds what is not a finite number.
    """
    if prompt.box is None and prompt.logits is None and not len(prompt.points):
        raise UnsupportedPrompt("nothing to go by: give at least one point, a box or the logits of an earlier mask")
    if len(prompt.points) and not capabilities.points:
        raise UnsupportedPrompt("this model takes no clicks; give a box or an outline, or choose another model")
    if prompt.box is not None and not capabilities.boxes:
        raise UnsupportedPrompt("this model takes no boxes; give clicks, or choose another model")
    if prompt.logits is not None:
        if not capabilities.mask_prompt:
            raise UnsupportedPrompt("this model takes no earlier mask; give clicks or a box, or choose another model")
        if prompt.logits.shape != (LOW_RES_SIZE, LOW_RES_SIZE):
            raise UnsupportedPrompt(
                f"logits must be {LOW_RES_SIZE} x {LOW_RES_SIZE} over the window, got {prompt.logits.shape}"
            )
    numbers = (prompt.points, () if prompt.box is None else prompt.box, () if prompt.logits is None else prompt.logits)
    if not all(np.isfinite(each).all() for each in numbers):
        raise InvalidPrompt("points, box and logits must be finite numbers; leave out what is not known")


def _padded(image: Tensor, frame: ModelFrame) -> Tensor:
    """Pad with zeros on the right and below, to the model's square."""
    height, width = frame.content_size
    return F.pad(image, (0, frame.input_size - width, 0, frame.input_size - height))


def best_first(decoded: Decoded, *, several: bool) -> Decoded:
    """Return the masks that answer a prompt, the one with the highest score first.

    Args:
        decoded: all masks of the decoder.
        several: take SAM's three masks for ambiguous prompts; else the one for the others.
    """
    if not several:
        return Decoded(decoded.logits[:, :1], decoded.scores[:, :1], decoded.features)
    scores, order = decoded.scores[:, 1:].sort(dim=1, descending=True, stable=True)
    rows = torch.arange(len(order), device=order.device)[:, None]
    return Decoded(decoded.logits[rows, 1 + order], scores, decoded.features)
