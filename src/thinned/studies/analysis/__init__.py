"""What the trained networks say."""
