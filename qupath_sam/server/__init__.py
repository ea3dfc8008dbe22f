"""The server: an engine behind gRPC, with its tokens, certificates, limits, log and status."""
