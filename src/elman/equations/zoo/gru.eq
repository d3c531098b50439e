# GRU, reset before the product
# Cho et al. 2014, Learning phrase representations using RNN encoder-decoder for statistical machine translation, EMNLP, arXiv:1406.1078
r = sigmoid(Wr @ x + Ur @ h + br)
z = sigmoid(Wz @ x + Uz @ h + bz)
n = tanh(Wh @ x + Uh @ (r * h) + bh)
h = z * h + (1 - z) * n
