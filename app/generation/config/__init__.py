"""The models file, checked as a whole."""
