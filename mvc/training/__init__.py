"""Checkpoints registered while a training runs, without holding it up.

- ``lightning`` and ``transformers``: the callbacks, each for its trainer.
- ``recorder``: what both do with a checkpoint, and the summary.
- ``secured``: a checkpoint under a second name, so that its trainer may delete the first.
- ``worker`` and ``adding``: the process that adds them, from outside and from inside.
- ``plain``: hyper-parameters and metrics as a record can have them.

Nothing here is imported by the rest of mvc. What it promises: ``docs/training.md``.
"""
