"""Training of the dense head (`qupath_sam.networks.dense_head`) on a frozen encoder."""
