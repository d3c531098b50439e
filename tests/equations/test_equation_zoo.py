"""Every cell of the zoo against its paper, written a second time in numpy by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import draw, run_graph

from elman.equations import EquationError, Recurrence, cell, recurrence_of, zoo
from elman.errors import MisuseError

Array = np.ndarray


class Numbers(dict):
    """Parameters and values by attribute: p.Wi is p["Wi"]."""

    __getattr__ = dict.__getitem__


def s(a: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-a))


def layer_norm(a: Array) -> Array:
    return (a - np.mean(a)) / np.sqrt(np.var(a) + 1e-5)


def elman(activation: Callable[[Array], Array]) -> Callable[[Numbers], dict[str, Array]]:
    # h_t = f(W_x x_t + W_h h_{t-1} + b)
    return lambda p: {"h": activation(np.hstack([p.Wx, p.Wh]) @ np.concatenate([p.x, p.h]) + p.b)}


def lstm(p: Numbers, *, without: str = "", peephole: bool = False, coupled: bool = False) -> dict[str, Array]:
    # Greff et al. 2015, one gate at a time; an absent gate is open, an absent activation the identity
    def net(gate: str, seen: Array | None = None) -> Array:
        total = p[f"W{gate}"] @ p.x + p[f"U{gate}"] @ p.h + p[f"b{gate}"]
        return total if seen is None or not peephole else total + p[f"p{gate}"] * seen

    g = net("g") if without == "input activation" else np.tanh(net("g"))
    f = np.ones(4) if without == "forget gate" else s(net("f", p.c))
    if coupled:
        i = 1 - f
    else:
        i = np.ones(4) if without == "input gate" else s(net("i", p.c))
    c = g * i + p.c * f
    o = np.ones(4) if without == "output gate" else s(net("o", c))
    return {"c": c, "h": (c if without == "output activation" else np.tanh(c)) * o}


def gru(p: Numbers) -> dict[str, Array]:
    # Cho et al. 2014
    r = s(p.Wr @ p.x + p.Ur @ p.h + p.br)
    z = s(p.Wz @ p.x + p.Uz @ p.h + p.bz)
    candidate = np.tanh(p.Wh @ p.x + p.Uh @ (r * p.h) + p.bh)
    return {"h": candidate + z * (p.h - candidate)}


def gru_reset_after(p: Numbers) -> dict[str, Array]:
    # torch.nn.GRU, from its stacked weights
    from_x = np.vstack([p.Wir, p.Wiz, p.Win]) @ p.x + np.concatenate([p.bir, p.biz, p.bin])
    from_h = np.vstack([p.Whr, p.Whz, p.Whn]) @ p.h + np.concatenate([p.bhr, p.bhz, p.bhn])
    (xr, xz, xn), (hr, hz, hn) = np.split(from_x, 3), np.split(from_h, 3)
    z = s(xz + hz)
    return {"h": (1 - z) * np.tanh(xn + s(xr + hr) * hn) + z * p.h}


def mutant(p: Numbers, z: Array, r: Array, from_x: Array) -> dict[str, Array]:
    # Jozefowicz et al. 2015: the last line of MUT1 to MUT3 is common but for what x adds
    candidate = np.tanh(np.dot(p.Whh, r * p.h) + from_x + p.bh)
    return {"h": candidate * z + p.h * (1 - z)}


def mut1(p: Numbers) -> dict[str, Array]:
    return mutant(p, s(p.Wxz @ p.x + p.bz), s(p.Wxr @ p.x + p.Whr @ p.h + p.br), np.tanh(p.x))


def mut2(p: Numbers) -> dict[str, Array]:
    return mutant(p, s(p.Wxz @ p.x + p.Whz @ p.h + p.bz), s(p.x + p.Whr @ p.h + p.br), p.Wxh @ p.x)


def mut3(p: Numbers) -> dict[str, Array]:
    z = s(p.Wxz @ p.x + p.Whz @ np.tanh(p.h) + p.bz)
    return mutant(p, z, s(p.Wxr @ p.x + p.Whr @ p.h + p.br), p.Wxh @ p.x)


def mgu(p: Numbers) -> dict[str, Array]:
    # Zhou et al. 2016: f takes the parts of both gates of the GRU
    f = s(p.Wf @ p.x + p.Uf @ p.h + p.bf)
    return {"h": p.h + f * (np.tanh(p.Wh @ p.x + p.Uh @ (f * p.h) + p.bh) - p.h)}


def ugrnn(p: Numbers) -> dict[str, Array]:
    # Collins et al. 2017
    g = s(p.Wg @ p.x + p.Ug @ p.h + p.bg)
    return {"h": g * p.h + (1 - g) * np.tanh(p.Wc @ p.x + p.Uc @ p.h + p.bc)}


def highway(p: Numbers) -> dict[str, Array]:
    # Zilly et al. 2017 with L = 1 and the carry gate coupled, c = 1 - t
    transform = s(p.Wt @ p.x + p.Rt @ p.h + p.bt)
    return {"h": np.tanh(p.Wh @ p.x + p.Rh @ p.h + p.bh) * transform + p.h - p.h * transform}


def sru(p: Numbers) -> dict[str, Array]:
    # Lei et al. 2017, version 1
    forget, reset = s(p.Wf @ p.x + p.bf), s(p.Wr @ p.x + p.br)
    c = forget * p.c + (1 - forget) * (p.W @ p.x)
    return {"c": c, "h": reset * np.tanh(c) + (1 - reset) * p.x}


def qrnn_f(p: Numbers) -> dict[str, Array]:
    # Bradbury et al. 2017
    f = s(p.Wf @ p.x + p.bf)
    return {"h": f * p.h + (1 - f) * np.tanh(p.Wz @ p.x + p.bz)}


def mingru(p: Numbers) -> dict[str, Array]:
    # Feng et al. 2024
    z = s(p.Wz @ p.x + p.bz)
    return {"h": p.h - z * p.h + z * (p.Wh @ p.x + p.bh)}


def minlstm(p: Numbers) -> dict[str, Array]:
    # Feng et al. 2024, with the gates normalised to sum to one
    f, i = s(p.Wf @ p.x + p.bf), s(p.Wi @ p.x + p.bi)
    return {"h": (f * p.h + i * (p.Wh @ p.x + p.bh)) / (f + i)}


def indrnn(p: Numbers) -> dict[str, Array]:
    # Li et al. 2018
    return {"h": np.maximum(0, p.W @ p.x + np.diag(p.u) @ p.h + p.b)}


def layernorm_lstm(p: Numbers) -> dict[str, Array]:
    # Ba et al. 2016, gate by gate
    i, f, o, g = (
        p[f"gx{k}"] * layer_norm(p[f"W{k}"] @ p.x) + p[f"gh{k}"] * layer_norm(p[f"U{k}"] @ p.h) + p[f"b{k}"]
        for k in "ifog"
    )
    c = s(f) * p.c + s(i) * np.tanh(g)
    return {"c": c, "h": s(o) * np.tanh(layer_norm(c) * p.gc + p.bc)}


def layernorm_gru(p: Numbers) -> dict[str, Array]:
    # Ba et al. 2016, the GRU of the supplementary material
    from_x = {k: layer_norm(p[f"W{k}"] @ p.x) * p[f"gx{k}"] + p[f"bx{k}"] for k in "rzh"}
    from_h = {k: layer_norm(p[f"U{k}"] @ p.h) * p[f"gh{k}"] + p[f"bh{k}"] for k in "rzh"}
    r, z = s(from_x["r"] + from_h["r"]), s(from_x["z"] + from_h["z"])
    return {"h": (1 - z) * p.h + z * np.tanh(from_x["h"] + r * from_h["h"])}


def mlstm(p: Numbers) -> dict[str, Array]:
    # Krause et al. 2016
    m = np.diag(p.Wmx @ p.x) @ p.Wmh @ p.h
    i, f, o = (s(p[f"W{k}x"] @ p.x + p[f"W{k}m"] @ m + p[f"b{k}"]) for k in "ifo")
    c = f * p.c + i * np.tanh(p.Whx @ p.x + p.Whm @ m + p.bh)
    return {"c": c, "h": o * np.tanh(c)}


def ran(p: Numbers) -> dict[str, Array]:
    # Lee et al. 2017 with g = tanh
    i, f = (s(p[f"W{k}"] @ p.x + p[f"U{k}"] @ p.h + p[f"b{k}"]) for k in "if")
    c = i * (p.Wc @ p.x) + f * p.c
    return {"c": c, "h": np.tanh(c)}


PAPERS: dict[str, Callable[[Numbers], dict[str, Array]]] = {
    "rnn": elman(np.tanh),
    "rnn-relu": elman(lambda a: a * (a > 0)),
    "irnn": elman(lambda a: a * (a > 0)),
    "rnn-sigmoid": elman(s),
    "rnn-image": lambda p: {"h": np.tanh(p.Wx @ p.x + p.Wh @ p.h + p.b + p.Wv @ p.v)},
    "lstm": lstm,
    "lstm-peephole": lambda p: lstm(p, peephole=True),
    "lstm-coupled": lambda p: lstm(p, coupled=True),
    "lstm-no-forget": lambda p: lstm(p, without="forget gate"),
    "lstm-no-input-gate": lambda p: lstm(p, without="input gate"),
    "lstm-no-output-gate": lambda p: lstm(p, without="output gate"),
    "lstm-no-input-activation": lambda p: lstm(p, without="input activation"),
    "lstm-no-output-activation": lambda p: lstm(p, without="output activation"),
    "gru": gru,
    "gru-reset-after": gru_reset_after,
    "mut1": mut1,
    "mut2": mut2,
    "mut3": mut3,
    "mgu": mgu,
    "ugrnn": ugrnn,
    "highway": highway,
    "sru": sru,
    "qrnn-f": qrnn_f,
    "mingru": mingru,
    "minlstm": minlstm,
    "indrnn": indrnn,
    "layernorm-lstm": layernorm_lstm,
    "layernorm-gru": layernorm_gru,
    "mlstm": mlstm,
    "ran": ran,
}


def test_every_cell_has_a_second_formulation() -> None:
    assert set(zoo()) == set(PAPERS)


@pytest.mark.parametrize("name", sorted(PAPERS))
@pytest.mark.parametrize("seed", range(3))
def test_cell_equals_its_paper(name: str, seed: int) -> None:
    recurrence = cell(name)
    values = draw(recurrence, seed)
    expected = PAPERS[name](Numbers(values))
    assert set(expected) == set(recurrence.states)
    nodes = run_graph(recurrence.graph, values)
    for state, new in recurrence.graph.states.items():
        np.testing.assert_allclose(nodes[new], expected[state], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", zoo())
def test_what_a_cell_says_of_itself(name: str) -> None:
    recurrence = cell(name)
    assert recurrence.name == name
    assert 5 < len(recurrence.title) <= 45
    assert any(year in recurrence.citation for year in map(str, range(1990, 2025)))
    assert recurrence.output == "h"
    again = Recurrence(recurrence.equations)
    assert again == recurrence
    assert (again.title, again.citation) == (recurrence.title, recurrence.citation)


def test_names_are_found_in_either_spelling_and_wrong_ones_get_a_hint() -> None:
    assert cell("gru_reset_after") is cell("GRU-reset-after")
    with pytest.raises(MisuseError, match=r"'lstn'.*lstm"):
        cell("lstn")
    with pytest.raises(MisuseError, match="there is gru, "):
        cell("zzz")
    with pytest.raises(MisuseError):
        cell("../lstm")
    with pytest.raises(MisuseError, match="is a text"):
        cell(None)  # type: ignore[arg-type]


def test_the_head_of_a_file_names_inputs_and_output() -> None:
    text = "# Mine\n# Me 2024\n# inputs: v, w\n# output: c\nc = 0.5 * c + V @ v\nh = tanh(U @ h + c + W @ w)\n"
    recurrence = Recurrence(text, name="mine")
    assert (recurrence.title, recurrence.citation, recurrence.name) == ("Mine", "Me 2024", "mine")
    assert recurrence.inputs == ("v", "w")
    assert recurrence.output == "c"


def test_the_head_ends_at_the_first_equation_and_yields_to_arguments() -> None:
    text = """
        # inputs: v

        # output: c
        c = 0.5 * c + V @ v   # output: h
        # output: h
        h = tanh(U @ h + c)
    """
    assert (Recurrence(text).inputs, Recurrence(text).output) == (("v",), "c")
    assert Recurrence(text, output="h").output == "h"
    assert Recurrence(text.replace("# inputs: v", "# inputs: w"), inputs=("v",)).inputs == ("v",)
    with pytest.raises(EquationError, match="output 'e' is not a state"):
        Recurrence(text.replace("# output: c\n", "# output: e\n"))
    with pytest.raises(EquationError, match="'2v' cannot name"):
        Recurrence(text.replace("# inputs: v", "# inputs: 2v"))


@settings(max_examples=30, deadline=None)
@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 9))
def test_minlstm_has_the_papers_shares_and_no_0_by_0(forget: int, write: int, seed: int) -> None:
    recurrence = cell("minlstm")
    values = draw(recurrence, seed)
    values["bf"], values["bi"] = values["bf"] + forget / 10, values["bi"] + write / 10
    nodes = run_graph(recurrence.graph, values)
    np.testing.assert_allclose(nodes[recurrence.graph.states["h"]], minlstm(Numbers(values))["h"], rtol=1e-9)
    values["bf"], values["bi"] = np.full(4, -2000.0), np.full(4, -2000.0)
    values["Wf"], values["Wi"] = values["Wf"] * 0, values["Wi"] * 0
    new = run_graph(recurrence.graph, values)[recurrence.graph.states["h"]]
    np.testing.assert_allclose(new, (values["h"] + values["Wh"] @ values["x"] + values["bh"]) / 2)
    assert recurrence.linear_states == ("h",)


def test_a_recurrence_from_what_somebody_typed(tmp_path) -> None:
    path = tmp_path / "mine.eq"
    path.write_bytes("\ufeff# Übung\r\nh = tanh(W @ x + U @ h)\r\n".encode())
    assert recurrence_of(str(path)) == recurrence_of("h = tanh(W @ x + U @ h)")
    assert recurrence_of(str(path)).name == "mine"
    assert recurrence_of("mut1") is cell("mut1")
    equal = tmp_path / "a=b.eq"
    equal.write_text("h = tanh(W @ x + U @ h)", encoding="utf-8")
    assert recurrence_of(str(equal)).name == "a=b"
    assert recurrence_of("h = tanh(W @ x + U @ h)\n# as in my.eq") == recurrence_of(str(equal))
    with pytest.raises(MisuseError, match="cannot be read"):
        recurrence_of(str(tmp_path / "other.eq"))
    path.write_bytes(b"h = \xff")
    with pytest.raises(MisuseError, match="cannot be read"):
        recurrence_of(str(path))
    path.write_text("#" * 1_000_000)
    with pytest.raises(MisuseError, match="characters"):
        recurrence_of(str(path))
    with pytest.raises(MisuseError, match="cannot be read"):
        recurrence_of(f"{tmp_path}/")


def test_the_page_lists_the_zoo() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "equations.md").read_text(encoding="utf-8")
    rows = [[part.strip() for part in row.strip("|").split("|")] for row in page.splitlines() if row.startswith("| `")]
    expected = []
    for name in zoo():
        recurrence = cell(name)
        states = ", ".join(f"{s}*" if s in recurrence.linear_states else s for s in recurrence.states)
        expected.append([f"`{name}`", recurrence.title, states, str(len(recurrence.stages) - 1)])
    assert [row[:4] for row in rows] == expected
