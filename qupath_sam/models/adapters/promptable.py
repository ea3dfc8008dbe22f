"""The common part of all adapters: pixels to an embedding, prompts to masks. What differs is a few lines each."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.errors import InvalidPrompt, UnsupportedPrompt
from qupath_sam.models.adapters.box_checker import BoxChecker
from qupath_sam.models.adapters.drafts import Draft, HeadInput, HeadOutput, drafts_of, together
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.models.click_rules import PINHOLE_AREA, ClickRules, apply_rules, takes_away
from qupath_sam.models.devices import CompiledEncoder, Execution, encode, out_of_memory_mapped, prepare
from qupath_sam.models.frame import CANVAS_RGB, ModelFrame
from qupath_sam.models.interruption import EncoderStop
from qupath_sam.models.jobs import CallJob, DecodeJob, RefineJob, Stages, alone
from qupath_sam.models.one_object import in_one_piece
from qupath_sam.models.square_logits import Detail, SquareLogits, mask_set, mask_set_on_host
from qupath_sam.models.strokes import coverage, told_points
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick, CanvasPrompts
from qupath_sam.networks.mask_decoder import Decoded
from qupath_sam.networks.network import EMBEDDING_CHANNELS, EMBEDDING_SIZE, PromptableNetwork
from qupath_sam.networks.refinement_head import plan_region, refine

#: Independent prompts that share one pass through the decoder on an accelerator (about 50 MB each).
PROMPTS_PER_BATCH = 32
#: Windows that share one pass through the encoder on an accelerator (up to 3 GB each in a ViT of 1024 px).
WINDOWS_PER_BATCH = 4


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
        self._encoder_stop = EncoderStop(network.image_encoder) if execution.device.type == "cpu" else None
        self.click_rules = ClickRules()
        #: Whether the head, where there is one, corrects answers; evaluations do without it.
        self.refines = True
        #: The last embedding that was decoded, and its image in fp32: a person clicks in one window for a while.
        self._last_image: tuple[Embedding, Tensor] | None = None
        #: The same of the head's projection, where it is not in the embedding.
        self._last_projected: tuple[Embedding, Tensor] | None = None
        #: Whether the embeddings come from a segmenter with the same encoder and another head.
        self.decodes_for_another = False
        #: None where boxes are not checked.
        self._box_checker: BoxChecker | None = None
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

    @property
    def windows_per_batch(self) -> int:
        """Windows up to which one call of the encoder gains."""
        return WINDOWS_PER_BATCH if self.execution.batches_prompts else 1

    @property
    def prompts_per_batch(self) -> int:
        """Prompts up to which one call of mask decoder or head gains."""
        return PROMPTS_PER_BATCH if self.execution.batches_prompts else 1

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        """Encode a window; see `Segmenter.embed`.

        The embedding holds ``image``, ``(1, 256, 64, 64)``; for a refinement head also `CANVAS_RGB`, uint8
        ``(1, 3, input_size, input_size)``, and ``projected``, the head's projection of ``image``.
        """
        return self.embed_together([pixels])[0]

    def embed_together(self, windows: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Encode windows, in one call of the encoder where that gains; see `embed`."""
        most = self.windows_per_batch
        return [
            embedding
            for start in range(0, len(windows), most)
            for embedding in self._embed_batch(windows[start : start + most])
        ]

    def blank_embedding(self) -> Embedding | None:
        """See `HasReadyEncoder`: OpenVINO prepares its kernels when a network is loaded, torch at the first call."""
        if not isinstance(self.network.image_encoder, CompiledEncoder):
            return None
        size, dtype = self.network.input_size, self.execution.embedding_dtype
        nothing = torch.zeros(1, EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE, dtype=dtype)
        black = np.zeros((size, size, 3), np.uint8)
        return self._embed_batch([black], encode=lambda _: {"image": nothing})[0]

    def _embed_batch(
        self, windows: Sequence[NDArray[np.uint8]], *, encode: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    ) -> list[Embedding]:
        head = self.network.refinement_head
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            frames = [self.frame((pixels.shape[0], pixels.shape[1])) for pixels in windows]
            scaled = [self._scaled(*each) for each in zip(windows, frames, strict=True)]
            squares = [frame.fill_up(self.normalise(image)) for image, frame in zip(scaled, frames, strict=True)]
            with nullcontext() if self._encoder_stop is None else self._encoder_stop.watching():
                encoded = (encode or self.encode_image)(squares[0] if len(squares) == 1 else torch.cat(squares))
            made: list[Embedding] = []
            for place, (image, frame) in enumerate(zip(scaled, frames, strict=True)):
                # Copies of a batch: one embedding must not keep the memory of all.
                tensors = {
                    name: each if len(windows) == 1 else each[place : place + 1].clone()
                    for name, each in encoded.items()
                }
                if head is not None:
                    tensors[CANVAS_RGB] = canvas_of(frame.fill_up(image))
                    tensors["projected"] = head.project(tensors["image"]).to(tensors["image"].dtype)
                made.append(Embedding(tensors, frame.window_size))
        return made

    def stop_encoding(self) -> None:
        """Stop the encode that runs; see `StopsEncoding`."""
        if self._encoder_stop is not None:
            self._encoder_stop.ask()

    def forget_stop(self) -> None:
        """Take back a `stop_encoding`; see `StopsEncoding`."""
        if self._encoder_stop is not None:
            self._encoder_stop.forget()

    def encode_image(self, image: Tensor) -> Mapping[str, Tensor]:
        """Encode B normalised fp32 images ``(B, 3, input_size, input_size)``; return that part of B `Embedding`."""
        return {"image": encode(self.network.image_encoder, image, self.execution)}

    def check_boxes_with(self, make: Callable[[], PromptableSegmenter]) -> None:
        """Hold answers to boxes that come alone against another model's, which ``make`` makes; see `BoxChecker`."""
        self._box_checker = BoxChecker(self, make)

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Masks of several objects; see `Segmenter.decode`. One by one on CPU, together on an accelerator."""
        return alone(self.decoding(embedding, prompts, several_masks=several_masks))

    def decoding(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> Stages[list[MaskSet]]:
        """Return the stages of `decode`; see `Staged`."""
        drafts = yield from self.drafting(embedding, prompts, several_masks=several_masks)
        answers = yield from self.finishing(embedding, prompts, drafts)
        if self._box_checker is None:
            return answers
        return (yield from self._box_checker.checking(embedding, prompts, answers))

    def drafting(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> Stages[list[Draft]]:
        """Return the mask decoder's answer to each prompt, best score first, for `finishing`; see `decode`."""
        for prompt in prompts:
            check_prompt(prompt, self._capabilities)
        if not prompts:
            return []
        several = several_masks and self._capabilities.mask_count > 1
        drafts: list[Draft] = yield DecodeJob(self, embedding, tuple(prompts), several)
        return drafts

    def covered(self, embedding: Embedding, prompt: WindowPrompts, draft: Draft) -> float:
        """Return the share of a first stroke's points that lie in the best mask of a draft; see `coverage`."""
        return coverage(draft.logits[0], self._canvas_prompts(prompt, None, self.frame(embedding.window_size)))

    def draft_together(self, jobs: Sequence[DecodeJob]) -> list[list[Draft]]:
        """Answer jobs that want equally many masks; prompts of one shape share a pass where that gains."""
        asked = [
            (self.frame(job.embedding.window_size), job.embedding, prompt) for job in jobs for prompt in job.prompts
        ]
        drafts: dict[int, Draft] = {}
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            for indices in self._batches([prompt for _, _, prompt in asked]):
                frames, embeddings, some = zip(*(asked[i] for i in indices), strict=True)
                image = together([self._image_of(each) for each in embeddings])
                masks = self._masks(some, frames)
                decoded = self._decode_batch(image, some, masks, frames)
                drafts |= zip(
                    indices, drafts_of(best_first(decoded, several=jobs[0].several_masks), masks), strict=True
                )
        in_order = iter([drafts[i] for i in range(len(asked))])
        return [[next(in_order) for _ in job.prompts] for job in jobs]

    def finishing(
        self,
        embedding: Embedding,
        prompts: Sequence[WindowPrompts],
        drafts: Sequence[Draft],
        *,
        refines: bool = True,
    ) -> Stages[list[MaskSet]]:
        """Return the masks of drafts: refined by the head, under the rules of clicks, over the window.

        Args:
            embedding: that `drafting` got, or of a segmenter with the same encoder.
            prompts: that `drafting` got.
            drafts: by `drafting`.
            refines: whether the head refines the best mask, or each where the prompt asks for it; else none.
        """
        frame = self.frame(embedding.window_size)
        asked = [
            self._canvas_prompts(prompt, draft.previous, frame) for prompt, draft in zip(prompts, drafts, strict=True)
        ]
        head = refines and self.network.refinement_head is not None
        ruled = [
            0 if not head else len(draft.scores) if prompt.refine_all else 1
            for prompt, draft in zip(prompts, drafts, strict=True)
        ]
        inputs = [
            self._head_input(draft, place, canvas)
            for draft, canvas, count in zip(drafts, asked, ruled, strict=True)
            for place in range(count if self.refines else 0)
        ]
        outputs: list[HeadOutput] = (yield RefineJob(self, embedding, tuple(inputs))) if inputs else []
        corrections = iter(outputs)
        rgb = _canvas_rgb(embedding) if any(takes_away(each) for each in asked) else None
        squares = [
            _ruled(draft, canvas, list(islice(corrections, count)), self.click_rules, count, rgb)
            for draft, canvas, count in zip(drafts, asked, ruled, strict=True)
        ]
        scores = [draft.scores for draft in drafts]
        on_host = [mask_set_on_host(*each, frame) for each in zip(squares, scores, strict=True)]
        found = [each for each in on_host if each is not None]
        if len(found) < len(prompts):
            found = yield CallJob(partial(self._placed, squares, scores, frame), "decode", 0)
        return [self._in_one_piece(each, prompt, frame) for each, prompt in zip(found, prompts, strict=True)]

    def _head_input(self, draft: Draft, place: int, asked: CanvasPrompts) -> HeadInput:
        one = slice(place, place + 1)
        mask = draft.logits[place] > 0 if draft.previous is None else draft.previous.numpy() > 0
        return HeadInput(
            Decoded(draft.decoded.logits[:, one], draft.decoded.scores[:, one], draft.decoded.features),
            asked,
            plan_region(asked, mask, image_size=self.network.input_size),
        )

    def refine_together(self, jobs: Sequence[RefineJob]) -> list[list[HeadOutput]]:
        """Run the head on the masks of jobs, several in one pass where that gains."""
        head, device, most = self.network.refinement_head, self.execution.device, self.prompts_per_batch
        assert head is not None
        masks = [(job.embedding, each) for job in jobs for each in job.inputs]
        outputs: list[HeadOutput] = []
        with out_of_memory_mapped(device), torch.inference_mode():
            for start in range(0, len(masks), most):
                embeddings, some = zip(*masks[start : start + most], strict=True)
                canvases = {id(each): each.tensors[CANVAS_RGB].to(device) for each in embeddings}
                projected = {id(each): self._projected(each).to(device) for each in embeddings}
                refined = refine(
                    head,
                    together([canvases[id(each)] for each in embeddings]),
                    together([projected[id(each)] for each in embeddings]),
                    Decoded.together([each.decoded for each in some]),
                    [each.asked for each in some],
                    plans=[each.plan for each in some],
                )
                logits = refined.logits[:, 0].cpu().numpy()
                outputs += map(HeadOutput, logits, refined.in_region[:, 0], refined.regions)
        in_order = iter(outputs)
        return [[next(in_order) for _ in job.inputs] for job in jobs]

    def _placed(
        self, squares: Sequence[SquareLogits], scores: Sequence[NDArray[np.float32]], frame: ModelFrame
    ) -> list[MaskSet]:
        """Return the masks over a window that is not the square of the logits."""
        device = self.execution.device
        with out_of_memory_mapped(device), torch.inference_mode():
            return [
                mask_set(square.to(device), torch.from_numpy(own), frame)
                for square, own in zip(squares, scores, strict=True)
            ]

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

    def bare_decoder(self, embedding: Embedding, prompt: WindowPrompts) -> Callable[[], object]:
        """Return a call of prompt encoder and mask decoder alone, for `bench click` to compare clicks with."""
        frame = self.frame(embedding.window_size)
        image = embedding.tensors["image"].to(self.execution.device, torch.float32)

        def decode() -> object:
            with torch.inference_mode():
                return self._decode_batch(image, [prompt], self._masks([prompt], [frame]), [frame])

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
            shape = len(told_points(prompt)), prompt.box is None, prompt.logits is None, prompt.refine_all
            shapes.setdefault(shape, []).append(i)
        return [
            same[start : start + PROMPTS_PER_BATCH]
            for same in shapes.values()
            for start in range(0, len(same), PROMPTS_PER_BATCH)
        ]

    def _decode_batch(
        self, image: Tensor, prompts: Sequence[WindowPrompts], masks: Tensor | None, frames: Sequence[ModelFrame]
    ) -> Decoded:
        """Decode prompts of one shape, with masks of `_masks`; logits over the model's square."""
        return self.network.decode(
            image,
            self._points(prompts, frames),
            self._boxes(prompts, frames),
            masks,
            dense_position=self._dense_position,
        )

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

    def _points(self, prompts: Sequence[WindowPrompts], frames: Sequence[ModelFrame]) -> tuple[Tensor, Tensor] | None:
        if not len(prompts[0].points):
            return None
        told = [told_points(prompt) for prompt in prompts]
        points = np.stack([frame.to_model(p.points[i]) for p, i, frame in zip(prompts, told, frames, strict=True)])
        labels = np.stack([p.labels[i] for p, i in zip(prompts, told, strict=True)])
        return self._sam_coordinates(points), torch.from_numpy(labels).to(self.execution.device)

    def _boxes(self, prompts: Sequence[WindowPrompts], frames: Sequence[ModelFrame]) -> Tensor | None:
        corners = [
            frame.to_model(np.asarray(p.box, np.float32).reshape(2, 2)).reshape(4)
            for p, frame in zip(prompts, frames, strict=True)
            if p.box is not None
        ]
        return self._sam_coordinates(np.stack(corners)) if corners else None

    def _masks(self, prompts: Sequence[WindowPrompts], frames: Sequence[ModelFrame]) -> Tensor | None:
        """Return the masks so far over the model's square, fp32 ``(B, 1, 256, 256)``; None where there are none."""
        over_square = [
            frame.logits_over_square(torch.from_numpy(p.logits).to(self.execution.device, torch.float32)[None])
            for p, frame in zip(prompts, frames, strict=True)
            if p.logits is not None
        ]
        return torch.stack(over_square) if over_square else None

    def _sam_coordinates(self, edges: NDArray[np.float32]) -> Tensor:
        """Map model px on edges to the pixel indices that SAM's prompt encoder shifts by one half itself."""
        return torch.from_numpy(edges - np.float32(0.5)).to(self.execution.device)


