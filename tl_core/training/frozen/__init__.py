"""The output of frozen layers: computed once, kept in the cache where that pays."""
