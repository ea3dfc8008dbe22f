"""``qupath-sam serve``: host models for QuPath, for scripts and for a whole lab."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qupath_sam.cli.config import config_text, options_now, read_config
from qupath_sam.cli.hangup import hangup_event
from qupath_sam.errors import QupathSamError
from qupath_sam.machine.imports import later, run_all, without_collection

if TYPE_CHECKING:
    from qupath_sam.server.app import RunningServer
    from qupath_sam.server.settings import ServerSettings

log = logging.getLogger(__name__)

#: Seconds after its start from which a server is idle enough to import what has waited.
_WHOLE_AFTER_S = 5.0
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


# Files are looked at by those who read them, whose errors say what to do; ``readable`` would draw a box into a log.
def serve(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(is_eager=True, callback=read_config, readable=False, help="TOML file of these options."),
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the options in force, and end.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one, which is printed.")] = 50051,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(readable=False, help="PEM file of this server's certificate: encrypt, with --tls-key."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(readable=False, help="PEM file of its private key, without a password.")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(readable=False, help="PEM file of the authority whose certificates let clients in (mutual TLS)."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(readable=False, help="File with the token that every call has to carry; without, all are let in."),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="File of named tokens (`qupath-sam token create`), read again when it changes."
        ),
    ] = None,
    token_without_tls: Annotated[
        bool, typer.Option("--token-without-tls", help="Let the token travel unencrypted to other machines.")
    ] = False,
    model: Annotated[str, typer.Option(help="Default model (see `qupath-sam models list`).")] = "",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; several with commas (cuda:0,cuda:1).")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="Of the image encoder: auto, fp32 or bf16.")] = "auto",
    runtime: Annotated[
        str, typer.Option(help="Of encoder and decoder on a CPU: auto (OpenVINO if installed), torch or openvino.")
    ] = "auto",
    threads: Annotated[int, typer.Option(help="Torch threads; 0 takes all cores.")] = 0,
    path_map: Annotated[
        list[str] | None, typer.Option(help="CLIENT=SERVER prefix of slide paths; may be repeated.")
    ] = None,
    read_slides: Annotated[
        bool, typer.Option("--read-slides/--no-read-slides", help="Open slides here, or take pushed pixels only.")
    ] = True,
    slides: Annotated[
        list[Path] | None,
        typer.Option(help="Folder whose slides may be opened; may be repeated. Needed where other machines get in."),
    ] = None,
    allow_url: Annotated[
        list[str] | None,
        typer.Option(help="Schemes (https,s3,…) or origins (https://slides.lab) that may be opened; else paths only."),
    ] = None,
    reflection: Annotated[
        bool, typer.Option("--reflection/--no-reflection", help="Tell who asks which services there are.")
    ] = True,
    memory: Annotated[
        float, typer.Option(help="GiB for all caches and decoding together, beside models; 0 takes the usual sizes.")
    ] = 0.0,
    model_memory: Annotated[
        float, typer.Option(help="GiB for the weights of models on each device; 0 keeps the two used last.")
    ] = 0.0,
    embedding_mib: Annotated[int, typer.Option(help="Memory for embeddings, MiB.")] = 1024,
    embedding_folder: Annotated[
        Path | None, typer.Option(help="Keep embeddings on disk as well, in this folder.")
    ] = None,
    embedding_folder_gib: Annotated[int, typer.Option(help="Most GiB there.")] = 20,
    max_calls: Annotated[int, typer.Option(help="Most calls under way at once.")] = 64,
    max_message_mib: Annotated[
        int, typer.Option(help="Largest message, MiB: each call may hold one that is not in --memory yet.")
    ] = 64,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Metrics for Prometheus and a status page, by HTTP; 0 takes a free port."),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address of that port. It asks for no token, and names no client, image or path.")
    ] = "127.0.0.1",
    grace: Annotated[float, typer.Option(help="Seconds that calls under way get when the server is stopped.")] = 5.0,
    until_input_ends: Annotated[
        bool,
        typer.Option("--until-input-ends", help="End with standard input, as a program does that starts this server."),
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(help="text, or json: one object a line.")] = "text",
) -> None:
    """Serve segmentation over gRPC until Ctrl-C or SIGTERM."""
    reloading = context.obj or hangup_event()
    # Before gRPC is imported: its own lines are not of our format, and tell no more than ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from qupath_sam.cli.serve_settings import check_log, server_settings
    from qupath_sam.server.port import check_free

    check_log(log_level, log_format)
    if not print_config:
        logging.basicConfig()
        _set_up_log(log_level, log_format)
        log.info("starting")
    check_free(host, port)
    settings = server_settings(context.params)
    if print_config:
        typer.echo(config_text(context.params))
        return
    if until_input_ends:
        threading.Thread(target=_end_with_input, name="qupath-sam-input", daemon=True).start()
    _run(context, settings, reloading)


def _run(context: typer.Context, settings: ServerSettings, reloading: threading.Event) -> None:
    from qupath_sam.models import kept_networks
    from qupath_sam.models.registry import DEFAULT_MODEL
    from qupath_sam.server.listener import listen

    # While it loads, Ctrl-C ends the process as SIGTERM does, by the system: nothing is under way yet, and a Python
    # that ends by itself takes libraries down while a thread is in the midst of them, which they answer by an abort.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    listener = listen(settings)
    log.info("%s answers; until the model is there, it asks calls to come back", listener.address)
    if settings.may_use_openvino:
        kept_networks.load_ahead(settings.model or DEFAULT_MODEL, kept_networks.default_folder())
    with without_collection(), later():
        from qupath_sam.server.app import complete  # loads torch, which takes a while

    with complete(listener) as server:
        stopping = threading.Event()
        _on_signals(("SIGINT", "SIGTERM", "SIGBREAK"), stopping)
        # One line that programs wait for; flushed, because it may go into a pipe.
        print(f"listening on {server.address} ({settings.exposure})", flush=True)  # noqa: T201
        whole_at = time.monotonic() + _WHOLE_AFTER_S
        # A bounded wait lets Python run signal handlers on Windows too.
        while not stopping.wait(0.5):
            if time.monotonic() > whole_at:
                # What only other models need was left out of the start; it is not to wait for a click.
                run_all()
                whole_at = math.inf
            if reloading.is_set():
                reloading.clear()
                _reload(context, server)
            server.refresh()
        server.stop()
    log.info("stopped")


def _end_with_input() -> None:
    """End the process when standard input does: a program that crashes closes it too, and leaves no server behind."""
    try:
        # Not sys.stdin, whose lock would keep Python from ending.
        while os.read(0, 4096):
            pass
    except OSError:
        log.warning("there is no standard input; end this server by Ctrl-C or SIGTERM")
        return
    log.info("standard input has ended")
    signal.raise_signal(signal.SIGTERM)


def _reload(context: typer.Context, server: RunningServer) -> None:
    """Read the configuration, tokens and certificates again; a configuration that cannot be used changes nothing."""
    from qupath_sam.cli.serve_settings import check_log, server_settings

    server.refresh(force=True)
    try:
        options = options_now(context)
        check_log(options["log_level"], options["log_format"])
        wanted = server_settings(options)
    except (QupathSamError, OSError) as error:
        log.error("the configuration stays as it was: %s", error)
        return
    _set_up_log(options["log_level"], options["log_format"])
    changed, left = server.reconfigure(wanted)
    log.info("configuration read again: %s", f"changed {', '.join(changed)}" if changed else "nothing has changed")
    if left:
        log.warning("only a restart changes %s", ", ".join(left))


def _on_signals(names: tuple[str, ...], event: threading.Event) -> None:
    for name in names:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: event.set())


def _set_up_log(level: str, form: str) -> None:
    from qupath_sam.server.json_log import JsonFormatter

    text = logging.Formatter(_LINE)
    logging.getLogger().setLevel(level.upper())
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter() if form == "json" else text)
