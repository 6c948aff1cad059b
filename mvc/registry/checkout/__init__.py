"""How a version gets out again: into a folder of the user's, or into the cache."""
