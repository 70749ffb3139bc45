"""From files to images in a data set: archives, layout, decoding, ingest, splits, samples. Knows no network."""
