"""Records of generations: written as they change, read by clients that do not wait."""
