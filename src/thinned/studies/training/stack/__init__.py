"""Networks of one split that train as one batched program (``torch.func``): a stack, its members one after another."""
