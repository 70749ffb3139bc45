"""Where in a picture the evidence for a class lies, by gradients through the whole network. Needs torch.

This is for networks whose logits are not linear in their map; `tl_core.serving.heatmaps` reads the evidence of the others off the
bundle. It is an approximation: a gradient says what a small change would do.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tl_core.errors import ModelError
from tl_core.models.build import Backbone

FINEST = 16
"""Side of a position, pixels, as of the patches of most vision transformers. On finer ones, gradients change their sign with the texture."""


def class_evidence(backbone: Backbone, pixels: NDArray[np.uint8], classes: Sequence[int]) -> NDArray[np.float32]:
    """How much each position of the picture `pixels` uint8 (S, S, 3) speaks for each of `classes` (indices): float32 (M, h, w).

    `backbone` is in eval mode, with a head, on the CPU. Below 0, a position speaks against the class. A class is compared with the mean
    of all classes, since only differences of logits change the probabilities. It is the gradient times the activation, summed over the
    channels: of the last stage's output (HiResCAM, arXiv 2011.08891, which is Grad-CAM, arXiv 1610.02391, where the gradient is the same at
    each position), and in networks of attention that mixes the places (vision transformers, Swin, MaxViT), of the first stage's output,
    while attention and the norms' divisors are held constant (conservative propagation, arXiv 2202.07304). Where its positions are finer
    than `FINEST` pixels, they are averaged over squares of about that size.

    Raises:
        ModelError: the features have one position only.
    """
    layout = backbone.network.layout
    cut = 1 if layout.mixes_places else len(backbone.stages)
    images = backbone.normalise(torch.tensor(pixels)[None])
    with torch.no_grad():
        features = backbone.spatial(images) if cut == len(backbone.stages) else backbone.prefix(cut)(images)
    if backbone.map(features).shape[2:] == (1, 1):
        raise ModelError(
            f"The features of {backbone.network.name} that Graft can reach have one position, so they say nothing about places."
        )
    features = features.detach().requires_grad_()
    with torch.enable_grad(), _constant_attention():
        logits = _after(backbone, cut, features)[0]
        targets = [logits[index] - logits.mean() for index in classes]
        gradients = [torch.autograd.grad(target, features, retain_graph=True)[0] for target in targets]
    read = torch.cat([gradient * features.detach() for gradient in gradients])
    positions = backbone.map(read).sum(1)
    if layout.mixes_places:
        finer = max(1, FINEST * positions.shape[-1] // len(pixels))
        positions = functional.adaptive_avg_pool2d(positions, positions.shape[-1] // finer)
    evidence: NDArray[np.float32] = positions.numpy()
    return evidence


def _after(backbone: Backbone, cut: int, features: Tensor) -> Tensor:
    """The logits (1, C) from the output `given` of stage number `cut`, counted from 1."""
    if cut < len(backbone.stages):
        return cast(Tensor, backbone.suffix(cut)(features))
    head = backbone.module.get_submodule(backbone.network.head)
    return cast(Tensor, head(backbone.pool(features)))


@contextmanager
def _constant_attention() -> Iterator[None]:
    """Meanwhile no gradient flows through the weights of attention, nor through what layer norm divides by.

    torchvision and timm leave both to these functions of torch.
    """
    softmax = functional.softmax

    def weigh(*arguments: Any, **options: Any) -> Tensor:
        return softmax(*arguments, **options).detach()

    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        scale = options.get("scale") or query.shape[-1] ** -0.5
        scores = query @ key.transpose(-2, -1) * scale
        weights = (scores if attn_mask is None else scores + attn_mask).softmax(-1)
        return cast(Tensor, weights.detach() @ value)

    def normed(
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        over = tuple(range(-len(normalized_shape), 0))
        centred = input - input.mean(over, keepdim=True)
        scaled = centred / (centred.square().mean(over, keepdim=True) + eps).sqrt().detach()
        scaled = scaled if weight is None else scaled * weight
        return scaled if bias is None else scaled + bias

    constant = {"scaled_dot_product_attention": attend, "softmax": weigh, "layer_norm": normed}
    former = {name: getattr(functional, name) for name in constant}
    vars(functional).update(constant)
    try:
        yield
    finally:
        vars(functional).update(former)
