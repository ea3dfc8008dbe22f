"""A digest of the code that an answer depends on, so that kept results are used again until that code changes.

The digest covers the modules that compute the answer and all that they import, without comments, docstrings and
formatting. A change to the server, the trainer, a report or the reader of a data set (whose pixels and masks are part
of every result's key) therefore costs no new run.

Protocol version, package version and the digest of the weights do not replace it: between two releases the package's
version stays the same while the code changes, and a table that mixes answers of two commits looks like one of one
commit. A run over all data sets takes hours, so that no one deletes the kept results after each commit.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import qupath_sam

_PACKAGE = "qupath_sam"
#: What these say of a model goes into every result's key by value, and neither the words of an error nor the place of a
#: file changes an answer. They are the modules that change whenever a model is added.
WITHOUT_EFFECT = frozenset(
    {
        *("qupath_sam", "qupath_sam.errors", "qupath_sam.models.registry", "qupath_sam.models.spec"),
        *("qupath_sam.models.weights." + name for name in ("store", "download", "digests")),
    }
)


@cache
def code_digest(modules: tuple[str, ...]) -> str:
    """Return the hex SHA-256 of what these modules of the package, and all that they import of it, do.

    Args:
        modules: full names; those of other packages are passed over.
    """
    digest = hashlib.sha256()
    for name in sorted(import_closure(modules)):
        digest.update(f"{name}\n{ast.dump(_without_docstrings(_parsed(name)))}\n".encode())
    return digest.hexdigest()


def import_closure(modules: tuple[str, ...]) -> frozenset[str]:
    """Return the full names of these modules and of all that they import of the package, at any depth, anywhere."""
    found: set[str] = set()
    waiting = [name for name in modules if _source(name) is not None]
    while waiting:
        name = waiting.pop()
        if name in found or name in WITHOUT_EFFECT:
            continue
        found.add(name)
        waiting += _imported_by(name)
    return frozenset(found)


def _imported_by(name: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports when it runs; those for its annotations alone are not."""
    waiting: list[ast.AST] = [_parsed(name)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _source(alias.name) is not None)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and _source(node.module) is not None:
            yield from _named(node.module, [alias.name for alias in node.names])
        waiting += ast.iter_child_nodes(node)


def _named(module: str, names: list[str]) -> Iterator[str]:
    """Yield the modules behind ``from module import names``.

    A package may load a name's module only when it is asked for.
    """
    yield module
    submodules = [f"{module}.{name}" for name in names if _source(f"{module}.{name}") is not None]
    yield from submodules
    source = _source(module)
    if len(submodules) < len(names) and module != _PACKAGE and source is not None and source.name == "__init__.py":
        yield from (f"{module}.{path.stem}" for path in sorted(source.parent.glob("*.py")) if path != source)


@cache
def _parsed(name: str) -> ast.Module:
    source = _source(name)
    assert source is not None, name
    return ast.parse(source.read_bytes())


def _source(name: str) -> Path | None:
    """Return the file of a module or package; None for what is not of this package."""
    if name != _PACKAGE and not name.startswith(f"{_PACKAGE}."):
        return None
    path = Path(qupath_sam.__file__).parent.joinpath(*name.split(".")[1:])
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


def _without_docstrings(module: ast.Module) -> ast.Module:
    """Return the same module, less every text that stands alone as a statement."""
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [statement for statement in body if not _is_text(statement)]
    return module


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
