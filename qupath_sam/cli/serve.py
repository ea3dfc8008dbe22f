"""``qupath-sam serve``: host models for QuPath, for scripts and for a whole lab."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from qupath_sam.cli.config import config_text, read_config

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


def serve(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(is_eager=True, callback=read_config, help="TOML file of these options."),
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the options in force, and end.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one, which is printed.")] = 50051,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM file of this server's certificate: encrypt, with --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its private key, without a password.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM file of the authority whose certificates let clients in (mutual TLS).")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that every call has to carry; without, all are let in.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="File of named tokens (`qupath-sam token create`), read again when it changes.")
    ] = None,
    token_without_tls: Annotated[
        bool, typer.Option("--token-without-tls", help="Let the token travel unencrypted to other machines.")
    ] = False,
    model: Annotated[str, typer.Option(help="Default model (see `qupath-sam models list`).")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of the image encoder: auto, fp32 or bf16.")] = "auto",
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
    embedding_mib: Annotated[int, typer.Option(help="Memory for embeddings, MiB.")] = 1024,
    embedding_folder: Annotated[
        Path | None, typer.Option(help="Keep embeddings on disk as well, in this folder.")
    ] = None,
    embedding_folder_gib: Annotated[int, typer.Option(help="Most GiB there.")] = 20,
    max_calls: Annotated[int, typer.Option(help="Most calls under way at once.")] = 64,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(help="text, or json: one object a line.")] = "text",
) -> None:
    """Serve segmentation over gRPC until Ctrl-C or SIGTERM."""
    # Before gRPC is imported: its own lines are not of our format, and tell no more than ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from qupath_sam.server.port import check_free

    check_free(host, port)  # before torch is loaded, which takes a while
    from qupath_sam.engine.settings import MIB
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.protocol.bearer import read_token
    from qupath_sam.server.app import start_server
    from qupath_sam.server.settings import ServerSettings
    from qupath_sam.slides.location import PathMap

    if log_level.lower() not in LOG_LEVELS:
        raise InvalidRequest(f"unknown log level {log_level!r}; choose one of {', '.join(LOG_LEVELS)}")
    if log_format not in LOG_FORMATS:
        raise InvalidRequest(f"unknown log format {log_format!r}; choose one of {', '.join(LOG_FORMATS)}")
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if log_format == "json":
        from qupath_sam.server.request_log import JsonFormatter

        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
    settings = ServerSettings(
        host=host,
        port=port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        tokens=tokens,
        token=read_token(token_file) if token_file is not None else "",
        token_without_tls=token_without_tls,
        model=model,
        device=device,
        precision=precision,
        threads=threads,
        path_map=PathMap.parse(path_map or []).pairs,
        read_slides=read_slides,
        slide_roots=tuple(slides) if slides else None,
        allow_urls=tuple(allow_url or ()),
        reflection=reflection,
        embedding_bytes=embedding_mib * MIB,
        embedding_folder=embedding_folder,
        embedding_folder_bytes=embedding_folder_gib * 1024 * MIB,
        max_calls=max_calls,
    )
    if print_config:
        typer.echo(config_text(context.params))
        return
    if memory:
        settings = settings.within(int(memory * 1024 * MIB))
    stopping = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: stopping.set())
    reloading = threading.Event()
    for name in ("SIGHUP",):  # which Windows lacks: there files are read anew by their time alone
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: reloading.set())
    with start_server(settings) as server:
        # One line that programs wait for; flushed, because it may go into a pipe.
        print(f"listening on {server.address} ({settings.exposure})", flush=True)  # noqa: T201
        # A bounded wait lets Python run signal handlers on Windows too.
        while not stopping.wait(0.5):
            server.refresh(force=reloading.is_set())
            reloading.clear()
        logging.getLogger(__name__).info("stopping: calls under way may finish")
        server.stop()
