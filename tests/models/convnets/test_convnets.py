"""The nets against what is published of them: names, shapes, parameters, costs, receptive fields."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from elman.errors import MisuseError
from elman.models.convnets import NETS, build, describe, replace_head

# of torchvision 0.29 (state_dict of every builder, weights' meta data): tensors, parameters, SHA-256 over the lines
# "name (shape)\n" in order, billions of multiply-adds
TORCHVISION = {
    "alexnet": (16, 61100840, "214045a0c08ffc98ff336e7ee348039c2e2bb93a04b93a56d14e322a2b59928c", 0.714),
    "vgg11": (22, 132863336, "a4a2a4a84e73de05a2fb6869320ae9b0cf602896d293acd8b57cd2308d58be35", 7.609),
    "vgg11_bn": (62, 132868840, "6aaf84aad41592008d4af2f8726fff3e95c8c06bf4825c90118141f2651c1c2a", 7.609),
    "vgg13": (26, 133047848, "9dc9518e7646fe4778181141fb0e3c16f32dcad7ba283a6c8db174b621fac5b6", 11.308),
    "vgg13_bn": (76, 133053736, "9a11dd9903f0e3cfa83dfcb7057e3d4cfa99569d5b9018abf1b21e90fea3202b", 11.308),
    "vgg16": (32, 138357544, "6f36a6fd49b61819fe3429a1d054b4aed43d5607734cb122547b4e09a5b717a1", 15.47),
    "vgg16_bn": (97, 138365992, "5f99e428d932f79ed2b9c1492f12f180bc654131af090a5c4bcd3592856dd598", 15.47),
    "vgg19": (38, 143667240, "e05a894c9ad1325173cf05b938c67b446817c3a103b60ef3617e85b7a06d9026", 19.632),
    "vgg19_bn": (118, 143678248, "4c042cc97e1d63422f746ba819e60c19185d3862e4378979fb623536a4faf334", 19.632),
    "googlenet": (364, 13004888, "e2cf6c5ea7661faddd21ef8021b3150a0ce368e1d2a952fdeba8db9444c62064", 1.498),
    "resnet18": (122, 11689512, "761022b221a39ceb0afbf6540088f2c88938ca83e3adf823383af010f42a10c3", 1.814),
    "resnet34": (218, 21797672, "1a060acae7a42530781fa7013ea03dae3b11715076d9e3c04fdb6c70ddceb544", 3.664),
    "resnet50": (320, 25557032, "3fa57287149b51c43a043a424dcd918aaa5a894c977b50e35a9154f41f9c8fd0", 4.089),
    "resnet101": (626, 44549160, "0e9191dd134cb07d7d14b0502545020b49f200c87fa62369fd7a6c70ca9c2aef", 7.801),
    "resnet152": (932, 60192808, "47360b6062c7afaa4637676cdcf1afde20d68c0eedec75d9aaa7b530641441fe", 11.514),
    "squeezenet1_0": (52, 1248424, "dc8fa2e3e593554cce0c69cce2b86d49f4f61263adfec5397fd1f42cfd7a6ca6", 0.819),
    "squeezenet1_1": (52, 1235496, "9879b1f214fa02449e826cba2451198b8346abcf7972d5e8a9a3bbd8e2745498", 0.349),
}
# of nets that torchvision lacks: published counts (osmr/imgclsmob), those for little images and 10 classes by hand
_SMALL = 9 * (3 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 128 * 10 + 10
_WIDTHS = 16 + 2 * (32 + 64 + 128)
OTHERS = {
    "small": _SMALL + _WIDTHS,
    "small_bn": _SMALL + 2 * _WIDTHS,
    "net": (3 * 6 * 25 + 6) + (6 * 16 * 25 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10),
    "alexnet_2012": 62378344,
    "zfnet": 62357608,
}


def options_of(name: str) -> dict[str, bool]:
    return {"auxiliary": True} if name == "googlenet" else {}


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_and_shapes_are_those_published(name: str) -> None:
    tensors, parameters, digest, billions = TORCHVISION[name]
    net = build(name, device="meta", **options_of(name))
    state = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    assert len(state) == tensors
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    lines = "".join(f"{key} {shape}\n" for key, shape in state.items())
    assert hashlib.sha256(lines.encode()).hexdigest() == digest, lines[:500]
    description = describe(net)
    assert description.parameters == parameters
    assert description.multiply_adds / 1e9 == pytest.approx(billions, abs=6e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_parameters_of_the_nets_that_torchvision_lacks(name: str) -> None:
    net = build(name, 10 if name in ("net", "small", "small_bn") else 1000, device="meta")
    assert sum(parameter.numel() for parameter in net.parameters()) == OTHERS[name]


def test_the_table_is_covered() -> None:
    assert TORCHVISION.keys() | OTHERS.keys() == NETS.keys()


def test_googlenet_without_its_auxiliary_classifiers() -> None:
    assert sum(p.numel() for p in build("googlenet", device="meta").parameters()) == 6_624_904


def test_alexnet_has_the_shapes_of_the_lecture() -> None:
    """The slide's table, input 227x227x3 to fc8."""
    layers = {layer.name: layer.shape for layer in describe(build("alexnet_2012", device="meta")).layers}
    assert [layers[f"features.{n}"] for n in (0, 2, 3, 4, 6, 7, 8, 10, 12, 14)] == [
        *((96, 55, 55), (96, 27, 27), (96, 27, 27), (256, 27, 27), (256, 13, 13), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
    ]
    assert [layers[f"classifier.{n}"] for n in (1, 4, 6)] == [(4096,), (4096,), (1000,)]


def test_local_response_norm_is_that_of_the_paper() -> None:
    net = build("alexnet_2012", device="meta")
    norm = net.get_submodule("features.3")
    x = torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 30
    # b_i = a_i / (k + alpha sum_{j = i - n/2}^{i + n/2} a_j^2)^beta, Krizhevsky et al. 2012, section 3.3
    sums = torch.stack([(x[:, max(0, i - 2) : i + 3] ** 2).sum(1) for i in range(7)], 1)
    torch.testing.assert_close(norm(x), x / (2 + 1e-4 * sums) ** 0.75)
    without = build("alexnet_2012", device="meta", local_response_norm=False)
    assert not any(isinstance(module, nn.LocalResponseNorm) for module in without.modules())


def test_the_lectures_net_computes_what_its_slide_says() -> None:
    net = build("net", 10, generator=torch.Generator().manual_seed(3)).eval()
    w = net.state_dict()
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    y = functional.max_pool2d(functional.relu(functional.conv2d(x, w["conv1.weight"], w["conv1.bias"])), 2, 2)
    y = functional.max_pool2d(functional.relu(functional.conv2d(y, w["conv2.weight"], w["conv2.bias"])), 2, 2)
    y = torch.flatten(y, 1)
    for layer in ("fc1", "fc2"):
        y = functional.relu(functional.linear(y, w[f"{layer}.weight"], w[f"{layer}.bias"]))
    torch.testing.assert_close(net(x), functional.linear(y, w["fc3.weight"], w["fc3.bias"]))


def test_residual_blocks_add_their_input() -> None:
    """With the last norm of a block at zero, He et al.'s block is relu(shortcut(x))."""
    net = build("resnet18", generator=torch.Generator().manual_seed(0)).eval()
    block = net.get_submodule("layer1.1")
    nn.init.zeros_(block.get_parameter("bn2.weight"))
    x = torch.randn(1, 64, 9, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(block(x), functional.relu(x))


# published: 212 of VGG-16 and 195 of AlexNet (Araujo et al. 2019, table 1); the others by their arithmetic:
# 427 of ResNet-50 with the stride in the 3x3, 16 of the lecture's Net
@pytest.mark.parametrize(
    ("name", "size", "stride"),
    [("vgg16", 212, 32), ("alexnet_2012", 195, 32), ("alexnet", 195, 32), ("resnet50", 427, 32), ("net", 16, 4)],
)
def test_receptive_fields_are_those_published(name: str, size: int, stride: int) -> None:
    field = describe(build(name, device="meta")).field
    assert field is not None
    assert (field.size, field.stride) == (size, stride)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("squeezenet1_1", "features.7"),
        ("googlenet", "inception3b"),
        ("resnet18", "layer2"),
        ("zfnet", "features.8"),
    ],
)
def test_a_receptive_field_is_where_the_gradient_is(name: str, layer: str) -> None:
    """Independent of the arithmetic: the pixels on which one unit depends, all weights being positive."""
    options = {"local_response_norm": False} if name == "zfnet" else {}
    net = build(name, 3, generator=torch.Generator().manual_seed(0), **options).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    field = next(each.field for each in reversed(describe(net, (224, 224)).layers) if each.name.startswith(layer))
    assert field is not None
    seen = torch.zeros(224, dtype=torch.bool)
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(1, 3, 224, 224, dtype=torch.float64, generator=generator).requires_grad_()
        output = net.after(x, layer)
        unit = output.shape[-1] // 2
        (gradient,) = torch.autograd.grad(output[0, :, unit, unit].sum(), x)
        seen |= gradient[0].abs().sum((0, 1)) > 0
    first, last = int(seen.nonzero().min()), int(seen.nonzero().max())
    expected = field.start + unit * field.stride
    # a pool passes only its largest input on, so that single draws may leave the rim out
    assert expected <= first <= expected + field.stride
    assert expected + field.size - 1 - field.stride <= last <= expected + field.size - 1


