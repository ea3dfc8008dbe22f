"""Arguments and options that several project commands have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from qupath_sam.cli.access import TlsCaOption, TlsOption, TokenFileOption, read_access
from qupath_sam.cli.option_groups import MAIN_PANEL

if TYPE_CHECKING:
    from qupath_sam.client import Access
    from qupath_sam.types.requests import OutputOptions

ProjectArgument = Annotated[Path, typer.Argument(metavar="PROJECT.qpproj", help="The project file, or its folder.")]
ImageOption = Annotated[
    list[str] | None,
    typer.Option("--image", help="Only images of this name (as a shell matches them) or entry id; may be repeated."),
]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Write the report and nothing else.")]
ScoreOption = Annotated[float, typer.Option(help="Refuse outlines that the model scores below this, 0 to 1.")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model answers, where it runs, and which pixels it sees."""

    PANEL: ClassVar[str] = "Model and server"

    model: Annotated[
        str,
        typer.Option(
            help="See `qupath-sam models list`; empty takes the server's default.", rich_help_panel=MAIN_PANEL
        ),
    ] = ""
    server: Annotated[
        list[str] | None,
        typer.Option(
            help="HOST:PORT; repeat it to share the work. Without, the model runs in this process.",
            rich_help_panel=MAIN_PANEL,
        ),
    ] = None
    mpp: Annotated[float | None, typer.Option(help="µm per window px; left out, the server chooses by size.")] = None
    workers: Annotated[int, typer.Option(help="Images worked on at once; 0 takes one for each server.")] = 0
    path_map: Annotated[
        list[str] | None, typer.Option(help="CLIENT=SERVER prefix of slide paths; may be repeated.")
    ] = None
    push_pixels: Annotated[
        bool, typer.Option("--push-pixels", help="Send pixels as QuPath renders them, for servers that see no slides.")
    ] = False
    token_file: TokenFileOption = None
    tls: TlsOption = False
    tls_ca: TlsCaOption = None

    @property
    def access(self) -> Access | None:
        """Encryption and token of the servers; None where the model runs here."""
        return read_access(self.token_file, self.tls, self.tls_ca) if self.server else None


@dataclass(frozen=True, kw_only=True)
class OutlineOptions:
    """What is done to each outline after the model."""

    PANEL: ClassVar[str] = "Outlines"

    simplify: Annotated[float, typer.Option(help="Let outlines move by at most this, µm, for fewer vertices.")] = 0.0
    fill_holes: Annotated[float, typer.Option(help="Fill holes up to this area, µm².")] = 0.0
    drop_parts: Annotated[float, typer.Option(help="Drop parts below this area, µm².")] = 0.0
    provenance: Annotated[
        bool, typer.Option("--provenance/--no-provenance", help="Note model, score and window on each object.")
    ] = True

    def output(self) -> OutputOptions:
        """Return what the server is asked to do to each mask."""
        from qupath_sam.types.requests import OutputOptions

        return OutputOptions(
            fill_holes_area=self.fill_holes, min_area=self.drop_parts, simplify_tolerance=self.simplify
        )


@dataclass(frozen=True, kw_only=True)
class QuPathOptions:
    """QuPath's own process."""

    PANEL: ClassVar[str] = "Run"

    heap: Annotated[str, typer.Option(help="Java heap of QuPath's process.")] = "2g"
    time_limit: Annotated[float, typer.Option(help="Seconds QuPath may take for one image.")] = 900.0


@dataclass(frozen=True, kw_only=True)
class ReportedRunOptions(QuPathOptions):
    """How a run with a report goes about it."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the report and nothing else.", rich_help_panel=MAIN_PANEL)
    ] = False
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the last run of the same options, its failed images included.",
            rich_help_panel=MAIN_PANEL,
        ),
    ] = False
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.csv; default: beside the project.")
    ] = None
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Show old and new outlines in the report.")
    ] = True
    keep_runs: Annotated[int, typer.Option(min=1, help="Backups of so many runs are kept.")] = 10


HeapOption = Annotated[str, typer.Option(help="Java heap of QuPath's process.")]
LimitOption = Annotated[float, typer.Option("--time-limit", help="Seconds QuPath may take for one image.")]
KeepOption = Annotated[int, typer.Option(min=1, help="Backups of so many runs are kept.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Use the others where features of a GeoJSON file cannot be used.")
]
