"""What torch and its modules know of a training and no `state_dict` tells: what is at work, and attributes that change."""

__all__: list[str] = []