def test_a_description_leaves_the_net_alone_and_is_json() -> None:
    net = build("squeezenet1_1", 5, generator=torch.Generator().manual_seed(0))
    net.get_submodule("features").eval()
    before = {name: module.training for name, module in net.named_modules()}
    description = describe(net)
    assert {name: module.training for name, module in net.named_modules()} == before
    assert not any(module._forward_hooks for module in net.modules())
    assert json.loads(json.dumps(description.to_json()))["parameters"] == sum(p.numel() for p in net.parameters())
    assert description.layers[-1].shape == (5,)
    assert sum(layer.parameters for layer in description.layers) == description.parameters


def test_auxiliary_scores_come_from_the_middle() -> None:
    net = build("googlenet", 7, auxiliary=True, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores, others = net.scores_with_auxiliary(x)
        torch.testing.assert_close(scores, net(x), rtol=0, atol=0)
        torch.testing.assert_close(others[1], net.aux2(net.after(x, "inception4d")), rtol=0, atol=0)
    assert [tuple(other.shape) for other in others] == [(2, 7), (2, 7)]
    assert replace_head(net, 4).scores_with_auxiliary(x)[1][0].shape == (2, 4)


def test_weights_come_from_the_generator_alone() -> None:
    first, second = (build("resnet18", 10, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    third = build("resnet18", 10, generator=torch.Generator().manual_seed(6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.get_parameter("conv1.weight"), third.get_parameter("conv1.weight"))


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "googlenet"])
def test_fresh_weights_keep_signals_alive(name: str) -> None:
    """He et al. 2015: signals neither vanish nor explode on their way, and all classes start nearly equal."""
    net = build(name, 10, generator=torch.Generator().manual_seed(0)).train()
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        end = net.after(x, net.trunk)
        scores = net(torch.randn(4, 3, 64, 64))
    assert 0.02 < float(end.std()) < 50
    assert float(scores.std()) < 5


def test_a_net_is_rebuilt_from_its_configuration() -> None:
    net = replace_head(build("alexnet", 3, device="meta", dropout=0.2), 12)
    again = build(**json.loads(json.dumps(net.configuration())), device="meta")
    assert again.configuration() == {"name": "alexnet", "classes": 12, "dropout": 0.2}
    assert [p.shape for p in again.parameters()] == [p.shape for p in net.parameters()]


def test_layers_are_found_by_part_and_by_step() -> None:
    net = build("resnet34", device="meta")
    assert net.position("layer3") == net.position("layer3.5")
    with pytest.raises(MisuseError, match=r"resnet34 has no layer 'layer5'; it has conv1, .*layer4\.2.*fc"):
        net.position("layer5")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: build("resnet19"), "no ConvNet 'resnet19'; there are net, small, "),
        (lambda: build("net", 0), "classes is 0"),
        (lambda: build("resnet18", dropout=0.5), "resnet18 has no option 'dropout'; its options: none"),
        (lambda: build("vgg16", dropout=1.0), r"dropout is 1\.0"),
        (lambda: build("net", 10)(torch.zeros(1, 3, 64, 64)), "net takes images of one size only"),
        (lambda: build("net", 10)(torch.zeros(1, 1, 32, 32)), r"takes images \[B, 3, H, W\]"),
        (lambda: describe(build("alexnet", device="meta"), (20, 20)), "alexnet cannot take images of 20x20"),
        (lambda: replace_head(build("net"), -1), "classes is -1"),
    ],
)
def test_a_mistake_is_named(call: object, words: str) -> None:
    with pytest.raises(MisuseError, match=words):
        call()  # type: ignore[operator]
