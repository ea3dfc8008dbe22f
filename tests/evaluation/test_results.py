"""Results that are kept: found again when nothing changed, and only then."""

from __future__ import annotations

import json

from qupath_sam.evaluation.results import ObjectResult, ResultStore, making, result_key


def result(**changes) -> ObjectResult:
    values = {
        "dataset": "set",
        "image_id": "a.png",
        "object_id": "a.png#1",
        "group": "case",
        "area": 100,
        "iou": (0.5, 0.8, 0.9),
        "harm": (0.1, 0.0, 0.0),
        "locality": (0.0, 0.5, 0.0),
        "clicks": ((3, 4, 1), (9, 9, 0)),
        "click_ms": (20.0, 30.0),
        "scores": (0.6, None),
        "first_parts": 1,
        "first_best_iou": 0.7,
        "squares": 0,
        "seconds": 0.1,
        "setup_s": 0.0,
        "workers": 1,
        "box_iou": 0.7,
        "refine_gain": None,
        "jitter": 0.05,
    }
    return ObjectResult(**{**values, **changes})


def test_results_survive_a_restart(tmp_path) -> None:
    store = ResultStore(tmp_path / "results")
    store.add("one", "code 1", result())
    store.add("two", "code 1", result(box_iou=None, clicks=()))
    store.close()
    again = ResultStore(tmp_path / "results")
    assert len(again) == 2
    assert again.get("one", "code 1") == result()
    assert again.get("two", "code 1") == result(box_iou=None, clicks=())
    assert again.get("three", "code 1") is None
    again.close()


def test_a_line_that_a_kill_left_unfinished_costs_only_that_object(tmp_path) -> None:
    store = ResultStore(tmp_path)
    store.add("one", "code 1", result())
    store.add("two", "code 1", result())
    store.close()
    whole = store.path.read_text(encoding="utf-8")
    store.path.write_text(whole[:-20], encoding="utf-8")
    store = ResultStore(tmp_path)
    assert len(store) == 1
    store.add("two", "code 1", result(area=7))
    store.close()
    store = ResultStore(tmp_path)
    assert store.get("one", "code 1") == result()
    assert store.get("two", "code 1") == result(area=7)
    store.close()


def test_lines_of_another_version_are_passed_over(tmp_path) -> None:
    (tmp_path / "objects.jsonl").write_text(json.dumps({"key": "one", "result": {"area": 1}}) + "\n", encoding="utf-8")
    store = ResultStore(tmp_path)
    assert store.get("one", "code 1") is None
    store.close()


def test_what_another_code_has_made_is_used_only_where_that_is_asked_for(tmp_path) -> None:
    store = ResultStore(tmp_path)
    store.add("one", "code 1", result(area=1))
    store.add("one", "code 2", result(area=2))
    store.close()
    strict = ResultStore(tmp_path)
    assert strict.get("one", "code 3") is None
    assert strict.get("one", "code 1") == result(area=1)
    strict.close()
    lenient = ResultStore(tmp_path, any_making=True)
    assert lenient.get("one", "code 1") == result(area=1)
    assert lenient.foreign == set()
    assert lenient.get("one", "code 3") == result(area=2), "the newest"
    assert lenient.get("two", "code 3") is None
    assert lenient.foreign == {"one"}
    lenient.close()


def test_what_makes_results_is_the_code_and_where_it_runs() -> None:
    assert making("code", "cpu") == making("code", "cpu") != making("other code", "cpu")


def test_any_part_of_a_key_matters() -> None:
    parts = {"object": ["a"], "model": ["m", "sha"], "protocol": {"max_clicks": 20}}
    assert result_key(parts) == result_key({**parts})
    assert result_key(parts) != result_key({**parts, "model": ["m", "other"]})
    assert result_key(parts) != result_key({**parts, "protocol": {"max_clicks": 10}})
