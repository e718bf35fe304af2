"""Networks are trained in cohorts, and stored."""
