"""Five claims about dropout, each allowed to fail."""
