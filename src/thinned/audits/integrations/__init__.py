"""Callbacks that audit a model at the first batch of a training run."""
