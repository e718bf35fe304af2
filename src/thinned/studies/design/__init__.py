"""What a study trains: arms, settings, splits and seeds."""
