"""What a bundle consists of, as bytes: its names, record, tree, packs. Nothing here touches a disk."""

__all__: list[str] = []
