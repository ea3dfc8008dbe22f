"""Training of RITM (`qupath_sam.networks.interactive`) on our own data, to compare with."""
