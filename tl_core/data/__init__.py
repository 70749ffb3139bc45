"""From files to a data set: archives, class folders, decoding, ingest, checks, splits, samples, the cache."""
