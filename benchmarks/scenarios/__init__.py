"""What is measured, one file for each way of using a checkpoint."""
