# Minimal gated unit
# Zhou, Wu, Zhang and Zhou 2016, Minimal gated unit for recurrent neural networks, arXiv:1603.09420
f = sigmoid(Wf @ x + Uf @ h + bf)
n = tanh(Wh @ x + Uh @ (f * h) + bh)
h = (1 - f) * h + f * n
