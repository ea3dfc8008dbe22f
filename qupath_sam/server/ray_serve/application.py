"""The application that Ray Serve runs: the replica, and the router before it."""

from __future__ import annotations

import logging
from dataclasses import replace

from ray import serve
from ray.serve.config import RequestRouterConfig

from qupath_sam.errors import InvalidRequest
from qupath_sam.server.ray_serve.replica import Replica
from qupath_sam.server.settings import ServerSettings

log = logging.getLogger(__name__)

#: Names of the deployment, which a Serve configuration refers to.
DEPLOYMENT = "SegmentationService"
#: The proxy listens on all addresses of its machine.
_ANY_HOST = "0.0.0.0"


def application(settings: ServerSettings) -> serve.Application:
    """Return the service for ``serve run``; replicas, devices and autoscaling are said in Serve's configuration.

    Raises:
        InvalidRequest: settings of a port, which is the proxy's; or of a server that other machines must not reach.
    """
    proxys = {
        "tls_certificate": settings.tls_certificate,
        "tls_key": settings.tls_key,
        "metrics_port": settings.metrics_port,
    }
    given = [name for name, value in proxys.items() if value is not None]
    if given:
        raise InvalidRequest(
            f"Ray Serve's proxy has the port, so leave {', '.join(given)} out: encrypt by a front before it, and take "
            "metrics from Ray"
        )
    # As seen from the network: slides have to be named, and a token must not travel open unless that is said.
    settings = replace(settings, host=_ANY_HOST, port=0)
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        # Above the server's own limit, which answers BUSY: Serve would let calls wait unseen.
        max_ongoing_requests=settings.call_threads,
        graceful_shutdown_timeout_s=settings.grace_s,
        request_router_config=RequestRouterConfig(
            request_router_class="qupath_sam.server.ray_serve.router.RouteRouter"
        ),
    )
    return deployment.bind(settings)
