"""Networks that OpenVINO has compiled for this processor: kept on disk, and loaded ahead of the model that needs them.

Each lies in a folder of its own, whose name is a digest of all that it depends on; `models/compiled` computes it
from the weights themselves. Nothing here imports torch, which takes a second or more. OpenVINO needs no lock of
Python's while it loads, so what a model used the last time is loaded meanwhile; `_LAST` says what that was. It is no
more than a hint: only a network of the right digest and the right options is ever taken, and none is loaded that
another processor or version has made.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from qupath_sam.models.weights.jsonfile import read_json, write_json

log = logging.getLogger(__name__)

#: Networks that are kept on disk, the last used ones.
MOST_KEPT = 8
#: What holds no network of this version and was not used for so long is removed: an earlier version may still use its
#: own, and another process may be writing.
STALE_S = 24 * 3600.0
_NAME, _DIGEST = "network.blob", "network.sha256"
#: The names that `compiled` and `keep` give, in this version and earlier ones. Whatever else lies there is not ours.
_OURS = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{32}\.[0-9a-f]{8}\.tmp")
#: File of the names and options of the networks that each model used the last time.
_LAST = "last.json"

Options = Mapping[str, object]


def is_installed() -> bool:
    """Return whether the extra is there; nothing is imported."""
    return importlib.util.find_spec("openvino") is not None


def default_folder() -> Path:
    """Return the folder of converted networks: in the user's cache folder, which may be emptied at any time."""
    return Path(platformdirs.user_cache_dir("qupath-sam", appauthor=False)) / "openvino"


@functools.cache
def core() -> Any:
    """Return OpenVINO's core, one for the process, which is never let go.

    The processor's plugin goes with the last core and network, and takes the alternate signal stack along that it has
    given to the thread that loaded it: that thread's next signal, such as Ctrl-C, then ends the process by SIGSEGV.
    """
    import openvino

    return openvino.Core()


def maker() -> tuple[str, str, list[str]]:
    """Return what a compiled network is bound to: OpenVINO's version, processor, and what that computes in."""
    processor = core().get_property("CPU", "FULL_DEVICE_NAME"), core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return importlib.metadata.version("openvino"), *processor


def load(kept: Path, options: Options) -> Any | None:
    """Return the network that is kept in a folder; None where there is none, or a spoilt one, which is removed."""
    ahead = _ahead.pop(kept, None)
    if ahead is not None and ahead.options == options:
        return ahead.network.result()
    return _loaded(kept, options)


def _loaded(kept: Path, options: Options) -> Any | None:
    path = kept / _NAME
    try:
        content = path.read_bytes()
        # OpenVINO itself takes a damaged file, and answers with wrong numbers.
        digest = kept / _DIGEST
        if not digest.is_file() or _digest(content) != digest.read_text("ascii"):
            raise ValueError("the file is not the one that was kept")
        model = core().import_model(content, "CPU", options)
    except OSError:
        return None
    except (RuntimeError, ValueError):
        shutil.rmtree(kept, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):  # a folder that is read only
        path.touch()
    return model


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def keep(model: Any, kept: Path) -> None:
    """Put a compiled network into its place as a whole. A folder that cannot be written costs the next start's time."""
    folder = kept.parent
    part = folder / f".{kept.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        content = model.export_model().getvalue()
        (part / _NAME).write_bytes(content)
        (part / _DIGEST).write_text(_digest(content), "ascii")
        if not kept.exists():
            part.rename(kept)
    except OSError as error:
        if not kept.exists():  # else another process was faster
            log.warning("could not keep a compiled network in %s (%s); the next start compiles it again", folder, error)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def clean(folder: Path) -> None:
    """Remove the networks that were not used for the longest time, and what other versions and dead processes left."""
    networks: list[tuple[float, Path]] = []
    others: list[tuple[float, Path]] = []
    for entry in _entries(folder):
        kind = networks if not entry.name.startswith(".") and (entry / _NAME).is_file() else others
        kind.append((_last_use(entry), entry))
    networks.sort(reverse=True)
    stale = [(used, entry) for used, entry in others if time.time() - used > STALE_S]
    for _, old in [*networks[MOST_KEPT:], *stale]:
        shutil.rmtree(old, ignore_errors=True)


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the folders that this module has made, in whichever version; links are none of them."""
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            if _OURS.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
                yield entry


def _last_use(entry: Path) -> float:
    """Return when a folder or a file in it was last used, in seconds since the epoch; now where nobody can say."""
    try:
        return max(path.stat().st_mtime for path in (entry, *entry.iterdir()))
    except OSError:  # another process removes it
        return time.time()


class _Ahead:
    """A network that is being loaded, or waits for it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.network: Future[Any | None] = Future()


#: By their folders; whoever takes one out has it alone.
_ahead: dict[Path, _Ahead] = {}


def load_ahead(name: str, folder: Path) -> threading.Thread | None:
    """Begin to load, on a thread of its own, the networks that a model used the last time; `load` takes them.

    Args:
        name: of the model.
        folder: of kept networks.

    Returns:
        The thread; None where nothing is known or OpenVINO is not there.
    """
    last = _read(folder)
    if not is_installed() or name not in last.models:
        return None
    wanted = {folder / network: _Ahead(options) for network, options in last.models[name]}
    _ahead.update(wanted)
    # No daemon: a process that ends meanwhile must not take the library down while the thread is in the midst of it.
    thread = threading.Thread(target=_load_all, args=(wanted, last), name="kept-networks")
    thread.start()
    return thread


def _load_all(wanted: Mapping[Path, _Ahead], last: _Last) -> None:
    for kept, ahead in wanted.items():
        try:
            ahead.network.set_result(_loaded(kept, ahead.options) if last.maker == maker() else None)
        except BaseException as error:
            ahead.network.set_exception(error)


def remember(name: str, used: Iterable[tuple[Path, Options]], folder: Path) -> None:
    """Note what a model uses now, for `load_ahead`, and let go of what was loaded for it in vain.

    Args:
        name: of the model.
        used: folder of each network, in ``folder``, and its options; none where torch runs all of it, which changes
            what is known only where networks were loaded in vain.
        folder: of kept networks.
    """
    in_vain = bool(_ahead)
    _ahead.clear()
    networks = [(kept.name, dict(options)) for kept, options in used]
    if not networks and not in_vain:
        return
    last = _read(folder)
    try:
        by = maker()
    except (ImportError, OSError, RuntimeError):  # torch runs the model, and has said why
        return
    others = {model: known for model, known in last.models.items() if model != name and last.maker == by}
    now = _Last(by, {**others, name: networks} if networks else others)
    if now == last:
        return
    # A hint: a folder that may not be written costs time only.
    with contextlib.suppress(OSError):
        write_json(folder / _LAST, {"maker": now.maker, "models": now.models})


@dataclass(frozen=True, slots=True)
class _Last:
    """What `_LAST` holds: by what the networks were made, and names and options of those of each model."""

    maker: tuple[str, str, list[str]]
    models: Mapping[str, list[tuple[str, dict[str, object]]]]


def _read(folder: Path) -> _Last:
    """Read `_LAST`; a file that cannot be read knows nothing."""
    try:
        content = read_json(folder / _LAST)
        version, processor, formats = content["maker"]
        models = {
            model: [(Path(network).name, dict(options)) for network, options in networks]
            for model, networks in content["models"].items()
        }
        return _Last((version, processor, formats), models)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _Last(("", "", []), {})
