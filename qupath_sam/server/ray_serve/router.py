"""Ray Serve's request router by this protocol's key, ``qupath-sam-route``."""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from qupath_sam.server.ray_serve.routing import ranked, route_of


class RouteRouter(RequestRouter):
    """Sends all calls of one key to one replica, and to the next one where that is full or gone."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas in the order in which they are asked, one a rank."""
        context = None if pending_request is None else pending_request.metadata.grpc_context
        if pending_request is None or context is None:  # not through the gRPC proxy
            return [candidate_replicas]
        # The next attempt after a full replica comes later, not at once.
        pending_request.routing_context.should_backoff = True
        by_name = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        route = route_of(context.invocation_metadata(), context.peer())
        return [[by_name[name]] for name in ranked(route, list(by_name))]
