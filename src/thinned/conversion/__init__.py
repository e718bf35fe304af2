"""Convert and address: torch's dropout becomes ours, and masks get addresses."""
