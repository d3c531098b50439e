# Simple recurrent unit, first form
# Lei, Zhang and Artzi 2017, Training RNNs as fast as CNNs, arXiv:1709.02755 (version 1)
# No gate sees a state.
f = sigmoid(Wf @ x + bf)
r = sigmoid(Wr @ x + br)
c = f * c + (1 - f) * (W @ x)
h = r * tanh(c) + (1 - r) * x
