"""What saving and loading cost, measured against the peers and the machine's limits; see README.md."""
