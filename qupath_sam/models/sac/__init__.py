"""Segment Any Cell (Na et al. 2024, arXiv 2401.13220) as published: generated prompts, one mask of all cells."""
