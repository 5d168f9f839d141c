"""What is taken and what is not, by framework, found out by saving and restoring one of each; see `page`."""
