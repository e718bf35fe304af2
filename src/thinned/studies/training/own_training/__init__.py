"""The training of a network of one's own by a function of the user's."""
