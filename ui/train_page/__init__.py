"""What the Train page is made of: the backbone, the strategy, the settings, and what is known before Start."""
