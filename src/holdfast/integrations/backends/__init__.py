"""What only a framework can tell about the objects of a loop; one file each."""
