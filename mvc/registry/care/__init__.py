"""What keeps a registry whole and small: fsck, repair, gc, du."""
