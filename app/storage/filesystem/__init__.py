"""The object store in a folder: embedded mode's."""
