# Multiplicative LSTM
# Krause, Murray, Renals and Lu 2016, Multiplicative LSTM for sequence modelling, arXiv:1609.07959
m = (Wmx @ x) * (Wmh @ h)
i = sigmoid(Wix @ x + Wim @ m + bi)
f = sigmoid(Wfx @ x + Wfm @ m + bf)
o = sigmoid(Wox @ x + Wom @ m + bo)
g = tanh(Whx @ x + Whm @ m + bh)
c = f * c + i * g
h = tanh(c) * o