def _ruled(
    draft: Draft,
    asked: CanvasPrompts,
    outputs: Sequence[HeadOutput],
    rules: ClickRules,
    ruled: int,
    rgb: NDArray[np.uint8] | None,
) -> SquareLogits:
    """Return the masks of a prompt over the model's square, as the rules leave them; the first ones are the head's.

    ``ruled`` and ``rgb`` are of `apply_rules`.
    """
    before = np.concatenate([*(output.logits[None] for output in outputs), draft.logits[len(outputs) :]])
    (after,) = apply_rules(before[None], [asked], rules, ruled=ruled, scores=[draft.scores], rgb=rgb)
    details = [
        Detail(output.in_region, output.region, torch.from_numpy(after[place] - before[place]))
        for place, output in enumerate(outputs)
    ]
    return SquareLogits(torch.from_numpy(after), details)


def _canvas_rgb(embedding: Embedding) -> NDArray[np.uint8] | None:
    """Return uint8 ``(256, 256, 3)`` of the canvas; None where the embedding has no picture."""
    square = embedding.tensors.get(CANVAS_RGB)
    if square is None:
        return None
    pooled = F.adaptive_avg_pool2d(square.float(), CANVAS_SIZE)[0].permute(1, 2, 0).round()
    return pooled.to("cpu", torch.uint8).contiguous().numpy()


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
