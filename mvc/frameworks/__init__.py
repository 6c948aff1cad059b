"""Optional bridges to machine-learning libraries, imported only when asked for.

The rest of mvc never imports torch and never runs a model file; what needs
torch, torchvision or safetensors stands here, behind the extra ``torch``:

- ``libraries``: the one place where those libraries are imported.
- ``torchvision_weights``: where torchvision's weights are, and the demo's networks.
- ``without_torch``: the same tensors, as plain arrays, where torch is missing.

Files: the rule that only ``mvc.fileio`` writes files ends here, because
``torch.save`` and ``safetensors`` open files themselves. So
nothing in this folder ever writes into a registry or a store: it makes the
files that a user would have made, and mvc reads them like any others.
"""
