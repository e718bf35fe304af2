"""One recorded pass in training mode and one in evaluation mode."""
