"""The recorded pass, and the sites that it finds."""
