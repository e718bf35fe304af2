"""Convert and address: torch's dropout becomes ours, and masks get addresses."""

from thinned.conversion.api import ConversionReport, address, convert, plain_state_dict

__all__ = ["ConversionReport", "address", "convert", "plain_state_dict"]
