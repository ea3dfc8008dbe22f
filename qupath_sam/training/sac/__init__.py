"""Training of Segment Any Cell as published (Na et al. 2024, arXiv 2401.13220)."""
