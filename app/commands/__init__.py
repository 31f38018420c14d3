"""What the command line does: each command returns its exit status."""
