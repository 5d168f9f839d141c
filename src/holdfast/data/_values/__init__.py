"""What data hold in memory: digests of batches, of samples, and of the attributes of datasets, without calling any code of a script's."""

__all__: list[str] = []
