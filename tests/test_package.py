"""The face of the package: what importing it does, what it says of itself, and where it runs."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import qupath_sam

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "qupath_sam"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "v1")
#: Runs QuPath's own code in a process of its own; importing it starts a JVM, so nothing else may.
STARTS_A_JVM = {"qupath_sam.project.jvm.bridge"}
#: Derived from what the extra [ray] brings, which the tests' environment lacks; Ray Serve alone imports them.
NEED_RAY = {"qupath_sam.server.ray_serve.application", "qupath_sam.server.ray_serve.router"}


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def loaded_after(code: str, names: tuple[str, ...]) -> set[str]:
    text = run_python(f"{code}\nimport sys, json\nprint(json.dumps([n for n in {names!r} if n in sys.modules]))")
    return set(json.loads(text.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "grpc", "paquo", "jpype", "numpy", "shapely", "tiffslide", "typer")
    assert loaded_after("import qupath_sam", heavy) == set()


def test_a_server_starts_without_what_clicks_do_not_need() -> None:
    """scipy's graphs take a quarter of a second, and only the watershed needs them."""
    not_needed = ("scipy.sparse", "scipy.linalg", "matplotlib", "typer", "rich", "cryptography", "tiffslide", "zarr")
    assert loaded_after("import qupath_sam.server.app", not_needed) == set()


def test_the_command_line_parses_without_what_commands_need() -> None:
    heavy = (
        "torch",
        "torchvision",
        "grpc",
        "paquo",
        "jpype",
        "tiffslide",
        "numpy",
        "scipy",
        "shapely",
        "PIL",
        "psutil",
    )
    code = "from typer.testing import CliRunner\nfrom qupath_sam.cli.app import app\n"
    # The list of commands is plain text: rich would take more time than all else.
    drawing = ("rich", "markdown_it", "pygments")
    assert loaded_after(code + "assert CliRunner().invoke(app, ['--help']).exit_code == 0", heavy + drawing) == set()


def test_models_are_loaded_without_torchs_compiler() -> None:
    """Half of what a first click waited for; the packages themselves can still be imported afterwards."""
    heavy = ("torchvision", "torch._dynamo", "segment_anything", "transformers", "openvino")
    assert loaded_after("import qupath_sam.models.load", heavy) == set()
    code = "import qupath_sam.networks.network, segment_anything\nassert segment_anything.SamPredictor"
    assert loaded_after(code, ("torchvision",)) == {"torchvision"}


def test_the_client_needs_neither_torch_nor_slides() -> None:
    assert loaded_after("import qupath_sam.client", ("torch", "tiffslide", "paquo", "jpype")) == set()


def test_a_client_in_this_process_needs_no_grpc() -> None:
    not_needed = ("grpc", "google.protobuf", "qupath_sam.protocol", "httpx", "cryptography", "tifffile", "zarr")
    assert loaded_after("import qupath_sam.client.local", not_needed) == set()


def test_importing_every_module_starts_nothing() -> None:
    modules = [module.name for module in pkgutil.walk_packages(qupath_sam.__path__, "qupath_sam.")]
    left_out = STARTS_A_JVM | NEED_RAY
    assert left_out <= set(modules)
    wanted = [name for name in modules if name not in left_out and not name.endswith("__main__")]
    assert len(wanted) > 50
    said = run_python(
        "import importlib, json, threading, socket\n"
        "def refuse(*a, **k): raise AssertionError('started at import')\n"
        "threading.Thread.start = socket.socket.connect = refuse\n"
        f"for name in {wanted!r}: importlib.import_module(name)\n"
        "import sys\n"
        "jvm = 'jpype' in sys.modules and sys.modules['jpype'].isJVMStarted()\n"
        "cuda = sys.modules['torch'].cuda.is_initialized()\n"
        "print(json.dumps([threading.active_count(), bool(jvm), cuda]))"
    )
    assert json.loads(said.splitlines()[-1]) == [1, False, False]


