"""The network: torchvision's ResNet-50, views of one radiograph in, one logit out.

generate -> curate -> dataset -> views -> [network] -> fit -> calibrate -> export

He et al. 2015, "Deep residual learning for image recognition" (arXiv 1512.03385). With global
average pooling and one linear layer the derivative of the logit with respect to feature map k is
w_k / (h*w) everywhere, so Grad-CAM (Selvaraju et al., arXiv 1610.02391) on the last convolutional
layer needs no gradient: it is relu(sum_k w_k A_k) / (h*w), part of the forward pass and hence of
the exported graph.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from training.views import look

STRIDE = 16  # pixels of the image to one cell of the heatmap and of the auxiliary lesion mask

ARCHITECTURES = {
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
}


class Outputs(NamedTuple):
    """What one forward pass yields, and what the exported graph returns under the same names."""

    logit: Tensor  # (N,)
    heatmap: Tensor  # (N, h, w), not negative, in units of the logit
    embedding: Tensor  # (N, features): pooled last feature maps, 2,048 for ResNet-50


class PneumoniaNet(nn.Module):
    """A ResNet for (N, 1, S, S) images in [0, 1].

    Layer 4 keeps the resolution of layer 3, so that a 128-pixel image has a heatmap of 8 x 8 cells
    instead of 4 x 4; the weights have the same shapes as torchvision's.

    Parameters
    ----------
    architecture
        ``"resnet50"`` (what ships) or ``"resnet18"`` (for ablations).
    mean, std
        Subtracted and divided inside the network, so that the exported graph takes plain [0, 1].
    views
        Its channels, see :func:`training.views.look`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, architecture: str, *, mean: float, std: float, views: Sequence[str] = ("grey",)
    ) -> None:
        super().__init__()
        backbone = ARCHITECTURES[architecture](weights=None, num_classes=1)
        first = backbone.conv1
        backbone.conv1 = nn.Conv2d(
            len(views),
            first.out_channels,
            first.kernel_size,
            first.stride,
            first.padding,
            bias=False,
        )
        nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        for layer in backbone.layer4.modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
        self.backbone = backbone
        self.views = tuple(views)
        self.mask_scale = nn.Parameter(torch.ones(()))
        self.mask_offset = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, image: Tensor) -> Outputs:
        """Logit, heatmap and embedding of (N, 1, S, S) images in [0, 1]."""
        return self._forward(look(image, self.views, self.mean, self.std))[0]

    def forward_with_mask(self, channels: Tensor) -> tuple[Outputs, Tensor]:
        """As :meth:`forward` of what ``look`` gives, and the lesion mask's logits for training.

        These (N, S / 16, S / 16) are the evidence of each cell, scaled and shifted: what teaches
        where the lesion lies teaches the heatmap itself.
        """
        outputs, evidence = self._forward(channels)
        return outputs, self.mask_scale * evidence + self.mask_offset

    def _forward(self, channels: Tensor) -> tuple[Outputs, Tensor]:
        """Also the evidence of each cell (N, h, w); its mean is the logit less the bias."""
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(channels))))
        maps = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        embedding = maps.mean(dim=(2, 3))
        evidence = torch.einsum("nkhw,k->nhw", maps, net.fc.weight[0])
        heatmap = torch.relu(evidence) / (maps.shape[2] * maps.shape[3])
        return Outputs(net.fc(embedding).squeeze(1), heatmap, embedding), evidence

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Start from torchvision's ImageNet weights (three channels, 1,000 classes).

        The three channels of the first convolution are added up and shared out among the views: on
        equal views that is the same response as on three equal channels. The classifier is left as
        initialised.
        """
        state = {name: value for name, value in weights.items() if not name.startswith("fc.")}
        whole = state["conv1.weight"].sum(dim=1, keepdim=True)
        state["conv1.weight"] = whole.repeat(1, len(self.views), 1, 1) / len(self.views)
        missing, unexpected = self.backbone.load_state_dict(state, strict=False)
        if unexpected or set(missing) != {"fc.weight", "fc.bias"}:
            raise ValueError(f"not weights of this architecture: {unexpected or missing}")
