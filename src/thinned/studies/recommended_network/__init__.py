"""The network that a study of one's own network leaves: trained on all examples, saved, and loaded again."""
