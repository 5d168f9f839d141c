"""Pages of the site that are made while it is built: they say what the code says, so they cannot drift from it."""
