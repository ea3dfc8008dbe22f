"""What `qupath_sam.project.jvm.bridge` asks of single objects of QuPath, without knowing Java's classes."""

from __future__ import annotations

from typing import Any


def by_id(items: list[Any]) -> dict[str, Any]:
    """Return objects by their ids; where several have one, as QuPath lets them, the others by their `twin`."""
    found: dict[str, Any] = {}
    for item in items:
        object_id = str(item.getID())
        while object_id in found:
            object_id = twin(object_id)
        found[object_id] = item
    return found


def twin(object_id: str) -> str:
    """Return a stand-in for the id of another object with the same id."""
    return f"{object_id} again"


def measurements_of(item: Any) -> dict[str, float]:
    """Return the measurements by name, in order."""
    return {str(name): float(value) for name, value in item.getMeasurementList().asMap().items()}


def metadata_of(item: Any) -> dict[str, str]:
    """Return the metadata by key, in order."""
    # Asking for the metadata of an object that has none would give it an empty map.
    return {str(key): str(value) for key, value in item.getMetadata().items()} if has_metadata(item) else {}


def has_metadata(item: Any) -> bool:
    """Return whether there is any; QuPath 0.5 always answers yes."""
    return not hasattr(item, "hasMetadata") or bool(item.hasMetadata())


def simple_name(item: Any) -> str:
    """Return the simple name of an object's Java class."""
    # What JPype has looked up already; asking Java for it takes a tenth of the time that a big image needs.
    return type(item).__name__.rpartition(".")[2]
