"""What ``add`` does: from files and a few facts to a version."""
