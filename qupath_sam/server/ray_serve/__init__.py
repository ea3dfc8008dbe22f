"""The service on Ray Serve: replicas with a device each behind Ray's gRPC proxy. Needs the extra ``[ray]``.

Only `application` and `router` import ray; the rest is plain gRPC and asyncio.
"""
