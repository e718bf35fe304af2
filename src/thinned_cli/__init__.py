"""The command line of ``thinned``."""
