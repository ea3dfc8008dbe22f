"""``qupath-sam demo``: a server, a real slide, prompts, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qupath_sam.cli.demo_scene import Answer


def demo(
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path("demo-output"),
    model: Annotated[str, typer.Option(help="See `qupath-sam models list`.")] = "",
    slide: Annotated[str | None, typer.Option(help="Another slide than the packaged one: path or URI.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Start a server, send it clicks, boxes and an outline for a real slide, and write what comes back."""
    from rich.console import Console

    from qupath_sam.assets import demo_slide_path
    from qupath_sam.cli.demo_scene import ask, demo_for, draw, joined, packaged_demo
    from qupath_sam.client import SamClient, Slide
    from qupath_sam.client.process import server_process
    from qupath_sam.qupath.annotations import annotations_of
    from qupath_sam.qupath.geojson import PathClass, write_geojson
    from qupath_sam.slides.open import open_slide

    console = Console()
    location = slide or demo_slide_path()
    reader = open_slide(location)
    try:
        plan = demo_for(reader) if slide else packaged_demo()
        size = reader.info.width, reader.info.height
        console.print(f"slide   {location}: {size[0]} x {size[1]} px", soft_wrap=True)
        options = ["--device", device, *(["--model", model] if model else [])]
        answers: list[Answer] = []
        with (
            console.status("starting a server (torch and the model take a few seconds)") as status,
            server_process(options) as address,
            SamClient(address) as client,
        ):
            console.print(f"server  {address}, a process of its own")
            status.update("segmenting")
            for answer in ask(client, Slide(location, size=size), plan.objects, model=model):
                answers.append(answer)
                status.update(f"segmenting: {len(answers)} of {len(plan.objects)}")
        output.mkdir(parents=True, exist_ok=True)
        annotations = output / "annotations.geojson"
        overlay = output / "overlay.png"
        write_geojson(annotations, annotations_of(joined(answers), path_class=PathClass.of("Region*")))
        draw(reader, answers, plan.views).save(overlay)
    finally:
        reader.close()
    console.print(_table(answers))
    for remark in _remarks(answers[0].prediction.provenance):
        console.print(f"note: {remark}")
    console.print(f"wrote {annotations}  (drag it onto the slide in QuPath)", soft_wrap=True)
    console.print(f"wrote {overlay}", soft_wrap=True)


def _table(answers: Sequence[Answer]) -> Any:
    from rich.table import Table

    made = answers[0].prediction.provenance
    in_um = made.mpp is not None
    table = Table(
        title=f"{made.model} on {made.device}",
        caption="ms: from building the request to the parsed outline; the first look at a place includes encoding it",
        caption_justify="left",
    )
    for header in ("object", "prompt"):
        table.add_column(header, no_wrap=True)
    for header in ("score", f"area {'µm²' if in_um else 'px²'}", "ms", "at edge"):
        table.add_column(header, justify="right", no_wrap=True)
    for answer in answers:
        edge = "yes" if answer.result.touches_window_edge else "no"
        row = answer.asked.name, answer.asked.kind
        if not answer.result.outlines:
            table.add_row(*row, "-", "nothing found", f"{answer.milliseconds:.0f}", edge)
        for outline in answer.result.outlines:
            area = outline.area_um2 if outline.area_um2 is not None else outline.area_px2
            table.add_row(*row, f"{outline.score:.2f}", f"{area:.1f}", f"{answer.milliseconds:.0f}", edge)
    return table


def _remarks(made: Any) -> list[str]:
    """Return what the reader should know: what the model's entry says of it, then what the server says of the slide."""
    from qupath_sam.models.weights.store import ModelStore

    spec = ModelStore().find(made.model)
    return [f"{spec.name} ({spec.title}, {spec.licence}): {spec.remark}".rstrip(": "), *made.remarks]
