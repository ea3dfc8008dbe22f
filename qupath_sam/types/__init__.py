"""Plain values: regions, prompts, requests, results, masks. No torch, no gRPC, no files."""
