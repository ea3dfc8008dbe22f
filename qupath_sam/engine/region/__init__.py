"""All objects of a region: tiles, what is proposed in each, and one whole object for what several tiles show."""
