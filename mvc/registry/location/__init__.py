"""Where a registry is, where its store is, and how they get there."""
