"""Convert and address: torch's dropout becomes ours, and masks get addresses."""

from thinned.conversion.api import (
    ConversionReport,
    SiteOverride,
    address,
    convert,
    override_sites,
    plain_state_dict,
)

__all__ = ["ConversionReport", "SiteOverride", "address", "convert", "override_sites", "plain_state_dict"]
