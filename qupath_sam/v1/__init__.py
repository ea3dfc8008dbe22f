"""Generated from ``proto/qupath_sam/v1`` by ``make proto``; never edited."""
