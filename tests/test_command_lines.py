"""Every command line that is written down is one: in documents, examples, recipes, messages and scripts."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.config import options_from

REPOSITORY = Path(__file__).resolve().parents[1]
DEPLOY = REPOSITORY / "examples" / "deploy"
PROGRAM = get_command(app)
COMMANDS = PROGRAM.commands

#: Where the next word is a program: code blocks, comments that are indented, pipelines, files of services.
_PLACE = (
    r"^ {4,}|^# {2,}|^\t|&& |\bexec |--wrap \"|^ExecStart=|- run: |\$\(|"
    r"nssm install qupath-sam |\*\s{2,}|\.venv/bin/|\$\(BIN\)/"
)
_IN_BLOCK = re.compile(rf"(?:{_PLACE})(?:[\w.:/\\-]*[/\\])?qupath-sam(?:\.exe)? (?=([a-z-][^\n]*))", re.MULTILINE)
_IN_TEXT = re.compile(r"`qupath-sam ([^`]+)`")
#: A message of Python that is written in two strings.
_SPLIT = re.compile(r'"\n +f?"')
#: A shell's words that end a command.
_END = re.compile(r"&&|\|\|?|>>?|;|2>|<|&")


@dataclass(frozen=True)
class Use:
    """A command line: where it stands, its words; whole as in a code block, or mentioned in a sentence."""

    place: str
    words: tuple[str, ...]
    whole: bool


def sources() -> Iterator[Path]:
    yield from sorted(REPOSITORY.glob("*.md"))
    yield REPOSITORY / "Makefile"
    for folder, pattern in {
        "docs": "*.md",
        "examples": "*.*",
        ".github": "*.yml",
        "qupath_sam": "*.py",
        "tools": "*.py",
        "groovy/scripts": "*.groovy",
        "groovy/client/src/main": "*.*",
    }.items():
        yield from sorted((REPOSITORY / folder).rglob(pattern))
    yield DEPLOY / "Dockerfile"


def words_of(line: str) -> tuple[str, ...]:
    """Return the words of one command, without what a shell does with it."""
    try:
        words = shlex.split(line, comments=True, posix=True)
    except ValueError:  # an apostrophe of a sentence
        words = line.partition(" #")[0].split()
    for index, word in enumerate(words):
        if _END.fullmatch(word):
            return tuple(words[:index])
    return tuple(words)


def uses_in(text: str, place: str) -> Iterator[Use]:
    # A line that ends in a backslash goes on; so does a sentence of a comment, or a string of Python, in backquotes.
    text = re.sub(r" *\\\n#? *", " ", text)
    for line in _IN_BLOCK.findall(text):
        yield Use(place, words_of(re.sub(r'[)"]+$', "", line) if line.count('"') % 2 else line), whole=True)
    for line in _IN_TEXT.findall(_SPLIT.sub("", text)):
        # With a value of this moment in it, a message is there to be typed.
        yield Use(place, words_of(line), whole="{" in line and place.endswith(".py"))


def all_uses() -> list[Use]:
    return [
        use
        for path in sources()
        if path.is_file() and path.suffix not in (".png", ".jpg", ".tif", ".json")
        for use in uses_in(path.read_text("utf-8"), path.relative_to(REPOSITORY).as_posix())
    ]


def is_placeholder(value: str) -> bool:
    return re.fullmatch(r"[A-Z_:]+|.*[<{].*|\.\.\.|…", value) is not None


def fault_of(use: Use) -> str | None:
    """Return what the command line does not take; values of paths are not looked at, nor are placeholders."""
    words = list(use.words)
    command: Any = PROGRAM
    name = ""
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if is_placeholder(words[0]):
            return None
        if "|" in words[0]:  # create|list|revoke
            several = [Use(use.place, (name, each), whole=False) for each in words[0].split("|")]
            return next(filter(None, map(fault_of, several)), None)
        name = words.pop(0).rstrip(",")  # a table's name goes on behind a comma
        if name not in command.commands:
            return f"there is no {name}"
        command = command.commands[name]
    elided = "..." in words
    words = [word for word in words if word not in ("...", "[OPTIONS]")]
    context = command.make_context(name, [], resilient_parsing=True)
    parser = command.make_parser(context)
    context.resilient_parsing = False  # which would let all pass
    try:
        options, left, _ = parser.parse_args([word.strip("[]") for word in words])
    except Exception as error:
        if type(error).__name__ == "NoSuchOption" or use.whole:
            return str(getattr(error, "message", error))
        return None  # `--option` in a sentence may stand without its value
    parameters = {parameter.name: parameter for parameter in command.params}
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    if left and not hasattr(command, "commands"):
        return f"too many words: {left}"
    if use.whole and not elided and not {"--help"} & set(words):
        missing = [each.name for each in arguments if each.required and not options.get(each.name)]
        missing += [
            each.opts[0] for each in command.params if each.required and options.get(each.name) in (None, [], ())
        ]
        if missing:
            return f"it lacks {missing}"
    for option, given in options.items():
        parameter = parameters.get(option)
        values = [value for value in _many(given) if value is not None]
        if (
            parameter is None
            or parameter.callback is not None
            or not values
            or any(map(is_placeholder, map(str, values)))
        ):
            continue
        try:
            parameter.process_value(context, given)
        except typer.BadParameter as error:
            if "does not exist" not in error.message:  # a file of another machine
                return f"{option}: {error.message}"
    return None


def _many(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


USES = all_uses()


def test_every_command_line_is_one() -> None:
    faults = {(use.place, " ".join(use.words)): fault for use in USES if (fault := fault_of(use)) is not None}
    assert faults == {}


def test_they_are_found_in_files_of_every_kind() -> None:
    """A pattern that finds nothing in a kind of file would pass everything there."""
    places = {use.place for use in USES}
    assert places >= {
        "README.md",
        "docs/server.md",
        "docs/project.md",
        "examples/deploy/compose.yaml",
        "examples/deploy/qupath-sam.service",
        "examples/deploy/refine.sbatch",
        "examples/deploy/server.toml",
        "qupath_sam/server/tokens.py",
        ".github/workflows/test.yml",
        "Makefile",
    }
    whole = [use.words for use in USES if use.whole and use.place == "docs/server.md"]
    assert ("serve", "--config", r"C:qupath-samserver.toml") in whole  # a shell of POSIX takes the backslashes
    assert any("--tls-key" in words and "--host" in words for words in whole)  # on the second line of one command
    assert len(USES) > 200


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("serv --port 1", "no serv"),
        ("token make Anna", "no make"),
        ("serve --porte 1", "porte"),
        ("serve --port many", "port"),
        ("serve --port", "argument"),
        ("serve now", "too many"),
        ("token create", "lacks"),
        ("project refine --class A", "lacks"),
    ],
)
def test_a_wrong_one_is_found(line: str, said: str) -> None:
    (use,) = uses_in(f"    qupath-sam {line}\n", "here")
    assert said in (fault_of(use) or "")


def options_mentioned() -> Iterator[tuple[str, str]]:
    """Options that a sentence names without their command."""
    for path in [*sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "README.md"]:
        if path.name == "experiments.md":
            continue  # a log, of tools of its day too
        for option in re.findall(r"`(--[a-z][a-z-]+)", path.read_text("utf-8")):
            yield path.relative_to(REPOSITORY).as_posix(), option


def all_options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for sub in getattr(command, "commands", {}).values():
        yield from all_options(sub)


def test_options_in_sentences_are_those_of_a_command() -> None:
    known = {"--build-arg", *all_options(PROGRAM)}  # docker's
    assert sorted({(place, option) for place, option in options_mentioned() if option not in known}) == []


def test_variables_are_looked_at_by_some_code() -> None:
    options = {option.name.upper() for option in COMMANDS["serve"].params}
    code = "".join(
        path.read_text("utf-8")
        for folder, pattern in (
            ("qupath_sam", "*.py"),
            ("groovy", "*.java"),
            ("groovy/scripts", "*.groovy"),
            ("tests", "*.py"),
        )
        for path in (REPOSITORY / folder).rglob(pattern)
    ) + (REPOSITORY / "hatch_build.py").read_text("utf-8")
    unknown = []
    for path in sources():
        if path.suffix in (".md", ".yaml", ".yml", ".toml", ".service", ".sbatch") or path.name in (
            "Dockerfile",
            "Makefile",
        ):
            for name in set(re.findall(r"\bQUPATH_SAM_[A-Z_]+[A-Z]", path.read_text("utf-8"))):
                if (option := name.removeprefix("QUPATH_SAM_SERVE_")) != name:
                    known = option in options
                else:
                    known = name in code
                unknown += [] if known else [(path.name, name)]
    assert unknown == []


# What services start


def entrypoint() -> list[str]:
    return list(_list_of("ENTRYPOINT", (DEPLOY / "Dockerfile").read_text("utf-8")))


def _list_of(instruction: str, dockerfile: str) -> Sequence[str]:
    (found,) = re.findall(rf"^{instruction} (\[.*\])$", dockerfile, re.MULTILINE)
    return [str(word) for word in json.loads(found)]


def composed() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["qupath-sam"])


def taken_by_serve(words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Let `serve` take options as it would at its start: do they fit together? Return those in force.

    Folders that this machine lacks are replaced; the port is any.
    """
    at = words.index("serve")
    here = [re.sub(r"(?<![\w.])/(slides|mnt/slides)\b", folder.as_posix(), word) for word in words[at + 1 :]]
    done = CliRunner().invoke(app, ["serve", *here, "--port", "0", "--print-config"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return tomllib.loads(done.stdout)


def test_the_image_starts_a_server_as_it_is(tmp_path: Path) -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    options = taken_by_serve([*entrypoint(), *_list_of("CMD", text)], tmp_path)
    assert (options["host"], options["metrics_host"]) == ("0.0.0.0", "0.0.0.0")
    assert f"EXPOSE 50051 {options['metrics_port']}" in text
    assert f"http://127.0.0.1:{options['metrics_port']}/metrics" in text  # the health check


def test_the_compose_file_starts_a_server_as_it_is(tmp_path: Path) -> None:
    service = composed()
    options = taken_by_serve([*entrypoint(), *service["command"]], tmp_path)
    places = [volume.split(":")[-2 if volume.endswith(":ro") else -1] for volume in service["volumes"]]
    paths = [options[name] for name in ("tokens", "tls_certificate", "tls_key", "embedding_folder")]
    assert [path for path in paths if not any(path.startswith(f"{place}/") for place in places)] == []
    assert float(re.sub(r"\D", "", str(service["stop_grace_period"]))) > options["grace"]
    assert str(options["metrics_port"]) in (DEPLOY / "prometheus.yml").read_text("utf-8")


def test_the_unit_starts_a_server_as_it_is(tmp_path: Path) -> None:
    unit = (DEPLOY / "qupath-sam.service").read_text("utf-8")
    (start,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    assert start.endswith("--config /etc/qupath-sam/server.toml")
    config = tmp_path / "server.toml"
    config.write_text((DEPLOY / "server.toml").read_text("utf-8").replace("/mnt/slides", tmp_path.as_posix()))
    options = taken_by_serve([*start.split()[:-1], str(config)], tmp_path)
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert float(patience) > options["grace"]
    assert options["embedding_folder"].startswith(
        "/var/cache/qupath-sam/"
    )  # CacheDirectory=, all that it may write there


def test_the_ray_clusters_options_are_those_of_serve() -> None:
    yaml = pytest.importorskip("yaml")
    for application in yaml.safe_load((DEPLOY / "ray.yaml").read_text("utf-8"))["applications"]:
        assert options_from(COMMANDS["serve"], "serve", application["args"])["slides"]
