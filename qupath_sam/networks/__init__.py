"""The networks: `torch.nn` modules and what they are made of. No files, no registry."""
