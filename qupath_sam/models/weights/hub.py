"""Downloading a model's folder from a Hugging Face hub: ``config.json`` and ``model.safetensors`` of one commit.

`huggingface_hub`, which comes with the extra ``[transformers]``, knows the hub: commits, digests, an access token
(``HF_TOKEN``, or `hf auth login`) and a mirror (``HF_ENDPOINT``). The bytes are ours to fetch, for its version 2 begins
an interrupted file of gigabytes again. Afterwards nothing asks the hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.weights.download import TIMEOUT, Progress, Source, download

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class Pulled:
    """A folder that was downloaded.

    Attributes:
        weights: path of its weights file; the config lies beside it.
        sha256: hex digest of the weights file.
        revision: the commit that both files are of.
    """

    weights: Path
    sha256: str
    revision: str


def pull_folder(
    repository: str,
    folder: Path,
    *,
    revision: str = "",
    sha256: str | None = None,
    accept: Callable[[Path], None],
    progress: Progress | None = None,
) -> Pulled:
    """Download config and weights of a repository into ``folder``; the weights appear there in one step, checked.

    Args:
        repository: such as "facebook/sam2.1-hiera-tiny".
        folder: of the model; made where there is none.
        revision: commit to take; empty takes the newest one.
        sha256: hex digest that the weights must have; None where it is not known. The hub's own is checked always.
        accept: raises where the content of the weights, with the config beside them, is wrong.
        progress: called with the bytes of the weights that are there, and all of them.

    Raises:
        WeightsMissing: the extra is not installed, or the files cannot be had now. What has arrived is kept, and the
            next call goes on from there.
        WrongWeights: they have another digest or content. What has arrived is deleted.
    """
    hub = _hub()
    # The newest commit is asked for once: both files are of that one, whatever comes after it.
    config = _described(hub, repository, CONFIG, revision or "main")
    commit: str = config.commit_hash
    weights = _described(hub, repository, WEIGHTS, commit)
    published = _sha256(weights)
    if sha256 is not None and published is not None and sha256 != published:
        raise WrongWeights(
            f"{repository} has a file with SHA-256 {published[:12]}… now instead of {sha256[:12]}…; `qupath-sam models "
            "remove` the model and pull it again, if you want the new one"
        )
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT, headers=hub.utils.build_hf_headers()) as client:

        def fetch(name: str, size: int | None, sha256: str | None, accept: Callable[[Path], None]) -> str:
            url = hub.hf_hub_url(repository, name, revision=commit, endpoint=_endpoint())
            shown = progress if name == WEIGHTS else None
            return download(Source(url, size, sha256), folder / name, accept=accept, progress=shown, client=client)

        # The config first: with it the weights are judged.
        fetch(CONFIG, None, _sha256(config), lambda path: None)
        digest = fetch(WEIGHTS, weights.size, sha256 or published, accept)
    return Pulled(folder / WEIGHTS, digest, commit)


def _described(hub: ModuleType, repository: str, name: str, revision: str) -> Any:
    """Return what the hub says of a file: ``commit_hash``, ``etag`` and ``size`` in bytes."""
    url = hub.hf_hub_url(repository, name, revision=revision, endpoint=_endpoint())
    try:
        described = hub.get_hf_file_metadata(url, endpoint=_endpoint())
    except Exception as error:  # the exceptions of the hub's HTTP library have no common type that is public
        raise _missing(error, repository) from error
    if not described.commit_hash:
        raise WeightsMissing(f"{url} is not answered by a Hugging Face hub; check HF_ENDPOINT and your proxy")
    return described


def _sha256(described: Any) -> str | None:
    """Return the SHA-256 that the hub names for a large file; a small one has git's digest only."""
    return described.etag if re.fullmatch(r"[0-9a-f]{64}", str(described.etag)) else None


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _missing(error: Exception, repository: str) -> WeightsMissing:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return WeightsMissing(
            f"{repository} is given only to those who have accepted its licence; accept it on the model's page, then "
            "log in with `hf auth login` (or set HF_TOKEN) and pull again"
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return WeightsMissing(f"HF_HUB_OFFLINE forbids the download of {repository}; unset it, then pull again")
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError | errors.EntryNotFoundError):
        return WeightsMissing(
            f"{repository} has no such file any more, or needs a login ({line}); see the model's page, "
            "or register a copy with `qupath-sam models add`"
        )
    return WeightsMissing(f"the hub does not answer for {repository} ({line}); try again later")


def _hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.utils
    except ImportError as error:
        raise WeightsMissing(
            "this download needs an optional package; install it with `pip install 'qupath-sam[transformers]'`"
        ) from error
    return huggingface_hub
