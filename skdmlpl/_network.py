"""Networks that embed and classify: a backbone with a classification head, and several of them together."""

import copy
import inspect
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdmlpl._rows import Rows
from skdmlpl.interfaces import BackboneFactory

__all__ = ["Committee", "EmbeddingNetwork", "build_committee", "build_network"]

# Rows that the scale of the features is learned from.
_N_SAMPLE = 256


class EmbeddingNetwork(nn.Module):
    """``backbone`` and a linear classifier on its features.

    The embedding is the direction of the features, which is what the metric loss and the neighbour search compare. The
    classifier sees the features themselves: with few labels it is weight decay that keeps it from overfitting, and on
    directions weight decay has no effect. So that any backbone learns at the same rate, :meth:`adapt` shifts and scales
    its features, once, to mean zero and mean length one.

    With ``mirror``, an image is seen from both sides outside of training, and the features are the mean of the two.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, backbone: nn.Module, embedding_dim: int, n_classes: int, *, mirror: bool = False) -> None:
        super().__init__()
        self.mirror = mirror
        self.backbone = backbone
        self.head = nn.Linear(embedding_dim, n_classes)
        self.register_buffer("center", torch.zeros(embedding_dim))
        self.register_buffer("scale", torch.ones(()))

    @property
    def input_dtype(self) -> torch.dtype:
        """Dtype the backbone wants its rows in."""
        return getattr(self.backbone, "input_dtype", torch.float32)

    @property
    def embedding_dim(self) -> int:
        """Length of the embeddings."""
        return self.head.in_features

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the rows are wanted."""
        return self.head.weight.device

    @property
    def compares_rows(self) -> bool:
        """Whether neighbours are looked for by more than what was learned."""
        return hasattr(self.backbone, "neighbor_features")

    @property
    def learns_of_labels(self) -> bool:
        """Whether the backbone has something to learn of labels before it is trained."""
        return hasattr(self.backbone, "adapt_to_labels")

    @property
    def members(self) -> Sequence["EmbeddingNetwork"]:
        """The networks this one consists of: itself alone."""
        return (self,)

    @torch.no_grad()
    def adapt(self, rows: Rows, index: np.ndarray | None = None, y: np.ndarray | None = None) -> None:
        """Show rows once to a backbone that learns statistics of its input, and learn those of its output.

        All rows, or those of ``index`` (n,); and then those that have a label in ``y`` (n_samples,), if that is given.
        """
        if hasattr(self.backbone, "adapt"):
            self.backbone.adapt(rows.batches(index=index))
        if y is not None and self.learns_of_labels:
            self.adapt_to_labels(rows, y)
        n_rows = len(rows) if index is None else len(index)
        picked = np.linspace(0, n_rows - 1, min(_N_SAMPLE, n_rows), dtype=np.int64)
        sample = rows[picked if index is None else index[picked]]
        # As training will see them: new batch norms have no statistics of their own yet, and what they let through may
        # be a thousandth of what they make of a batch. On a copy, as looking would change them.
        backbone = copy.deepcopy(self.backbone).train()  # which leaves frozen norms as they are, where it says so
        for module in backbone.modules():
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        features = backbone(sample).to(self.center.dtype)
        self.center.copy_(features.mean(dim=0))
        length = (features - self.center).norm(dim=1).mean()
        # Features that do not vary but for rounding, say of a single row, have no scale to learn.
        if length > 1e-5 * features.norm(dim=1).mean() and length.isfinite():
            self.scale.copy_(1 / length)

    def adapt_to_labels(self, rows: Rows, y: np.ndarray) -> None:
        """Show a backbone that learns of labels those rows that have one in ``y`` (n_samples,): class indices or -1."""
        self.backbone.adapt_to_labels(rows.labeled_batches(y), self.head.out_features)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit-length embeddings (b, d) and logits (b, n_classes) of a batch (b, *input_shape)."""
        features = self._features(batch)
        return F.normalize(features), self.head(features)

    def compare(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return what neighbours are looked for by (b, d), of unit length, and logits (b, n_classes) of a batch.

        Of a backbone with a method ``neighbor_features``, that is what it makes of the features and the rows.
        """
        compared = features = self._features(batch)
        if self.compares_rows:
            compared = self.backbone.neighbor_features(features, batch)
        return F.normalize(compared), self.head(features)

    def _features(self, batch: Tensor) -> Tensor:
        with mixed_precision(batch, self.training):
            features = self.backbone(batch.clone())  # it may write to it, and others see the batch as well
            if self.mirror and not self.training:
                features = (features + self.backbone(batch.flip(-1))) / 2
        return (features.to(self.head.weight.dtype) - self.center) * self.scale


