"""What the rules look at: recorded passes of a model in training and evaluation, and source code that was read."""
