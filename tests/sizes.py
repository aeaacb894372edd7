"""Bytes of a module, to compare plans with."""


def bytes_of(module, trained=None):
    """Of all parameters and buffers, or of the trained or the frozen parameters."""
    tensors = [p for p in module.parameters() if trained is None or p.requires_grad == trained]
    tensors += module.buffers() if trained is None else []
    return sum(t.numel() * t.element_size() for t in tensors)
