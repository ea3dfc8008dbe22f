"""Arguments and options that several project commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ProjectArgument = Annotated[Path, typer.Argument(metavar="PROJECT.qpproj", help="The project file, or its folder.")]
ImageOption = Annotated[
    list[str] | None,
    typer.Option("--image", help="Only images of this name (as a shell matches them) or entry id; may be repeated."),
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option("--server", help="HOST:PORT; repeat it to share the work. Without, the model runs in this process."),
]
WorkersOption = Annotated[int, typer.Option(help="Images worked on at once; 0 takes one for each server.")]
PathMapOption = Annotated[list[str] | None, typer.Option(help="CLIENT=SERVER prefix of slide paths; may be repeated.")]
PushOption = Annotated[
    bool, typer.Option("--push-pixels", help="Send pixels as QuPath renders them, for servers that see no slides.")
]
ModelOption = Annotated[str, typer.Option(help="See `qupath-sam models list`; empty takes the server's default.")]
MppOption = Annotated[float | None, typer.Option(help="µm per window px; left out, the server chooses by size.")]
SimplifyOption = Annotated[float, typer.Option(help="Let outlines move by at most this, µm, for fewer vertices.")]
FillOption = Annotated[float, typer.Option(help="Fill holes up to this area, µm².")]
DropOption = Annotated[float, typer.Option(help="Drop parts below this area, µm².")]
ScoreOption = Annotated[float, typer.Option(help="Refuse outlines that the model scores below this, 0 to 1.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Write the report and nothing else.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the last run of the same options, its failed images included.")
]
ReportOption = Annotated[
    Path | None, typer.Option(help="Folder for report.html and report.csv; default: beside the project.")
]
ThumbnailOption = Annotated[
    bool, typer.Option("--thumbnails/--no-thumbnails", help="Show old and new outlines in the report.")
]
ProvenanceOption = Annotated[
    bool, typer.Option("--provenance/--no-provenance", help="Note model, score and window on each object.")
]
HeapOption = Annotated[str, typer.Option(help="Java heap of QuPath's process.")]
LimitOption = Annotated[float, typer.Option("--time-limit", help="Seconds QuPath may take for one image.")]
KeepOption = Annotated[int, typer.Option(min=1, help="Backups of so many runs are kept.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Use the others where features of a GeoJSON file cannot be used.")
]
