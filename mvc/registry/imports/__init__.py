"""What ``import`` does: model files of other places, brought here once, then added."""
