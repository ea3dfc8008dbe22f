"""Files of weights: where they are kept, how they are had, what is in them."""
