# GRU with layer normalisation
# Ba, Kiros and Hinton 2016, Layer normalization, arXiv:1607.06450
# The reset comes after the product.
r = sigmoid(norm(Wr @ x, gxr, bxr) + norm(Ur @ h, ghr, bhr))
z = sigmoid(norm(Wz @ x, gxz, bxz) + norm(Uz @ h, ghz, bhz))
n = tanh(norm(Wh @ x, gxh, bxh) + r * norm(Uh @ h, ghh, bhh))
h = (1 - z) * h + z * n
