"""Imports of large libraries without what slows them down."""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

#: Python's import system, which shows its locks nowhere else.
_bootstrap: Any = importlib._bootstrap

#: Modules that numpy, scipy and torch import when they are imported, and that no model here uses: a Fortran compiler,
#: masked arrays, polynomials; distributions, and kernels in Python for the meta device.
NOT_NEEDED_AT_ONCE = {
    "numpy": ("numpy.f2py", "numpy.ma", "numpy.polynomial", "numpy.testing"),
    "torch": ("torch._meta_registrations", "torch.distributions"),
}
#: Versions that were imported without these here: parts of torch import each other in circles, which others may break.
TRIED = {"numpy": "2.", "torch": "2.15."}


@contextmanager
def without_collection() -> Iterator[None]:
    """Run the block without the garbage collector: 5 to 7 % of the processor time of importing torch.

    Nearly all that an import makes stays, so the collector finds nothing, again and again, in ever more objects.
    Source: "gc", Python's library reference (``gc.freeze`` names the same).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def later(names: frozenset[str] | None = None) -> Iterator[None]:
    """Import modules of these names, within the block, without their code: it runs when something of it is first used.

    Python's own `importlib.util.LazyLoader` runs it too at a second import, and is not safe where threads meet.

    Args:
        names: full names; None takes `NOT_NEEDED_AT_ONCE` of libraries in a version of `TRIED`. Modules that are
            imported already stay as they are.
    """
    finder = _Later(_not_needed_at_once() if names is None else names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def run_all() -> None:
    """Run the code of all modules that wait: before foreign code that takes what they register for granted."""
    for module in list(sys.modules.values()):
        if isinstance(module, _Waiting):
            _run(module)


def _not_needed_at_once() -> frozenset[str]:
    return frozenset(
        name
        for library, names in NOT_NEEDED_AT_ONCE.items()
        if importlib.metadata.version(library).startswith(TRIED[library])
        for name in names
    )


#: Where a module notes which thread runs its code.
_RUNS = "_runs"
#: Held while a thread begins to run a module.
_claims = threading.Lock()


class _Waiting(ModuleType):
    """A module whose code has not run, or runs now."""

    def __getattr__(self, name: str) -> Any:
        if not (_runs_elsewhere(self) and _is_part(self, name)):
            _run(self)
        # Not `getattr`: where its own code asks, half of it has run, and it is still of this class.
        return ModuleType.__getattribute__(self, name)


def _runs_elsewhere(module: ModuleType) -> bool:
    runner: int | None = module.__dict__.get(_RUNS)
    return runner is not None and runner != threading.get_ident()


def _is_part(module: ModuleType, name: str) -> bool:
    """Return whether a name is that of a submodule, or of the search for one.

    A thread that imports another part of a package than the one that runs the package must not wait for it: each holds
    what the other wants. Python does not wait there either.
    """
    path = module.__dict__.get("__path__")
    if path is None or name == "__path__":
        return name == "__path__"
    found = importlib.machinery.PathFinder.find_spec(f"{module.__name__}.{name}", path)
    return found is not None


def _run(module: ModuleType) -> None:
    """Run the code of a module that waits; another thread that asks waits too."""
    while type(module) is _Waiting:
        spec, thread = module.__spec__, threading.get_ident()
        assert spec is not None
        assert isinstance(spec.loader, _Loader)
        with _claims:
            runner = module.__dict__.get(_RUNS)
            if runner is None:
                if spec.submodule_search_locations is not None:
                    module.__path__ = spec.submodule_search_locations
                module.__dict__[_RUNS] = thread
        if runner == thread:  # its own code asks
            return
        with _import_lock(module.__name__) as is_held:
            if runner is None:
                try:
                    spec.loader.own.exec_module(module)
                finally:
                    del module.__dict__[_RUNS]
                module.__class__ = ModuleType  # type: ignore[assignment]
            elif not is_held:
                return
        time.sleep(0.0)


@contextmanager
def _import_lock(name: str) -> Iterator[bool]:
    """Hold the lock that Python holds while it imports a module; with it Python sees which threads wait for each other.

    Yields:
        Whether it is held. Where a thread that holds it waits for a module that this thread imports, neither would
        ever go on: then it is not, and this thread sees as much of the module as has run, as in any circular import.
    """
    lock = _bootstrap._ModuleLockManager(name)
    try:
        lock.__enter__()
    except _bootstrap._DeadlockError:
        yield False
        return
    try:
        yield True
    finally:
        lock.__exit__(None, None, None)


class _Loader(importlib.abc.Loader):
    """Has modules wait that ``own`` would load."""

    def __init__(self, own: importlib.abc.Loader) -> None:
        self.own = own

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The search for a submodule asks for it: a package runs before its parts.
        module.__dict__.pop("__path__", None)
        module.__class__ = _Waiting


class _Later(importlib.abc.MetaPathFinder):
    """Finds modules of some names as Python does, and has them wait."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec
