"""The commands of the command line; each returns its exit status."""
