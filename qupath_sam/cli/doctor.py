"""``qupath-sam doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from qupath_sam.cli.access import TlsCaOption, TlsOption, TokenFileOption, read_access


def doctor(
    *,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a server that must answer.")] = None,
    token_file: TokenFileOption = None,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    slide: Annotated[str | None, typer.Option(help="A slide that must be readable; else the packaged one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at everything that qupath-sam needs. Downloads and starts nothing. Exit code 1 on a problem."""
    from qupath_sam.cli.checks import State, examine

    access = read_access(token_file, tls, tls_ca)
    findings = []
    for finding in examine(server_address=server, access=access, slide=slide):
        findings.append(finding)
        if not as_json:
            _print_line(finding)
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    if as_json:
        content = {
            "ok": problems == 0,
            "findings": [
                {"topic": f.topic, "state": f.state.value, "said": f.said, "remedy": f.remedy} for f in findings
            ],
        }
        typer.echo(json.dumps(_report(content), indent=2))
    else:
        typer.echo(
            f"\n{problems} problem{'s' if problems > 1 else ''}" if problems else "\nready: see `qupath-sam demo`"
        )
    if problems:
        raise typer.Exit(1)


def _report(content: dict[str, Any]) -> dict[str, Any]:
    """Return results as every JSON of this command line has them.

    Where torch is broken there is no machine in it.
    """
    from qupath_sam.machine.description import report

    try:
        return report("doctor", content)
    except (ImportError, OSError):
        return {"schema": "qupath-sam/doctor/1", "machine": None, **content}


def _print_line(finding: Any) -> None:
    from rich.console import Console
    from rich.text import Text

    mark, style = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "bold red")}[
        finding.state.value
    ]
    line = Text.assemble((f"{mark:<8}", style), (f"{finding.topic:<14}", "bold"), finding.said)
    if finding.remedy:
        line.append(f"\n{'':<22}-> {finding.remedy}")
    Console().print(line, soft_wrap=True)
