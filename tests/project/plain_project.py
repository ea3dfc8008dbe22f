"""A project in files only: what the store sees of QuPath's, with versions that can be told apart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from qupath_sam.project.layout import DATA_FILE, SUMMARY_FILE, read_project
from qupath_sam.project.store.commit import NewData, ProjectStore, Run
from qupath_sam.project.store.fingerprint import Fingerprint


def data(image: str, version: int) -> bytes:
    """data.qpdata of that version: begins and ends as Java's, about 5 kB."""
    return b"\xac\xed\x00\x05" + f"{image}:{version};".encode() * 500 + b"t\x00\x03EOF"


def summary(image: str, version: int) -> bytes:
    """The summary.json that belongs to it."""
    return json.dumps({"hierarchy": {"nObjects": version}, "of": image}).encode()


def make(folder: Path, images: int = 3) -> Path:
    """Write a project with version 0 of each image; returns its project.qpproj."""
    entries = []
    for number in range(1, images + 1):
        image = folder / "data" / str(number)
        image.mkdir(parents=True)
        (image / DATA_FILE).write_bytes(data(str(number), 0))
        (image / SUMMARY_FILE).write_bytes(summary(str(number), 0))
        (image / "server.json").write_text("{}")
        (image / "thumbnail.jpg").write_bytes(b"jpeg")
        builder = {"builderType": "uri", "uri": f"file:/slides/{number}.svs", "metadata": {"width": 100, "height": 80}}
        entries.append({"serverBuilder": builder, "entryID": number, "imageName": f"slide {number}.svs"})
    (folder / "classifiers").mkdir()
    (folder / "classifiers" / "classes.json").write_text('{"pathClasses": []}')
    file = folder / "project.qpproj"
    file.write_text(json.dumps({"version": "0.7.0", "images": entries}))
    return file


def write_versions(store: ProjectStore, project_file: Path, run: Run, version: int) -> None:
    """One run that brings every image to ``version``."""
    for image in read_project(project_file).images:
        write_version(store, project_file, run, image.entry_id, version)


def write_version(store: ProjectStore, project_file: Path, run: Run, entry_id: str, version: int) -> Fingerprint:
    """Bring one image to ``version``."""
    image = read_project(project_file).image(entry_id)
    content = data(entry_id, version)

    def write(path: Path) -> NewData:
        unsynced = getattr(store._filesystem, "write_unsynced", None)
        if unsynced is None:
            path.write_bytes(content)
        else:
            unsynced(path, content)
        return NewData(summary(entry_id, version))

    def verify(path: Path) -> None:
        assert path.read_bytes() == content

    return store.commit(run, image, seen=Fingerprint.of(image.data_file), write=write, verify=verify)


def version_of(project_file: Path, entry_id: str) -> int:
    """The version an image is at; fails unless data and summary are whole and of one version."""
    folder = project_file.parent / "data" / entry_id
    version = int(json.loads((folder / SUMMARY_FILE).read_bytes())["hierarchy"]["nObjects"])
    assert (folder / DATA_FILE).read_bytes() == data(entry_id, version), f"image {entry_id} is torn or out of step"
    return version


def everything_else(project_file: Path) -> dict[str, str]:
    """Hashes of all files but the images' data and summary and our own folder."""
    folder = project_file.parent
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.name not in (DATA_FILE, SUMMARY_FILE)
        and file.relative_to(folder).parts[0] not in (".qupath-sam", ".qupath-sam.lock")
    }


def all_bytes(project_file: Path) -> dict[str, bytes]:
    """Every file of a project but what runs keep beside it, by its path in the project's folder."""
    folder = project_file.parent
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] != ".qupath-sam"
    }