def test_the_version_is_one_everywhere() -> None:
    assert importlib.metadata.version("qupath-sam") == qupath_sam.__version__
    citation = (REPOSITORY / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == qupath_sam.__version__
    assert f"## {qupath_sam.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    assert run_python("from qupath_sam.cli import main; import sys; sys.argv[1:] = ['--version']; main()").strip() == (
        qupath_sam.__version__
    )


def test_the_licence_is_the_one_that_the_metadata_name() -> None:
    metadata = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert metadata["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (REPOSITORY / "LICENSE").read_text("utf-8")
    notice = (REPOSITORY / "NOTICE").read_text("utf-8")
    assert all(word in notice for word in ("paquo", "QuPath", "GNU General Public License", "CC0"))


def test_a_command_leaves_its_objects_to_the_system() -> None:
    """With torch loaded, `serve` lived 4 s after it had said that it was stopped."""
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 0))\n"
        "from qupath_sam.cli import main\n"
        "sys.argv[1:] = ['--version']\n"
        "main()\n"
    )
    assert "frozen True" in run_python(code)


# What runs on Windows

POSIX_ONLY = {
    "os": {
        "fork",
        "forkpty",
        "killpg",
        "setsid",
        "getuid",
        "geteuid",
        "mkfifo",
        "uname",
        "getpgid",
        "setpgid",
        "chown",
    },
    "signal": {"SIGKILL", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGALRM", "alarm", "pause", "setitimer"},
    "socket": {"AF_UNIX"},
}
POSIX_MODULES = {"fcntl", "pwd", "grp", "resource", "termios", "pty", "tty", "posix", "syslog"}
#: Each looks where it is before it does so.
GUARDED = {"os.sched_getaffinity"}


def posix_uses(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_ONLY.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.match(r"/(tmp|home|Users|root|var|work)(/|$)", node.value):
                yield repr(node.value)
        elif isinstance(node, ast.keyword) and node.arg in ("preexec_fn", "start_new_session", "pass_fds"):
            yield node.arg


def posix_imports(source: Path) -> Iterator[str]:
    """Imports at the top of a module; those behind a look at the platform are in a function or an if."""
    for node in ast.parse(source.read_text("utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] in POSIX_MODULES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_it_runs_on_windows_as_far_as_a_reader_can_tell(source: Path) -> None:
    assert [*posix_uses(source), *posix_imports(source)] == []


def test_files_are_opened_with_their_encoding() -> None:
    """Windows would take its own code page."""
    bare = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                has_encoding = any(k.arg == "encoding" for k in node.keywords)
                reads = node.func.attr == "read_text" and not node.args
                writes = node.func.attr == "write_text" and len(node.args) < 2
                if (reads or writes) and not has_encoding:
                    bare.append(f"{source.name}:{node.lineno}")
    assert bare == []


def test_no_file_names_a_place_of_one_machine() -> None:
    """A path of the machine it was written on, or a package index other than the public one."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False
    ).stdout.decode().split("\0")  # fmt: skip
    if not any(tracked):
        pytest.skip("no git checkout")
    here = "|".join(re.escape(path.as_posix()) for path in {REPOSITORY, Path.home()} if path != Path(path.anchor))
    places = re.compile(rf"(?<![\w./-])(?:{here}|/(?:work/\w|root/))|://(?:localhost|127\.0\.0\.1):\d+/simple".encode())
    index = re.compile(rb'registry = "(?!https://pypi\.org/simple")')
    found = []
    for name in filter(None, tracked):
        path = REPOSITORY / name
        if not path.is_file() or path.suffix in (".tif", ".png", ".jpg") or path == Path(__file__):
            continue
        content = path.read_bytes()
        found += [f"{name}: {match.group().decode()}" for match in places.finditer(content)]
        found += [f"{name}: another package index" for _ in index.finditer(content)]
    assert found == []
