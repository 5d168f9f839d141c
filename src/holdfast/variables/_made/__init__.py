"""Objects with a state of their own that are made in the loop: copies of a model, optimizers of these, pools that grow."""

__all__: list[str] = []
