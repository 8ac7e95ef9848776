"""What holds for any network for images is tested with the others, in ``test_backbones.py``."""

import torch
from torch import nn

from skdmlpl.backbones import small_convnet


def test_it_sends_no_gradients_through_its_fixed_filters():
    """Their output has the most positions of all: one weight to learn there would cost 9 % of the time."""
    needs_gradient = []
    network = small_convnet((3, 32, 32))
    for layer in network.network:
        layer.register_forward_hook(lambda _layer, _inputs, output: needs_gradient.append(output.requires_grad))
    network(torch.rand(2, 3, 32, 32))
    assert needs_gradient[:2] == [False, False]  # filters and activation
    assert all(needs_gradient[2:])


def test_it_learns():
    """Which quarter of the image is bright: beyond a mean over positions, so the convolutions must learn."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 4
    images = torch.rand(64, 1, 8, 8, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 * (label // 2) :][:4, 4 * (label % 2) :][:, :4] += 1
    network = small_convnet((1, 8, 8))
    network.adapt([images])
    classifier = nn.Sequential(network, nn.Linear(128, 4))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3)
    for _ in range(15):
        loss = nn.functional.cross_entropy(classifier(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (classifier.eval()(images).argmax(1) == labels).float().mean() > 0.95
