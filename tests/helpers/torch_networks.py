"""Networks as torch modules, written from their papers, to compare graphs with.

The names of parameters are those of the files of each family.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAKY = 0.2


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class DenseBlock(nn.Module):
    def __init__(self, nf: int, gc: int) -> None:
        super().__init__()
        for k in range(1, 6):
            setattr(self, f"conv{k}", conv(nf + (k - 1) * gc, gc if k < 5 else nf))

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for k in range(1, 5):
            layer = getattr(self, f"conv{k}")
            made.append(F.leaky_relu(layer(torch.cat(made, 1)), LEAKY))
        return x + 0.2 * self.conv5(torch.cat(made, 1))


class RRDB(nn.Module):
    def __init__(self, nf: int, gc: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(nf, gc) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """Names of Real-ESRGAN; ``shuffle`` unshuffles the input first."""

    def __init__(self, nf: int, nb: int, gc: int, doublings: int, shuffle: int = 1) -> None:
        super().__init__()
        self.doublings, self.shuffle = doublings, shuffle
        self.conv_first = conv(3 * shuffle**2, nf)
        self.body = nn.Sequential(*(RRDB(nf, gc) for _ in range(nb)))
        self.conv_body = conv(nf, nf)
        for k in range(1, doublings + 1):
            setattr(self, f"conv_up{k}", conv(nf, nf))
        self.conv_hr = conv(nf, nf)
        self.conv_last = conv(nf, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(F.pixel_unshuffle(x, self.shuffle) if self.shuffle > 1 else x)
        x = x + self.conv_body(self.body(x))
        for k in range(1, self.doublings + 1):
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = F.leaky_relu(getattr(self, f"conv_up{k}")(x), LEAKY)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), LEAKY))

    def first_names(self) -> dict[str, Tensor]:
        """The state under the names of the first ESRGAN: numbers in a sequence of modules."""
        ups, nb = self.doublings, len(self.body)
        layers = {
            "conv_first": "model.0",
            "conv_body": f"model.1.sub.{nb}",
            **{f"conv_up{k}": f"model.{3 * k}" for k in range(1, ups + 1)},
            "conv_hr": f"model.{3 * ups + 2}",
            "conv_last": f"model.{3 * ups + 4}",
        }
        made = {}
        for name, tensor in self.state_dict().items():
            layer, kind = name.rsplit(".", 1)
            if layer.startswith("body."):
                _, block, rdb, layer = layer.split(".")
                made[f"model.1.sub.{block}.{rdb.upper()}.{layer}.0.{kind}"] = tensor
            else:
                made[f"{layers[layer]}.{kind}"] = tensor
        return made

    def middle_names(self) -> dict[str, Tensor]:
        """The state under the names of BSRGAN and RealSR."""
        layers = {
            "conv_body": "trunk_conv",
            "conv_hr": "HRconv",
            **{f"conv_up{k}": f"upconv{k}" for k in range(1, self.doublings + 1)},
        }
        made = {}
        for name, tensor in self.state_dict().items():
            layer, kind = name.rsplit(".", 1)
            layer = layer.replace("body.", "RRDB_trunk.").replace(".rdb", ".RDB")
            made[f"{layers.get(layer, layer)}.{kind}"] = tensor
        return made


class Compact(nn.Module):
    def __init__(self, nf: int, layers: int, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.ModuleList([conv(channels, nf), nn.PReLU(nf)])
        for _ in range(layers):
            self.body += [conv(nf, nf), nn.PReLU(nf)]
        self.body.append(conv(nf, channels * scale**2))
        for layer in self.body:
            if isinstance(layer, nn.PReLU):
                nn.init.uniform_(layer.weight, -0.3, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        value = x
        for layer in self.body:
            value = layer(value)
        near = x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return F.pixel_shuffle(value, self.scale) + near


class Adaptive(nn.Module):
    """The architecture of `waifu2x.network.architectures.adaptive`."""

    def __init__(
        self, nf: int, layers: int, inner: int = 2, *, scale: int = 2, channels: int = 3
    ) -> None:
        super().__init__()
        self.scale = scale
        self.body = Compact(nf, layers, scale, channels).body
        self.estimator = nn.ModuleList()
        for layer in range(inner):
            self.estimator += [nn.Conv2d(3 if layer else channels, 3, 3), nn.PReLU(3)]
        self.estimator.append(nn.Conv2d(3, 4, 1))
        self.code = nn.Conv2d(4, 5, 1)
        self.gates = nn.ModuleList(nn.Conv2d(5, nf, 1) for _ in range(layers + 1))

    def forward(self, x: Tensor) -> Tensor:
        evidence = x
        for layer in self.estimator:
            evidence = layer(evidence)
        code = torch.sigmoid(self.code(evidence.mean((2, 3), keepdim=True)))
        value = x
        for index, gate in enumerate(self.gates):
            value = self.body[2 * index + 1](self.body[2 * index](value))
            value = value * torch.sigmoid(gate(code))
        near = x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return F.pixel_shuffle(self.body[-1](value), self.scale) + near


class TripleConv(nn.Module):
    """1x1, 3x3 and 1x1 next to a 1x1, all linear, as SPAN trains a convolution.

    The zeros of the padding are put in front of the folded convolution.
    """

    def __init__(self, inputs: int, outputs: int, gain: int = 2) -> None:
        super().__init__()
        self.sk = nn.Conv2d(inputs, outputs, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, inputs * gain, 1),
            nn.Conv2d(inputs * gain, outputs * gain, 3),
            nn.Conv2d(outputs * gain, outputs, 1),
        )
        self.eval_conv = conv(inputs, outputs)

    def fold(self) -> None:
        """Set ``eval_conv`` to the folded convolution, found by its responses to impulses."""
        inputs = self.sk.in_channels
        with torch.no_grad():
            zeros = torch.zeros(1, inputs, 5, 5, dtype=self.sk.weight.dtype)
            bias = (self.conv(zeros) + self.sk(zeros[..., 1:-1, 1:-1]))[0, :, 1, 1]
            for channel in range(inputs):
                impulse = zeros.clone()
                impulse[0, channel, 2, 2] = 1
                response = self.conv(impulse) + self.sk(impulse[..., 1:-1, 1:-1])
                self.eval_conv.weight[:, channel] = (response[0] - bias[:, None, None]).flip(1, 2)
            self.eval_conv.bias[:] = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.eval_conv(x)


class SpanBlock(nn.Module):
    def __init__(self, nf: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (TripleConv(nf, nf) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = F.silu(self.c1_r(x))
        third = self.c3_r(F.silu(self.c2_r(first)))
        return (third + x) * (torch.sigmoid(third) - 0.5), first


class Span(nn.Module):
    def __init__(self, nf: int, scale: int, normalize: bool = True) -> None:
        super().__init__()
        self.scale, self.normalize = scale, normalize
        self.conv_1 = TripleConv(3, nf)
        for k in range(1, 7):
            setattr(self, f"block_{k}", SpanBlock(nf))
        self.conv_cat = nn.Conv2d(4 * nf, nf, 1)
        self.conv_2 = TripleConv(nf, nf)
        self.upsampler = nn.Sequential(conv(nf, 3 * scale**2), nn.PixelShuffle(scale))

    def fold(self) -> None:
        for module in self.modules():
            if isinstance(module, TripleConv):
                module.fold()

    def forward(self, x: Tensor) -> Tensor:
        if self.normalize:
            mean = torch.tensor([0.4488, 0.4371, 0.4040], dtype=x.dtype).view(1, 3, 1, 1)
            x = (x - mean) * 255
        first = value = self.conv_1(x)
        made = []
        for k in range(1, 7):
            value, inner = getattr(self, f"block_{k}")(value)
            made.append(value)
        value = torch.cat([first, self.conv_2(value), made[0], inner], 1)
        return self.upsampler(self.conv_cat(value))


class GatedBlock(nn.Module):
    def __init__(self, nf: int, layers: int, gate: bool, slopes: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(nf, nf) for _ in range(layers))
        self.slopes = nn.ModuleList(nn.PReLU(nf) for _ in range(layers if slopes else 0))
        self.gate = conv(nf, nf, 1) if gate else None

    def forward(self, x: Tensor) -> Tensor:
        made = x
        for k, layer in enumerate(self.layers):
            made = self.slopes[k](layer(made)) if self.slopes else F.relu(layer(made))
        return x + (made if self.gate is None else made * torch.tanh(self.gate(made)))


class Gated(nn.Module):
    """The architecture of `waifu2x.network.architectures.gated`."""

    def __init__(
        self,
        nf: int,
        nb: int,
        layers: int = 3,
        *,
        gate: bool = True,
        join: bool = True,
        slopes: bool = False,
        scale: int = 2,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = conv(4 * channels, nf)
        if slopes:
            self.head.slopes = nn.PReLU(nf)
        self.blocks = nn.ModuleList(GatedBlock(nf, layers, gate, slopes) for _ in range(nb))
        self.join = conv(4 * nf, nf, 1) if join else None
        self.tail = conv(nf, channels * (2 * scale) ** 2)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.head(F.pixel_unshuffle(picture, 2))
        made = [self.head.slopes(x) if hasattr(self.head, "slopes") else F.relu(x)]
        for block in self.blocks:
            made.append(block(made[-1]))
        x = made[-1]
        if self.join is not None:
            x = self.join(torch.cat([made[0], made[1], made[len(made) // 2], made[-1]], 1))
        base = picture.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return base + F.pixel_shuffle(self.tail(x), 2 * self.scale)


class UNet(nn.Module):
    """The architecture of `waifu2x.network.architectures.unet`."""

    def __init__(
        self, outer: int, nf: int, nb: int, layers: int, *, scale: int = 2, channels: int = 3
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head, self.before = conv(channels, outer), conv(outer, outer)
        self.down = nn.Conv2d(outer, nf, 2, 2)
        self.blocks = nn.ModuleList(
            nn.ModuleList(conv(nf, nf) for _ in range(layers)) for _ in range(nb)
        )
        self.up = nn.ConvTranspose2d(nf, outer, 2, 2)
        self.after, self.tail = conv(outer, outer), conv(outer, channels * scale**2)

    def forward(self, picture: Tensor) -> Tensor:
        outer = lrelu(self.before(lrelu(self.head(picture))))
        x = lrelu(self.down(outer))
        for block in self.blocks:
            made = x
            for layer in block:
                made = lrelu(layer(made))
            x = x + made
        x = self.tail(lrelu(self.after(outer + lrelu(self.up(x)))))
        base = picture.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return base + F.pixel_shuffle(x, self.scale)


def lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def crop(x: Tensor, margin: int) -> Tensor:
    return x[..., margin:-margin, margin:-margin]


class Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 8, 1)
        self.conv2 = nn.Conv2d(channels // 8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.conv2(F.relu(self.conv1(mean))))


class TwoConvs(nn.Module):
    def __init__(self, inputs: int, middle: int, outputs: int, gate: bool = True) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, middle, 3),
            nn.LeakyReLU(0.1),
            nn.Conv2d(middle, outputs, 3),
            nn.LeakyReLU(0.1),
        )
        self.seblock = Gate(outputs) if gate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.seblock(self.conv(x))


class FirstUNet(nn.Module):
    def __init__(self, inputs: int, outputs: int, scale: int, c: int) -> None:
        super().__init__()
        self.conv1 = TwoConvs(inputs, c, c, gate=False)
        self.conv1_down = nn.Conv2d(c, c, 2, 2)
        self.conv2 = TwoConvs(c, 2 * c, c)
        self.conv2_up = nn.ConvTranspose2d(c, c, 2, 2)
        self.conv3 = nn.Conv2d(c, c, 3)
        self.conv_bottom = {
            1: lambda: nn.Conv2d(c, outputs, 3),
            2: lambda: nn.ConvTranspose2d(c, outputs, 4, 2, 3),
            3: lambda: nn.ConvTranspose2d(c, outputs, 5, 3, 2),
        }[scale]()

    def forward(self, x: Tensor) -> Tensor:
        outer = self.conv1(x)
        inner = lrelu(self.conv2_up(self.conv2(lrelu(self.conv1_down(outer)))))
        return self.conv_bottom(lrelu(self.conv3(crop(outer, 4) + inner)))


class SecondUNet(nn.Module):
    def __init__(self, inputs: int, outputs: int, c: int) -> None:
        super().__init__()
        self.conv1 = TwoConvs(inputs, c, c, gate=False)
        self.conv1_down = nn.Conv2d(c, c, 2, 2)
        self.conv2 = TwoConvs(c, c, 2 * c)
        self.conv2_down = nn.Conv2d(2 * c, 2 * c, 2, 2)
        self.conv3 = TwoConvs(2 * c, 3 * c, 2 * c)
        self.conv3_up = nn.ConvTranspose2d(2 * c, 2 * c, 2, 2)
        self.conv4 = TwoConvs(2 * c, c, c)
        self.conv4_up = nn.ConvTranspose2d(c, c, 2, 2)
        self.conv5 = nn.Conv2d(c, c, 3)
        self.conv_bottom = nn.Conv2d(c, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        outer = self.conv1(x)
        middle = self.conv2(lrelu(self.conv1_down(outer)))
        inner = lrelu(self.conv3_up(self.conv3(lrelu(self.conv2_down(middle)))))
        inner = lrelu(self.conv4_up(self.conv4(crop(middle, 4) + inner)))
        return self.conv_bottom(lrelu(self.conv5(crop(outer, 16) + inner)))


class CUNet(nn.Module):
    """waifu2x cunet (1 and 2) and Real-CUGAN 2x and 3x, without padding of the picture."""

    def __init__(self, scale: int, c: int = 8, pro: bool = False) -> None:
        super().__init__()
        self.is_pro = pro
        self.unet1 = FirstUNet(3, 3, scale, c)
        self.unet2 = SecondUNet(3, 3, c)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 0.7 + 0.15 if self.is_pro else x
        first = self.unet1(x)
        x = crop(first, 20) + self.unet2(first)
        return (x - 0.15) / 0.7 if self.is_pro else x


class Cugan4x(nn.Module):
    """Real-CUGAN 4x, and with ``fast`` the 2x network on an unshuffled picture."""

    def __init__(self, c: int = 8, pro: bool = False, fast: bool = False) -> None:
        super().__init__()
        self.is_pro, self.fast = pro, fast
        self.unet1 = FirstUNet(12 if fast else 3, c, 2, c)
        self.unet2 = SecondUNet(c, c, c)
        self.conv_final = nn.Conv2d(c, 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 0.7 + 0.15 if self.is_pro else x
        first = self.unet1(F.pixel_unshuffle(x, 2) if self.fast else x)
        made = crop(self.conv_final(crop(first, 20) + self.unet2(first)), 1)
        scale = 2 if self.fast else 4
        near = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        made = F.pixel_shuffle(made, 2) + crop(near, 76)
        return (made - 0.15) / 0.7 if self.is_pro else made


class Stack(nn.Module):
    """vgg_7 and upconv_7 with the names of nunif, with any widths."""

    def __init__(self, *widths: int, transposed: bool = False, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3), nn.LeakyReLU(0.1)]
        layers.append(
            nn.ConvTranspose2d(widths[-1], channels, 4, 2, 3)
            if transposed
            else nn.Conv2d(widths[-1], channels, 3)
        )
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
