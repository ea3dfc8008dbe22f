"""Which code a kept result depends on: what computes the answer, and only what it does."""

from __future__ import annotations

import pytest

import qupath_sam
from qupath_sam.evaluation import code_digest as module
from qupath_sam.evaluation.code_digest import code_digest, import_closure

WHOLE_IMAGE = (
    "qupath_sam.evaluation.protocol",
    "qupath_sam.evaluation.sessions",
    "qupath_sam.models.adapters.lite_medsam",
)
ENGINE_WINDOWS = (
    "qupath_sam.evaluation.protocol",
    "qupath_sam.evaluation.engine_windows",
    "qupath_sam.models.adapters.lite_medsam",
)


@pytest.mark.parametrize(
    ("roots", "counts", "does_not"),
    [
        (
            WHOLE_IMAGE,
            ("datasets.simulated_clicks", "datasets.perturbed_outlines", "types.masks", "networks.tiny_vit"),
            (
                "engine.engine",
                "datasets.base",
                "evaluation.report",
                "models.registry",
                "models.spec",
                "server.app",
                "errors",
            ),
        ),
        (
            ENGINE_WINDOWS,
            ("engine.engine", "engine.windows", "engine.steps", "datasets.painting", "networks.tiny_vit"),
            ("datasets.annotations", "evaluation.tables", "server.app", "training.loop", "cli.evaluate"),
        ),
    ],
    ids=["whole image", "engine windows"],
)
def test_what_gives_the_answer_counts_and_the_rest_does_not(roots, counts, does_not) -> None:
    closure = import_closure(roots)
    assert {f"qupath_sam.{name}" for name in counts} <= closure
    assert not {f"qupath_sam.{name}" for name in does_not} & closure


def test_modules_of_others_are_passed_over() -> None:
    assert import_closure((__name__, "numpy")) == frozenset()
    assert code_digest((__name__, *WHOLE_IMAGE)) == code_digest(WHOLE_IMAGE)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules in the place of ours; returns a function that writes one and gives the digest."""
    (tmp_path / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "answer.py").write_text("def answer():\n    from qupath_sam.deep import x\n    return x\n", "utf-8")
    (tmp_path / "deep.py").write_text("x = 1\n", "utf-8")
    (tmp_path / "other.py").write_text("y = 1\n", "utf-8")
    monkeypatch.setattr(qupath_sam, "__file__", str(tmp_path / "__init__.py"))

    def digest(**sources: str) -> str:
        for name, text in sources.items():
            (tmp_path / f"{name}.py").write_text(text, "utf-8")
        module._parsed.cache_clear()
        code_digest.cache_clear()
        return code_digest(("qupath_sam.answer",))

    yield digest
    module._parsed.cache_clear()
    code_digest.cache_clear()


def test_words_make_no_difference(package) -> None:
    before = package()
    assert package(deep='"""What it is."""\n\n# Why.\nx = (\n    1\n)\n') == before
    assert package(other="y = 2\n") == before


def test_deeds_do(package) -> None:
    before = package()
    assert package(deep="x = 2\n") != before
    assert package(deep="x = 1\n") == before
    types_only = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from qupath_sam.other import y\nx = 1\n"
    with_types = package(deep=types_only)
    assert package(other="y = 3\n") == with_types
    imported = package(deep="from qupath_sam.other import y\nx = y\n")
    assert package(other="y = 4\n") != imported
