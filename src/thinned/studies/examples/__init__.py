"""The examples of a study of one's own network: arrays or datasets in, batches, losses and scores out."""
