"""The service on a real Ray: examples/deploy/ray.yaml with two CPU replicas, one of them killed.

``make ray`` runs it in an environment of its own: Ray is no part of the one that `make setup` makes.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.errors import QupathSamError, SlideNotFound, UnknownModel
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.region_requests import GridOptions, Prompting, RegionRequest
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, WindowRequest
from qupath_sam.types.results import EmbeddingSource

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is not installed here; `make ray` runs these tests"
    ),
]
CONFIGURATION = Path(__file__).resolve().parents[2] / "examples" / "deploy" / "ray.yaml"
PATIENCE = 300
SLIDES = 16
WINDOW = WindowRequest(downsample=2.0)
NUMBERS = itertools.count()
AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster of this machine that serves.

    Attributes:
        address: of its gRPC proxy.
        process: ``serve run``.
        slides: copies of the demo slide, each a route of its own.
        log: what Ray and the replicas say.
    """

    address: str
    process: subprocess.Popen[bytes]
    slides: tuple[Slide, ...]
    log: Path

    def wait_ready(self, count: int) -> None:
        """Wait until so many replicas have become ready, those that are gone included."""
        deadline = time.monotonic() + PATIENCE
        while self.log.read_text().count("is ready") < count:
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.5)

    def replicas(self) -> list[psutil.Process]:
        """Return the processes of the replicas."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "ServeReplica" in " ".join(child.cmdline()) or "ServeReplica" in child.name():
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(folder: Path, port: int) -> dict[str, Any]:
    """Return examples/deploy/ray.yaml for this machine: the fake model, two replicas without a GPU."""
    import yaml

    content = yaml.safe_load(CONFIGURATION.read_text())
    content["grpc_options"]["port"] = port
    content["http_options"]["port"] = free_port()
    (application,) = content["applications"]
    application["args"] = {
        **application["args"],
        "slides": [str(folder), str(demo_slide_path().parent)],
        "model": "fake",
        "device": "cpu",
        "runtime": "torch",
        "threads": 1,
    }
    del application["args"]["tokens"], application["args"]["token_without_tls"]
    (deployment,) = application["deployments"]
    deployment["ray_actor_options"] = {"num_cpus": 0.1, "num_gpus": 0}
    assert set(deployment["autoscaling_config"]) >= {"min_replicas", "max_replicas", "target_ongoing_requests"}
    scaling = {"min_replicas": 2, "max_replicas": 3, "target_ongoing_requests": 4, "upscale_delay_s": 2}
    deployment["autoscaling_config"] |= scaling | {"metrics_interval_s": 1, "look_back_period_s": 5}
    return content


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    import yaml

    # Ray's sockets lie below its folder, and a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as name:
        folder = Path(name)
        slides = tuple(Slide(folder / f"{number}.tif") for number in range(SLIDES))
        for slide in slides:
            shutil.copy(demo_slide_path(), slide.location)
        port = free_port()
        file = folder / "ray.yaml"
        file.write_text(yaml.safe_dump(configuration(folder, port)))
        log = (folder / "log").open("wb")
        environment = os.environ | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(64 << 20),
            "RAY_TMPDIR": name,
            "RAY_DEDUP_LOGS": "0",  # each replica says that it is ready
            # Ray would make one in the home folder.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(file)], stdout=log, stderr=log, env=environment
        )
        try:
            deadline = time.monotonic() + PATIENCE
            with SamClient(f"127.0.0.1:{port}", timeout_s=30) as client:
                while not client.is_serving(timeout_s=2.0):
                    assert process.poll() is None, (folder / "log").read_text()[-4000:]
                    assert time.monotonic() < deadline, (folder / "log").read_text()[-4000:]
                    time.sleep(0.5)
            found = Cluster(f"127.0.0.1:{port}", process, slides, folder / "log")
            found.wait_ready(2)
            yield found
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            _, left = psutil.wait_procs([process, *children], timeout=60)
            for each in left:
                each.kill()
            log.close()


def prompts(*xs: float) -> list[ObjectPrompts]:
    return [ObjectPrompts(tuple(Click.at(x, 600) for x in xs))]


def source(client: SamClient, slide: Slide) -> EmbeddingSource | None:
    """Click where nobody has clicked: a view that is new changes no answer, and a click that is known costs nothing."""
    window = replace(WINDOW, view_downsample=1 + next(NUMBERS) * 1e-9)
    return client.predict(slide, prompts(700), window=window).results[0].embedding_source


@pytest.fixture(scope="module")
def alone() -> Iterator[SamClient]:
    """One server, whose answers are the right ones."""
    settings = ServerSettings(port=0, model="fake", device="cpu", runtime="torch", threads=1)
    with start_server(settings) as server, SamClient(server.address, timeout_s=PATIENCE) as client:
        yield client


@pytest.fixture
def client(cluster: Cluster) -> Iterator[SamClient]:
    with SamClient(cluster.address, timeout_s=PATIENCE, busy_pauses_s=AGAIN) as connected:
        yield connected


@pytest.mark.parametrize("model", ["fake", DEFAULT_MODEL])
def test_answers_are_those_of_one_server(client: SamClient, alone: SamClient, cluster: Cluster, model: str) -> None:
    for slide in cluster.slides[: 8 if model == "fake" else 3]:
        answers = []
        for each in (client, alone):
            first = each.predict(slide, prompts(700, 750), model=model, window=WINDOW).results[0]
            more = ObjectRequest(prompts(700, 750, 720)[0], token=first.token)
            second = each.predict(slide, [more], model=model, window=WINDOW).results[0]
            answers.append([(outline.geometry.wkb, outline.score) for outline in (*first.outlines, *second.outlines)])
        assert answers[0]
        assert answers[0] == answers[1]


def test_streams_and_pixels(client: SamClient, alone: SamClient, cluster: Cluster) -> None:
    slide = cluster.slides[0]
    discs = GridOptions(spacing=20.0, min_stability=0.5)
    asked = RegionRequest(Region(1000, 1000, 280, 300), grid=discs, prompting=Prompting.GRID)
    found = [
        [(each.number, each.geometry.wkb) for batch in one.segment_region(slide, asked) for each in batch.objects]
        for one in (client, alone)
    ]
    assert found[0]
    assert found[0] == found[1]
    with client.live() as live, alone.live() as other:
        futures = [[stream.predict(slide, prompts(x)) for x in (700, 720, 740)] for stream in (live, other)]
        answers = [[each.result(PATIENCE).results[0].outlines for each in part] for part in futures]
        assert answers[0] == answers[1]
    pushed = client.push(np.full((300, 200, 3), 90, np.uint8))
    for _ in range(4):
        assert client.describe(pushed).width == 200


def test_errors_keep_their_kind(client: SamClient, cluster: Cluster) -> None:
    with pytest.raises(SlideNotFound):
        client.describe(Slide("/etc/passwd"))
    with pytest.raises(UnknownModel, match="known"):
        client.predict(cluster.slides[0], prompts(700), model="nonesuch")
    with pytest.raises(SlideNotFound):
        list(client.segment_region(Slide("/etc/passwd"), RegionRequest(Region(0, 0, 10, 10))))
    with client.live() as live, pytest.raises(UnknownModel):
        live.predict(cluster.slides[0], prompts(700), model="nonesuch").result(PATIENCE)


def outlines_after(client: SamClient, slide: Slide, token: bytes | None = None) -> Any:
    asked = prompts(700, 720)[0]
    return client.predict(slide, [ObjectRequest(asked, token=token)], window=WINDOW).results[0].outlines


def test_a_slide_stays_at_its_replica_and_another_takes_over(
    client: SamClient, alone: SamClient, cluster: Cluster
) -> None:
    deadline = time.monotonic() + PATIENCE
    # The proxy may have learnt of the second replica in the middle.
    while {source(client, slide) for slide in cluster.slides} != {EmbeddingSource.MEMORY}:
        assert time.monotonic() < deadline
    tokens = {slide: client.predict(slide, prompts(700), window=WINDOW).results[0].token for slide in cluster.slides}
    replicas = cluster.replicas()
    assert len(replicas) == 2
    replicas[0].kill()
    after = [source(client, slide) for slide in cluster.slides]
    moved = after.count(EmbeddingSource.COMPUTED)
    assert 0 < moved < SLIDES, "those of the replica that is gone, and no others"
    assert after.count(EmbeddingSource.MEMORY) == SLIDES - moved
    # Tokens of the one that has gone: another replays their steps.
    for slide, token in tokens.items():
        assert outlines_after(client, slide, token) == outlines_after(alone, slide)
    cluster.wait_ready(3)


def test_load_brings_a_replica_and_who_asks_again_gets_all_answers_where_one_is_killed(
    alone: SamClient, cluster: Cluster
) -> None:
    right = alone.predict(cluster.slides[0], prompts(700), window=WINDOW).results[0].outlines
    stop = threading.Event()
    failures: list[str] = []
    answers: list[bool] = []

    def work(number: int) -> None:
        with SamClient(cluster.address, timeout_s=PATIENCE, busy_pauses_s=AGAIN) as own:
            while not stop.is_set():
                window = replace(WINDOW, view_downsample=1 + next(NUMBERS) * 1e-9)
                try:
                    result = own.predict(cluster.slides[number], prompts(700), window=window).results[0]
                    answers.append(result.outlines == right)
                except QupathSamError as error:
                    failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(SLIDES)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    while (len(answers) < 50 or len(cluster.replicas()) < 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(cluster.replicas()) == 3, "16 calls at once are more than 4 a replica"
    cluster.replicas()[0].kill()
    count = len(answers)
    while len(answers) < count + 100 and time.monotonic() < deadline:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert len(answers) >= count + 100
    assert all(answers)


# Ray's own deprecations, as it is imported here.
@pytest.mark.filterwarnings("ignore")
def test_what_no_settings_of_a_replica_are(cluster: Cluster) -> None:
    from qupath_sam.cli.serve_ray import application
    from qupath_sam.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="--slides"):
        application({"model": "fake"})
    with pytest.raises(InvalidRequest, match="metrics_port"):
        application({"model": "fake", "slides": ["/"], "metrics_port": 9464})
    with pytest.raises(InvalidRequest, match="no options"):
        application({"modle": "fake"})
