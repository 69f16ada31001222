"""Networks that teach another one: it learns what they see in synthetic films.

dataset -> optimisation (teaching) -> fit

A ResNet-50 that starts from nothing knows what tells synthetic films apart; networks from ImageNet
know more. On the same image it imitates their logit, the evidence of each cell, and, through a
linear layer that is then thrown away, the features of each cell (Hinton et al. 2015, "Distilling
the knowledge in a neural network", arXiv 1503.02531; Romero et al. 2015, "FitNets", arXiv
1412.6550).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cosine_similarity

from training.networks.channels import resize
from training.networks.pneumonia import PneumoniaNet

SPREAD = 2.0  # standard deviation of the logit that is taught, over synthetic films
LOGIT, CELLS, FEATURES, LABEL = 1.0, 0.3, 1.0, 0.2  # weights in the loss
LARGEST = 4.0  # feature, in standard deviations
BATCH = 32


class Teacher(NamedTuple):
    """A trained network that teaches, and the side of its input in pixels."""

    network: PneumoniaNet
    size: int
    sha256: str = ""  # of its weights file


class Lesson(NamedTuple):
    """What teachers say of N images on the pupil's h x w cells.

    A cell has the mean of the teacher's cells that it touches. Where neither number of cells
    divides the other, these windows overlap, and the mean of ``cells`` is near the teachers' logit
    but not the same.
    """

    cells: Tensor  # (N, h, w), the mean of their evidence; the mean of it is taught as logit
    features: list[Tensor]  # of each teacher, (N, k, h, w), centred and of spread 1


class Teaching(nn.Module):
    """The loss of a pupil where it differs from its teachers.

    Its own weights are the linear layers that make a teacher's features of the pupil's.

    Parameters
    ----------
    teachers
        They see the pupil's channels, each at the size of its own input.
    pupil
        The network that learns.
    shown
        Channels (N, C, S, S) of images by which the teachers' logits and features are scaled.
    """

    def __init__(self, teachers: Sequence[Teacher], pupil: PneumoniaNet, shown: Tensor) -> None:
        super().__init__()
        self._teachers = [  # in a list, so that they are no parameters of this module
            own._replace(
                network=own.network.to(shown.device).eval().requires_grad_(requires_grad=False)
            )
            for own in teachers
        ]
        self.digests = [own.sha256 for own in teachers]
        features = pupil.backbone.fc.in_features
        self.layers = nn.ModuleList(
            nn.Conv2d(features, own.network.backbone.fc.in_features, kernel_size=1)
            for own in teachers
        ).to(shown.device)
        self._scales = [self._scale(own, shown) for own in self._teachers]

    def forward(self, maps: Tensor) -> list[Tensor]:
        """What each teacher's features would be by the pupil's maps (N, k, h, w)."""
        return [layer(maps) for layer in self.layers]

    @torch.no_grad()
    def lesson(self, channels: Tensor, cells: int) -> Lesson:
        """What the teachers say of channels (N, C, S, S) on ``cells`` x ``cells`` cells."""
        evidence, features = [], []
        for own, scale in zip(self._teachers, self._scales, strict=True):
            maps, said = _seen(own, channels)
            evidence.append(adaptive_avg_pool2d(said / scale.logit, cells))
            centred = (adaptive_avg_pool2d(maps, cells) - scale.mean) / scale.spread
            features.append(centred.clamp(-LARGEST, LARGEST))
        return Lesson(torch.stack(evidence).mean(dim=0) * SPREAD, features)

    @staticmethod
    def loss(lesson: Lesson, evidence: Tensor, guessed: Sequence[Tensor], own: Tensor) -> Tensor:
        """The loss of a batch.

        Parameters
        ----------
        lesson
            Of the batch's channels.
        evidence
            Of the pupil's cells, (N, h, w); its mean over the cells is the logit.
        guessed
            What :meth:`forward` made of the pupil's maps.
        own
            The loss by the images' labels and masks, a number.
        """
        wrong = (evidence - lesson.cells) / SPREAD
        alike = [
            cosine_similarity(guess.float(), taught, dim=1).mean()
            for guess, taught in zip(guessed, lesson.features, strict=True)
        ]
        return (
            LOGIT * wrong.mean(dim=(1, 2)).square().mean()
            + CELLS * wrong.square().mean() / (lesson.cells / SPREAD).var()
            + FEATURES * (1 - torch.stack(alike).mean())
            + LABEL * own
        )

    @staticmethod
    @torch.no_grad()
    def _scale(own: Teacher, shown: Tensor) -> "_Scale":
        seen = [_seen(own, batch) for batch in torch.split(shown, BATCH)]
        maps = torch.cat([maps for maps, _ in seen])
        logits = torch.cat([evidence.mean(dim=(1, 2)) for _, evidence in seen])
        each = (0, 2, 3)
        return _Scale(
            logits.std(), maps.mean(each, keepdim=True), maps.std(each, keepdim=True) + 1e-3
        )


class _Scale(NamedTuple):
    """Standard deviation of a teacher's logit, mean and standard deviation of its features."""

    logit: Tensor
    mean: Tensor
    spread: Tensor


def _seen(own: Teacher, channels: Tensor) -> tuple[Tensor, Tensor]:
    """A teacher's maps (N, k, h, w) and the evidence of its cells (N, h, w), bias included."""
    larger = resize(channels, own.size).contiguous(memory_format=torch.channels_last)
    maps = own.network.backbone.maps(larger).float()
    head = own.network.backbone.fc
    return maps, (maps * head.weight[0, :, None, None]).sum(dim=1) + head.bias