class Committee(nn.Module):
    """Networks of one kind that have learned apart, and speak with one voice.

    The embedding is theirs side by side, so that cosines are the means of their cosines; logits are the means of
    theirs.
    """

    def __init__(self, members: Iterable[EmbeddingNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def input_dtype(self) -> torch.dtype:
        """Dtype the members want their rows in."""
        return self.members[0].input_dtype

    @property
    def embedding_dim(self) -> int:
        """Length of the embeddings."""
        return sum(member.embedding_dim for member in self.members)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the rows are wanted."""
        return self.members[0].device

    def adapt(self, rows: Rows, index: np.ndarray | None = None, y: np.ndarray | None = None) -> None:
        """Have each member learn the statistics of its input and of its output."""
        for member in self.members:
            member.adapt(rows, index, y)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit-length embeddings (b, d) and logits (b, n_classes) of a batch (b, *input_shape)."""
        return _joined([member(batch) for member in self.members])

    def compare(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return what neighbours are looked for by (b, d), of unit length, and logits (b, n_classes) of a batch."""
        return _joined([member.compare(batch) for member in self.members])


def _joined(outputs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Put unit vectors side by side, scaled to a unit vector again, and take the mean of the logits."""
    units, logits = zip(*outputs, strict=True)
    return torch.cat(units, dim=1) / len(units) ** 0.5, torch.stack(logits).mean(dim=0)


def mixed_precision(batch: Tensor, training: bool) -> AbstractContextManager:
    """Return the context in which a backbone sees ``batch``: bfloat16 for images on a device that computes in it.

    The device alone decides. Weights, head and losses stay in float32, and bfloat16 has the range of float32, so no
    loss has to be scaled. Tables stay in float32 altogether: they gain little time and lose digits. A CPU trains in
    bfloat16, nearly twice as fast, and predicts in float32: what it says of an image is then not a matter of the images
    that come with it, as each size of a batch is rounded differently.
    """
    if batch.ndim == 4 and batch.is_cuda and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    if batch.ndim == 4 and batch.is_cpu and training and _cpu_computes_in_bfloat16():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


@cache
def _cpu_computes_in_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16: elsewhere it is emulated, and slower than float32."""
    # Older releases of torch do not tell.
    able = getattr(torch.cpu, "get_capabilities", dict)()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def build_network(
    backbone: nn.Module | BackboneFactory, example: Tensor, n_classes: int, *, mirror: bool = False
) -> EmbeddingNetwork:
    """Build the network around a backbone or a factory of one; find the embedding's width by a dry forward.

    Parameters
    ----------
    backbone : Module or callable
        A module, which is copied, or a factory, which is called with ``example.shape[1:]``.
    example : Tensor of shape (b, *input_shape)
        A few training rows.
    n_classes : int
        Number of classes.
    mirror : bool, default=False
        Whether to predict images from both sides, see :class:`EmbeddingNetwork`.

    Raises
    ------
    TypeError
        If the factory returns something other than a module, the module something other than a tensor, or its
        ``input_dtype`` is no floating dtype.
    ValueError
        If the backbone refuses the device or the rows, or its output is not (b, d).
    """
    input_shape = tuple(example.shape[1:])
    # The one place that asks what a part is: a module and a factory are both callable, with different arguments.
    try:
        module = copy.deepcopy(backbone) if isinstance(backbone, nn.Module) else _make(backbone, input_shape)
    except Exception as error:
        name = getattr(backbone, "__name__", type(backbone).__name__)
        hint = ", of which an instance may be meant," if isinstance(backbone, type) else ""
        if getattr(backbone, "__module__", "").startswith("torchvision."):
            hint = ", which skdmlpl.backbones.torchvision_backbone makes one of,"
        raise ValueError(
            "The 'backbone' parameter of DMLPseudoLabelClassifier must be a torch.nn.Module that can be copied, or a "
            f"callable that makes one for rows of shape {input_shape}, its only argument. {name}{hint} failed with "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise TypeError(
            "The 'backbone' parameter of DMLPseudoLabelClassifier must be a torch.nn.Module or a callable that "
            f"returns one. Got {type(module).__name__} from the callable instead."
        )
    try:
        module.to(example.device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"The 'device' parameter of DMLPseudoLabelClassifier must be a device that can hold the network. "
            f"{type(module).__name__} cannot be moved to {str(example.device)!r}: {error} On 'cpu' it can."
        ) from error
    needs = f"must map rows of shape {input_shape} to vectors: (batch, *{input_shape}) to (batch, d)"
    dtype = getattr(module, "input_dtype", torch.float32)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(
            "The 'backbone' parameter of DMLPseudoLabelClassifier must have a floating torch.dtype as its input_dtype, "
            f"if it has one. Got {dtype!r} instead."
        )
    try:
        with torch.no_grad():
            output = module.eval()(example.to(dtype, copy=True))
    except Exception as error:
        raise ValueError(
            f"The 'backbone' parameter of DMLPseudoLabelClassifier {needs}. A batch of shape {tuple(example.shape)} "
            f"and dtype {dtype} made it fail with {type(error).__name__}: {error} (Rows come in the dtype that a "
            "backbone names as its input_dtype, in float32 without one.)"
        ) from error
    if not isinstance(output, Tensor):
        raise TypeError(
            f"The 'backbone' parameter of DMLPseudoLabelClassifier {needs}. Got {type(output).__name__} instead."
        )
    if output.ndim != 2 or output.shape[0] != example.shape[0] or output.shape[1] == 0:
        raise ValueError(
            f"The 'backbone' parameter of DMLPseudoLabelClassifier {needs}. Got {tuple(output.shape)} for a batch of "
            f"shape {tuple(example.shape)} instead."
        )
    return EmbeddingNetwork(module, output.shape[1], n_classes, mirror=mirror).to(example.device)


def _make(factory: BackboneFactory, input_shape: tuple[int, ...]) -> nn.Module:
    """Call the factory, if its signature says that it takes a shape.

    Those of torchvision take none, but until a later release a first argument for their ``weights``, which they fetch.
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some that are written in C have none
        return factory(input_shape)
    signature.bind(input_shape)
    return factory(input_shape)


def build_committee(
    backbone: nn.Module | BackboneFactory, example: Tensor, n_classes: int, *, n_networks: int, mirror: bool = False
) -> EmbeddingNetwork | Committee:
    """Build ``n_networks`` networks; one alone needs no committee. See :func:`build_network` for the rest."""
    members = [build_network(backbone, example, n_classes, mirror=mirror) for _ in range(n_networks)]
    return members[0] if n_networks == 1 else Committee(members)
