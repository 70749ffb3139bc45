"""Arrays in, documents out: metrics. Knows no network and no file."""
