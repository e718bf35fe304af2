"""The recommended network: saved, loaded, exported, and asked for predictions."""
