"""What of optimizers is taken apart here, beside the state that torch knows."""
