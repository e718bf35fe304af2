"""Engines that run a study's jobs: on the cores of this machine, or on the machines of a Ray or Dask cluster."""
