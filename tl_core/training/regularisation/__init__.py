"""What keeps a network from learning its pictures by heart: augmentation, mixing, averaged weights."""
