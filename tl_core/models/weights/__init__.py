"""Files of pretrained weights: where they are, how they are downloaded. No torch."""
