"""The design of a study: arms, settings, splits and seeds."""
